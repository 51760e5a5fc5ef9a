//! The lab's bounds, each with its reason.

use std::time::Duration;

/// Datagrams per `sendmmsg` and `recvmmsg`: enough that the system call's price vanishes, few
/// enough that a burst stays far below veth's backlog of 1,000 frames.
pub const BATCH_DATAGRAMS: usize = 32;

/// The largest UDP payload over IPv4: 65,535 less the IPv4 and UDP headers.
pub const MAX_DATAGRAM_BYTES: usize = 65_535 - 20 - 8;

/// The largest frame a tap keeps whole: the largest IP packet, its Ethernet header, two tags.
pub const MAX_FRAME_BYTES: usize = 65_535 + 14 + 2 * 4;

/// Receive buffer of sinks and taps: 32 MiB, 100 ms of 1,000-byte datagrams at 150 kpps.
/// (The kernel charges about 2 KiB for each.)
pub const RECEIVE_BUFFER_BYTES: usize = 32 * 1024 * 1024;

/// Sequence numbers a sink can tell apart per stream: a bitmap of 8 MiB, 64 million datagrams.
pub const MAX_SEQUENCE: u64 = 8 * 1024 * 1024 * 8;

/// Streams a sink accounts for; more are counted as strays.
pub const MAX_STREAMS: usize = 16 * 1024;

/// Unrecognised datagrams kept whole for a test to look at; more are only counted.
pub const MAX_STRAYS_KEPT: usize = 64;

/// Bytes of frames a tap keeps before it only counts: 64 MiB.
pub const MAX_TAPPED_BYTES: usize = 64 * 1024 * 1024;

/// How long a receiving thread sleeps in the kernel before it looks whether it should stop.
pub const RECEIVE_POLL: Duration = Duration::from_millis(20);

/// How long a sink told to stop may go on reading what its socket had queued, since traffic that
/// does not end would keep it busy for ever.
pub const SINK_DRAIN: Duration = Duration::from_secs(1);

/// The generator's shortest sleep: at 100 kpps it then sends 20 datagrams per wake-up.
pub const GENERATOR_TICK: Duration = Duration::from_micros(200);

/// A generator held up for longer than this (a busy machine) does not catch up by a burst that
/// no test bed could carry; it shifts its schedule and reports the time it forgave.
pub const GENERATOR_CATCH_UP: Duration = Duration::from_millis(10);

/// How long an interface with a carrier may take until it sends, while others keep the kernel's
/// one lock on network configuration busy.
pub const LINK_UP: Duration = Duration::from_secs(10);

/// Interval of condition polls.
pub const WAIT_POLL: Duration = Duration::from_millis(5);

/// How long the daemon may take until it is ready, in a debug build on a loaded machine.
pub const DAEMON_READY: Duration = Duration::from_secs(20);

/// How long the daemon may take to stop after SIGTERM.
pub const DAEMON_STOP: Duration = Duration::from_secs(10);

/// How long one control request may take.
pub const CONTROL_ANSWER: Duration = Duration::from_secs(10);

/// How long the daemon's counters may take to agree after the last datagram, on a loaded machine.
pub const SETTLE: Duration = Duration::from_secs(10);

/// Counters that did not move for this long will not: three publications of a worker's ring
/// counters, which come every 100 ms.
pub const STANDSTILL: Duration = Duration::from_millis(3 * 100);

/// Longest demo: ten minutes.
pub const MAX_DEMO_SECONDS: u64 = 10 * 60;

/// Fastest demo, in datagrams per second. With the longest demo that is 60 million, which a sink
/// can tell apart ([`MAX_SEQUENCE`]).
pub const MAX_DEMO_RATE: u64 = 100_000;

/// Largest payload of the demo: an MTU of 1500 less the IPv4 and UDP headers. Larger ones would
/// be fragments on the way to the relay, which it never takes.
pub const MAX_DEMO_PAYLOAD: usize = 1500 - 20 - 8;

/// Datagrams by which the demo shows what the kernel alone does: a fifth of a second's.
pub const KERNEL_ALONE_DATAGRAMS: u64 = 2_000;

/// How long the demo waits for datagrams that are under way, before it counts them as lost.
pub const DEMO_ARRIVAL: Duration = Duration::from_secs(2);

/// How often a progress line changes on a terminal: calm to look at, and yet alive.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// How often a progress line is printed where lines stay.
pub const PLAIN_PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Datagrams per second while the demo is left standing: enough to see, few enough to forget.
pub const HOLD_RATE: u64 = 100;

/// Log lines kept from a daemon.
pub const MAX_LOG_LINES: usize = 100_000;
