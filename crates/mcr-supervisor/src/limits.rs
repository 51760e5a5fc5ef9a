//! Every number of the control plane that is a choice, each with its reason.

use std::time::Duration;

/// How often ledgers are compared with what is desired, and refused sockets are asked for again:
/// four times within the second in which a fault must be noticed.
pub(crate) const TICK: Duration = Duration::from_millis(1000 / 4);

/// Address space beside the ledgers that the daemon and a worker begin with: some 100 MiB, most of
/// it libraries and stacks of threads.
pub(crate) const ADDRESS_SPACE_BYTES: u64 = 128 * 1024 * 1024;

/// Threads of the daemon beside its first: the log's, the metrics', the observers', and those that
/// open and close sockets.
pub(crate) const THREADS_AT_START: usize = 8;

/// The stack of a thread that only shows that it can be: the least that the C library takes, and
/// some for Rust.
pub(crate) const PROBE_STACK_BYTES: usize = 4 * 16 * 1024;

/// How often workers are asked for rings that take nothing any more. A worker finds one within 110
/// ms, and another is to be there within 250 ms.
pub(crate) const RING_LOOK: Duration = Duration::from_millis(20);

/// From one time that an interface's rings are made anew to the next. Each costs what the others of
/// the set hold, and a worker that lies could ask for it without end.
pub(crate) const RING_PAUSE: Duration = Duration::from_millis(1000 / 2);

/// A loop that could have turned for longer than this, and did not, is a stall: with the tick that
/// notices it, a second in all.
pub(crate) const HEARTBEAT_STALL: Duration = Duration::from_millis(1000 - 1000 / 4);

/// Between two words of a worker's having to wait for its core.
pub(crate) const STARVATION_PAUSE: Duration = Duration::from_mins(1);

/// How long a worker's load is watched before it is judged: ten of the periods of 100 ms in which
/// it says how long it was busy.
pub(crate) const LOAD_WINDOW: Duration = Duration::from_secs(1);

/// The part of that time for which an overloaded worker is busy at least, in per cent: one in real
/// time rests two parts in thirty by itself, and its figures are a period old.
pub(crate) const BUSY_PER_CENT: u64 = 100 - 7 - 13;

/// Windows without loss after which an overload is over, so that one of bursts is told once.
pub(crate) const CALM_WINDOWS: u32 = 10;

/// A new worker's first sign of life: its process must be loaded and its ring memory mapped, on a
/// machine that may be booting.
pub(crate) const FIRST_HEARTBEAT: Duration = Duration::from_secs(5);

/// A tick this late means that the whole machine, and not a worker, stood still.
pub(crate) const LATE_TICK: Duration = Duration::from_millis(2 * 1000 / 4);

/// How often a starting worker's ledger is looked at: the smallest step of the timer, because the
/// dead worker's share of the traffic is lost until the new one takes over.
pub(crate) const STARTING_CHECK: Duration = Duration::from_millis(1);

/// Ticks from a whole synchronisation to its showing in the ledger: the worker reads at most a
/// full socket (200 KiB) and sweeps its slots between batches.
pub(crate) const SETTLE_TICKS: u32 = 2;

/// Ticks for which a synchronising worker may take no message at all: a second, as for a stall.
pub(crate) const STUCK_TICKS: u32 = 4;

/// Synchronisations that may fail before the worker is replaced.
pub(crate) const SYNC_FAILURES: u32 = 3;

/// Changes that may wait to be told to a worker which is being synchronised; past that, the
/// synchronisation begins anew, which is then the shorter way.
pub(crate) const SYNC_BACKLOG: usize = 4_096;

/// Messages of a synchronisation that go out in one turn: a millisecond of JSON, so that clients
/// and other workers are not kept waiting.
pub(crate) const SYNC_MESSAGES_AT_ONCE: usize = 4;

/// The wait before the second restart of a worker; the first comes at once.
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The longest wait before a restart.
pub(crate) const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

/// A worker that lived this long was healthy: its next restart comes at once again.
pub(crate) const HEALTHY_LIFE: Duration = Duration::from_mins(1);

/// A turn of the loop that is told at the debug level: clients wait for so long.
pub(crate) const LONG_TURN: Duration = Duration::from_millis(20 / 2);

/// How long the daemon's start waits for its workers: twice what one may take.
pub(crate) const START_WAIT: Duration = Duration::from_secs(2 * 5);

/// How long workers may take to finish what is in flight: with the rest, 2 s for the whole end.
pub(crate) const STOP_WAIT: Duration = Duration::from_millis(1500);

/// How long killed workers may take to vanish.
pub(crate) const KILL_WAIT: Duration = Duration::from_millis(300);

/// How long closing all packet sockets may take: some rounds of grace periods.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// How often it is looked whether they are closed.
pub(crate) const FINISH_CHECK: Duration = Duration::from_millis(1);

/// Threads that wait in the kernel at a time: the sockets of the most interfaces and two workers
/// come in eight rounds, each of a few grace periods.
pub(crate) const THREADS: usize = 64;

/// How such a thread gives way: one of ordinary niceness beside it gets nine tenths of a core.
pub(crate) const THREAD_NICENESS: i32 = 10;

/// The stack of such a thread: it makes a few calls, none of which takes much.
pub(crate) const THREAD_STACK_BYTES: usize = 256 * 1024;

/// Interfaces with rings of their class's full size and a spare ring, where the file says nothing
/// else. With two workers these take 8 * 3 * 8 MiB, and each further one takes 1 MiB.
pub(crate) const FULL_RINGS: usize = 8;

/// Bytes of a ring of a further interface: 256 slots hold what comes in 2.5 ms at 100,000 frames a
/// second.
pub(crate) const SMALL_RING_BYTES: u32 = 512 * 1024;

/// How often a stop that did not fit a worker's socket is tried again.
pub(crate) const STOP_RETRY: Duration = Duration::from_millis(20);

/// Refused sockets asked for again in one tick: at some 20 µs each, a few per cent of the tick.
pub(crate) const RETRIES_PER_TICK: usize = 256;

/// The send buffer of an egress socket in bytes: the largest burst of a ring (4,096 datagrams of
/// up to 1 KiB of payload), for one output.
pub(crate) const SEND_BUFFER_BYTES: usize = 4_096 * 1_024;

/// Entries of the table of what ends at the ingress: one for each rule, and one more while all move
/// to a new state of their interfaces.
pub(crate) const EXCLUSIONS: u32 = 2 * mcr_core::limits::RULES as u32;

/// Keys around a new destination that a filter lets in when destinations come faster than filters
/// can be made: what a /24 holds.
pub(crate) const FILTER_BLOCK: u32 = 256;

/// The longest pause, in ticks, before a refused resource is asked for again: 10 s. An operator
/// who raises a limit waits no longer, and grace periods for nothing are few.
pub(crate) const RETRY_TICKS_LONGEST: u32 = 10 * 4;

/// Time between two samples of the counters: two to a second, so that a rate over the last second
/// is at most half a second old.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_millis(1000 / 2);

/// Samples kept: the last second's two, and the one before them, where the second begins.
pub(crate) const SAMPLES: usize = 2 + 1;

/// Rules looked at in one tick where something changed that they share: a millisecond or two.
pub(crate) const SETTLED_AT_ONCE: usize = 4 * 1_024;

/// Rules sampled in one turn: under a millisecond.
pub(crate) const SAMPLED_AT_ONCE: usize = 1_024;

/// Clients at a time: each may hold one request of a MiB and its answer.
pub(crate) const CLIENTS: usize = 64;

/// Clients of one user at a time, root and the daemon's own user aside: so three users who take all
/// they can still leave room for the others.
pub(crate) const CLIENTS_OF_A_USER: usize = CLIENTS / 4;

/// Clients of the read-only socket at a time: who may only look never keeps out who may change.
pub(crate) const READERS: usize = CLIENTS / 2;

/// What a request costs its client in time: twice as many in a second as a client adds rules that
/// waits for each answer (some 2,500).
pub(crate) const REQUEST_COST: Duration = Duration::from_micros(1_000_000 / (2 * 2_500));

/// Bytes of requests and answers that cost their client a second: the statistics of 10,000 rules
/// (some 5 MB) a few times a second.
pub(crate) const BYTES_A_SECOND: u64 = 32 * 1024 * 1024;

/// What a forbidden request costs its client: each is a line of the log, and ten in a second tell
/// an auditor as much as a thousand.
pub(crate) const FORBIDDEN_COST: Duration = Duration::from_millis(1000 / 10);

/// What a client may use at once before it is slowed: 10,000 requests, a rule each for the most
/// rules that are usual.
pub(crate) const CREDIT: Duration = Duration::from_secs(2);

/// Characters of a request in its audit line: a rule with some outputs; the rest is cut.
pub(crate) const AUDIT_CHARACTERS: usize = 1_024;

/// How long a client may be silent, also within a request.
pub(crate) const CLIENT_IDLE: Duration = Duration::from_mins(1);

/// How long a client may take to read an answer.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long accepting pauses after an error, such as a lack of descriptors.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long an answer waits for the workers to apply a change.
pub(crate) const APPLY_WAIT: Duration = Duration::from_millis(500);

/// Within this time of a change the ledgers are looked at without sleeping: most workers have
/// applied it by then, and the timer's step is longer.
pub(crate) const APPLY_SPIN: Duration = Duration::from_micros(200);

/// The first and the longest sleep between two looks at the ledgers after that.
pub(crate) const APPLY_SLEEPS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(5)];

/// Events that may wait for the supervisor: one for each client, and for each of as many workers
/// as the largest machines have cores, its log aside, four.
pub(crate) const EVENTS: usize = CLIENTS + 4 * 1_024;

/// Destination-unreachable reports read in one turn.
pub(crate) const REPORTS_AT_ONCE: usize = 256;

/// The pause after each turn: 25,000 a second are more than outputs that nobody receives cause, and
/// cost a few per cent of a core.
pub(crate) const REPORTS_PAUSE: Duration = Duration::from_millis(10);

/// The least time between two readings of the interfaces, so that a storm of changes costs little.
pub(crate) const NETWORK_PAUSE: Duration = Duration::from_millis(20);

/// The longest time between two readings of the interfaces: a lost message costs no more.
pub(crate) const NETWORK_REREAD: Duration = Duration::from_secs(10);

/// The wait before the interfaces are read again after an error: several times within the second
/// in which a change must be noticed.
pub(crate) const NETWORK_RETRY: Duration = Duration::from_millis(1000 / 4);

/// How often the neighbours of unicast outputs are looked at. The kernel asks a silent one for
/// three seconds before it gives up, and then begins anew.
pub(crate) const NEIGHBOUR_LOOK: Duration = Duration::from_secs(1);

/// Outstanding connections at the control socket before a client must wait.
pub(crate) const LISTEN_BACKLOG: i32 = CLIENTS as i32;

/// Lines of the log that may wait for standard error to take them, some 400 KiB: no burst of other
/// lines leaves an audit line without room.
pub(crate) const LOG_LINES_WAITING: usize = 4 * LOG_BURST as usize;

/// Lines of the log that may come at once: what a daemon says of as many interfaces as it may read
/// from when all of them change, and of its rules' problems with each.
pub(crate) const LOG_BURST: u32 = 4 * mcr_core::limits::INGRESSES as u32;

/// Of these, lines that are the supervisor's own, however much a worker says: half of them.
pub(crate) const LOG_OWN_LINES: u32 = LOG_BURST / 2;

/// The pause in reading a worker's log after a burst: ten bursts a second cost a few per cent of a
/// core, whatever a worker writes. Meanwhile it is the worker who counts what does not fit.
pub(crate) const WORKER_LOG_PAUSE: Duration = Duration::from_millis(100);

/// Lines of the log in a second beyond that: more than anybody reads, and 10 MB an hour at most.
pub(crate) const LOG_LINES_PER_SECOND: u32 = 25;

/// Messages that may wait for the service manager: a start, an end and some reloads.
pub(crate) const NOTICES_WAITING: usize = 64;

/// Ticks between two looks at how many rules relay, for the service manager's status line: looking
/// at the most rules takes some milliseconds.
pub(crate) const STATUS_TICKS: u32 = 4;

/// A worker's heartbeat older than this is late: five times what one takes that has nothing to do,
/// and seen before a stalled worker is replaced.
pub(crate) const HEARTBEAT_LATE: Duration = Duration::from_millis(5 * 100);

/// Of what keeps the relay from being ready, the lines that are shown.
pub(crate) const LACKS_TOLD: usize = 20;

/// Series of rings, rules and outputs exported where nothing else is said: those of 10,000 rules
/// with an output each and an error for each output, and of 2,500 rings; some 10 MB of text.
pub(crate) const METRIC_SERIES: usize = 10_000 * (4 + 3 + 1) + 2_500 * 8;

/// Rules read for the metrics in one turn: under a millisecond.
pub(crate) const EXPORTED_AT_ONCE: usize = SAMPLED_AT_ONCE / 2;

/// For so long an exposition, or how the relay is, is not made anew: who asks more often, or all
/// that ask at once, are told the same.
pub(crate) const PAGE_AGE: Duration = Duration::from_millis(100);

/// How long the supervisor's loop may take to say how it is before it counts as dead.
pub(crate) const HEALTH_WAIT: Duration = Duration::from_secs(1);

/// How long gathering and writing an exposition may take: most of what Prometheus waits by default.
pub(crate) const EXPOSITION_WAIT: Duration = Duration::from_secs(8);

/// Connections to the metrics' server at a time: some scrapers, probes and people.
pub(crate) const SCRAPERS: usize = 16;

/// How long a client may take for its request's header.
pub(crate) const REQUEST_WAIT: Duration = Duration::from_secs(2);

/// How long a connection may take in all, as long as Prometheus waits by default
/// (`scrape_timeout`).
pub(crate) const SCRAPE_WAIT: Duration = Duration::from_secs(10);

/// Bytes of a request's header: many times what Prometheus sends, and the least that hyper takes.
pub(crate) const REQUEST_BYTES: usize = 8 * 1024;

/// Causes of log lines that are remembered: as many as there can be lines in their time.
pub(crate) const CAUSES_KEPT: usize =
    LOG_BURST as usize + CAUSE_WINDOW.as_secs() as usize * LOG_LINES_PER_SECOND as usize;

/// How long lines of one cause are gathered before it is said how many there were.
pub(crate) const CAUSE_WINDOW: Duration = Duration::from_secs(10);

/// Different lines of one cause that are printed within that time: the steps in which a dying
/// worker's restarts are held back, from 0 over 100 ms to 6.4 s.
pub(crate) const CAUSE_BURST: u32 = 1 + 7;

/// Events that are kept for those who ask what has happened: some pages of a terminal.
pub(crate) const EVENTS_KEPT: usize = 256;

/// Events that may wait for a subscriber: half a MiB in all for as many as change at once where an
/// interface goes that hundreds of rules name. Who has missed some, of more, must ask anew anyway.
pub(crate) const EVENTS_WAITING: usize = 1_024;

/// Bytes of events that a subscriber is sent in one turn: a quarter of what a socket buffers.
pub(crate) const EVENT_BYTES_AT_ONCE: usize = 212_992 / 4;

/// Subscribers to events at a time: they stay, and must leave room for clients that ask. More than
/// all who may only look, so that these keep nobody out.
pub(crate) const SUBSCRIBERS: usize = CLIENTS / 4 * 3;

/// Trace events of one worker in an answer: all that its ledger keeps.
pub(crate) const TRACE_EVENTS_AT_ONCE: u64 = mcr_core::limits::TRACE_EVENTS as u64;

/// How long a dead worker's log may take to be read: what its pipe holds (64 KiB) takes a
/// millisecond, and its successor waits.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(20);

/// For how long a worker that had a rule's source counts as one of those that have it.
pub(crate) const SOURCE_MEMORY: Duration = Duration::from_secs(10);
