//! How long the messages may be, each with its reason.

/// Bytes of one request on the control socket, its newline included: the largest rule (1,024
/// outputs with every option, some 200 bytes each) five times over.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// Bytes of one answer on the control socket: the statistics of the most outputs, some 256 bytes
/// each, and as much again for their rules.
pub const MAX_RESPONSE_BYTES: usize = 2 * mcr_core::limits::OUTPUTS * 256;

/// Bytes of one message to a worker: a third of what a socket buffers by default
/// (`net.core.wmem_default`, 212,992), so that one command can wait while another is written.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Routes of one message to a worker: what a worker reads and takes into its table well within the
/// millisecond that a command may hold its loop.
pub const ROUTES_PER_MESSAGE: usize = 256;

/// Outputs of all routes of one message to a worker: reading an output takes a third of a
/// microsecond, so as many as the widest rule must have are enough.
pub const OUTPUTS_PER_MESSAGE: usize = mcr_core::limits::OUTPUTS_PER_RULE;

/// Bytes of one log record, its newline included: `PIPE_BUF`, up to which a write to a pipe is
/// whole or not at all (pipe(7)).
pub const LOG_LINE_BYTES: usize = 4096;

/// Series of rings, rules and outputs that one exposition of the metrics may be allowed: each takes
/// some 150 bytes of text, so that one takes 150 MB at most.
pub const MOST_METRIC_SERIES: usize = 1_000_000;

/// Seconds after which a trace ends where nobody asked for another time: a person has found what
/// they looked for, or asks again.
pub const TRACE_SECONDS: u32 = 60;

/// The most seconds that a trace may be asked for: a night, for what happens once in one.
pub const MAX_TRACE_SECONDS: u32 = 12 * 60 * 60;
