//! The soak's bounds, each with its reason.

use std::ops::Range;
use std::time::Duration;

/// Between two datagrams of a rule in a soak: 200 a second, so that all flows together are a small
/// part of what a debug build on a busy core carries.
pub const INTERVAL: Duration = Duration::from_millis(1000 / 200);

/// Bytes of a soak's payloads: the header, and enough beside it to see damage.
pub const PAYLOAD_BYTES: usize = 200;

/// TTL of a soak's traffic, which makes one hop to the relay.
pub const TTL: u32 = 4;

/// How long all is well before each fault: long enough that flows show whether it is.
pub const CALM: Range<Duration> = Duration::from_millis(200)..Duration::from_millis(800);

/// How long a fault lasts whose end is the soak's affair: shorter and longer than one reading of
/// the interfaces, and than a tick of the supervisor's.
pub const HOLD: Range<Duration> = Duration::from_millis(10)..Duration::from_millis(900);

/// Of so many faults one is followed by the next while the relay still recovers.
pub const ONE_IS_HASTY: usize = 4;

/// How long a datagram may be on its way to the rings and out of them, on a busy machine: what was
/// sent this long before a fault may still be lost by it. One that stands still for longer
/// has held a core up.
pub const UNDER_WAY: Duration = HELD_UP;

/// How long the replacement of a dead worker may take on a busy machine, in a debug build; the
/// median for a kill, which the summary shows, should be below 50 ms.
pub const REPLACEMENT: Duration = Duration::from_millis(500);

/// How long a silent worker may go unnoticed.
pub const STALL: Duration = Duration::from_secs(1);

/// How the supervisor holds back restarts: the first wait, which doubles, and the longest.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest.
pub const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

/// How long flows may take to come back after their interface has.
pub const NETWORK: Duration = Duration::from_secs(1);

/// How long the daemon may take to end after SIGTERM, under load.
pub const STOP: Duration = Duration::from_secs(2);

/// How long workers may outlive their supervisor.
pub const ORPHANS: Duration = Duration::from_secs(1);

/// A sender that runs so much later than it wanted was held up by the machine: half of what makes
/// the supervisor give a worker up.
pub const HELD_UP: Duration = Duration::from_millis(750 / 2);

/// Nothing may be lost of what is sent after a daemon has said that it is ready: a moment for its
/// words to be read.
pub const START: Duration = Duration::from_millis(1);

/// Time between two announced outages of one fault, in which nothing may be lost: what the second
/// excuses because it may have been under way, and as much again.
pub const APART: Duration = UNDER_WAY.saturating_mul(2);

/// How long recovery may take before the soak gives up. Losses are judged by the windows.
pub const RECOVERY: Duration = Duration::from_secs(30);

/// MTU of a soak's links.
pub const MTU: u32 = 1_500;
/// A larger one: frames of another ring class.
pub const JUMBO_MTU: u32 = 9_000;
/// A smaller one, which IPv6 and the payload still fit.
pub const SMALL_MTU: u32 = 1_400;

/// Times that an interface of nobody's changes in a storm, four messages each.
pub const STORM: usize = 200;

/// Rules that come and go in one fault.
pub const RULES: usize = 24;

/// How long the only rule of an interface comes and goes.
pub const CHURN: Duration = Duration::from_secs(3);

/// Times that an interface goes down and up in a row.
pub const FLAPS: u32 = 3;

/// How long a process is watched, and the share of a core that it may use meanwhile: debug builds
/// use a tenth for the soak's traffic, and a loop that does not wait uses all.
pub const SPIN_WATCH: Duration = Duration::from_millis(300);
/// The share.
pub const SPIN_SHARE: f64 = 0.5;

/// How soon a host that does not answer is told of: the kernel asks for three seconds, the daemon
/// looks once a second, and a busy machine needs a second.
pub const SILENCE_TOLD: Duration = Duration::from_secs(3 + 1 + 1);
/// How soon datagrams reach it again: the kernel asks once a second.
pub const SILENCE_OVER: Duration = Duration::from_secs(1 + 1);

/// How soon a ring that takes nothing is made anew; the median of the trial is 250 ms.
pub const RING: Duration = Duration::from_secs(1);

/// Datagrams to a port that the relay and a program share: a second's worth.
pub const SHARED_DATAGRAMS: u64 = 200;

/// Requests that a client sends without reading an answer.
pub const PIPELINED: usize = 2_000;

/// How long a bad client tries to write.
pub const CLIENT: Duration = Duration::from_millis(100);

/// Kinds of egress of one rule, each a command with a descriptor: a socket's 208 KiB
/// (`net.core.wmem_default`) hold fewer than 300 of what the kernel charges for small messages.
pub const WIDE_OUTPUTS: u16 = 500;

/// How long a worker does not read its commands: less than a stall by more than a tick.
pub const STANDSTILL: Duration = Duration::from_millis(300);

/// Faults between two quiet points, at most.
pub const FAULTS_TO_QUIET: usize = 8;

/// How long no witness may have heard anything before all is said to have arrived.
pub const QUIET: Duration = Duration::from_millis(100);

/// How long descriptors and memory may take to come back after a fault: a client that is being
/// closed, a ring that is being given back.
pub const USAGE: Duration = Duration::from_secs(5);

/// Descriptors that the supervisor may have more than after its warm-up: membership sockets hold 20
/// places each, and which groups share one depends on their order of coming. A watch stays on each
/// of four interfaces that are only sometimes read.
pub const DESCRIPTORS: usize = 4 + 4;

/// Bytes by which the supervisor may have grown: what its allocator keeps of the largest answers
/// and of the widest rule.
pub const SUPERVISOR_GROWTH_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes by which a worker may have grown: the 17 MiB of its forwarding table, which are there from
/// its start, but become resident with the places that keys are put in, by huge pages perhaps; and
/// what its allocator keeps.
pub const WORKER_GROWTH_BYTES: u64 = (17 + 1) * 1024 * 1024;

/// Lines of the daemon's log shown after a failure.
pub const LOG_LINES: usize = 60;

/// How long the relay works before its belongings are read for the first time.
pub const WARM_UP: Duration = Duration::from_secs(2);
