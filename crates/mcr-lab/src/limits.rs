//! The lab's bounds, each with its reason.

pub mod soak;

use std::num::NonZeroU32;
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

/// How often each core is looked at for a hiccup: 100 wake-ups a second cost it nothing.
pub const HICCUP_TICK: Duration = Duration::from_millis(10);

/// How late a sleeper may be woken on a core that is only busy: several slices of the ordinary
/// scheduling class, of 3 ms each.
pub const HICCUP_TOLERANCE: Duration = Duration::from_millis(20);

/// Longest demo: ten minutes.
pub const MAX_DEMO_SECONDS: u64 = 10 * 60;

/// Fastest demo, in datagrams per second. With the longest demo that is 60 million, which a sink
/// can tell apart ([`MAX_SEQUENCE`]).
pub const MAX_DEMO_RATE: u64 = 100_000;

/// The demo's rate unless told otherwise, in datagrams per second.
pub const DEMO_RATE: u64 = 20_000;

/// The demo's rate where its receivers have small buffers: an ordinary user's default of 416 KiB
/// then holds 37 ms of 1,000-byte datagrams, for which the kernel charges 2,304 bytes each. At the
/// full rate 9 ms would be too few for a busy machine.
pub const DEMO_RATE_SMALL_BUFFERS: u64 = 5_000;

/// A receive buffer below this is small: it holds less than 50 ms at the full rate.
pub const SMALL_BUFFER_BYTES: usize = 20_000 / 1_000 * 50 * 2_304;

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

/// What stands before a UDP payload on an IPv4 link: IPv4's and UDP's headers.
pub const IPV4_UDP_BYTES: usize = 20 + 8;

/// Frames per system call of the benchmark's generator, and messages per call of its sink: a
/// burst of 50 µs at the generator's full rate.
pub const BENCH_FRAMES_AT_ONCE: usize = 64;

/// A generator held up for longer than this catches up no more: at twice the rate of the kernel's
/// forwarding, what is made up for stays within half of its backlog of 1,000 frames.
pub const BENCH_CATCH_UP: Duration = Duration::from_micros(500);

/// Send buffer of the benchmark's generator: the kernel charges a frame until the relay has read
/// it, so this holds a whole backlog of 1,000 and a full ring of 4,096 frames, jumbo ones too.
pub const BENCH_SEND_BUFFER_BYTES: usize = (1_000 + 4_096) * 16 * 1024;

/// Frames in the ring of the benchmark's generator: a backlog of 1,000 at the relay, all that the
/// relay has taken from it but not let go of, and room to spare.
pub const BENCH_SEND_SLOTS: u32 = 4 * 1024;

/// Frames of one datagram that the benchmark's sink may be behind by: 8 ms at a million a second.
pub const BENCH_SINK_SLOTS: u32 = 8 * 1024;

/// Datagrams in a super-frame of the benchmark's, at least: what a sender of a stream collects.
pub const BENCH_SUPER_FRAME: u64 = 16;

/// Time of a core that the hypervisor gave to others in a step, in seconds, from which on the step
/// says nothing: one tick of `/proc/stat`, in which 3,000 datagrams come at 300 kpps.
pub const STOLEN_TOO_MUCH: f64 = 0.01;

/// How often a step is taken anew for stolen time.
pub const STOLEN_RETRIES: u32 = 3;

/// Rule changes a second that are asked for beside the traffic. Each connection waits for its
/// answers, which may take some milliseconds, so there are several.
pub const CHURN_PER_SECOND: u64 = 1_000;
/// The connections.
pub const CHURN_CONNECTIONS: usize = 16;

/// The share of the clean rate at which rules are changed.
pub const CHURN_LOAD: f64 = 0.8;

/// Rules of the idle relay.
pub const IDLE_RULES: usize = 10_000;

/// How long an idle relay settles after its start.
pub const IDLE_SETTLE: Duration = Duration::from_secs(1);
/// How long it is watched.
pub const IDLE_WATCH: Duration = Duration::from_secs(4);

/// Bytes that the sink keeps of a frame: all headers, and the payload's own.
pub const BENCH_SINK_KEPT_BYTES: u32 = 14 + 20 + 8 + 24;

/// Super-frames that the sink may be behind by, which it keeps whole for their up to 64 stamps: at
/// a million datagrams a second in runs of 20 that is 10 ms.
pub const BENCH_SINK_RUNS: u32 = 512;

/// A slot for a super-frame: 64 segments of 1,000 bytes or 44 of 1,472, and all headers.
pub const BENCH_RUN_SLOT_BYTES: u32 = 64 * 1024;

/// The shortest pause that the generator sleeps through; a sleep ends some 60 µs late.
pub const BENCH_SLEEP_MARGIN: Duration = Duration::from_micros(150);

/// How often the benchmark's sink reads its sockets: 1,000 datagrams at a million a second, a
/// small part of its buffers.
pub const BENCH_SINK_INTERVAL: Duration = Duration::from_millis(1);

/// A sink that read nothing for this long has read all: twenty times its interval.
pub const BENCH_QUIET: Duration = Duration::from_millis(20);

/// How long a step's last datagrams may take to arrive.
pub const BENCH_DRAIN: Duration = Duration::from_secs(2);

/// Of the flow's datagrams, one in so many is traced while the benchmark watches the relay: some
/// hundreds a second, more than anybody reads.
pub const BENCH_TRACED_ONE_IN: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not 0");

/// Groups that the benchmark's rules send to: a /24's worth.
pub const BENCH_OUTPUT_GROUPS: usize = 250;

/// How long the daemon may take to apply the largest rule set, 100,000 rules.
pub const BENCH_RULES_APPLIED: Duration = Duration::from_mins(1);

/// The share of datagrams that may be lost at a clean rate.
pub const CLEAN_LOSS: f64 = 0.005;

/// A generator that reaches less than this share of a rate has not offered it.
pub const GENERATOR_SHORTFALL: f64 = 0.95;

/// Datagrams a second, of all copies, at which costs are compared: a rate that all but socat
/// carry easily.
pub const COST_RATE: f64 = 100_000.0;

/// Datagrams a second at which latency is measured, beside half the clean rate.
pub const LATENCY_RATES: [f64; 3] = [1_000.0, 10_000.0, 100_000.0];

/// Where the first search of a relay begins.
pub const FIRST_RATE: f64 = 100_000.0;

/// The smallest payload that the benchmark sends: what market data often is.
pub const SMALLEST_BENCH_PAYLOAD: usize = 64;

/// Up to this rate the benchmark's generator sends datagrams one by one: 10 µs apart.
pub const SMOOTH_RATE: f64 = 100_000.0;

/// How long a NIC gathers frames before it interrupts, commonly (`ethtool -c`, `rx-usecs`).
pub const NIC_COALESCING: Duration = Duration::from_micros(50);

/// Two readings of the clock by a thread that was not interrupted lie closer than this, in
/// nanoseconds: a reading takes some 30, the shortest interrupt about a thousand.
pub const UNINTERRUPTED_NS: u64 = 700;

/// The share of the relay's core that others may use before a benchmark's figures are doubtful.
pub const QUIET_LOAD: f64 = 0.05;
/// How long GRO may hold a datagram back in wait for more of its flow, in nanoseconds as sysfs has
/// it: as long as NICs wait before an interrupt.
pub(crate) const GRO_FLUSH_NS: &str = "50000";
