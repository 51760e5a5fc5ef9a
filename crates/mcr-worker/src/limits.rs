//! Bounds of the loop before it looks up again, each with its reason.

use std::time::Duration;

/// Datagrams of a batch: enough that each of a hundred interleaved flows still has runs of twenty,
/// and a few milliseconds of work. A batch is only as large as what has come in, so this adds no
/// latency to a relay that keeps up.
pub(crate) const DATAGRAMS_AT_ONCE: usize = 32 * DATAGRAMS_IN_A_RUN as usize;

/// The part of a ring that one batch may hold: the rest takes what comes in while it is sent.
pub(crate) const RING_PART: usize = 2;

/// How long one turn of the loop carries frames before it looks up: with a chunk of sends and the
/// commands after it, a turn stays within two milliseconds.
pub(crate) const TURN: Duration = Duration::from_micros(1_500);

/// A turn longer than this is counted: half of the four milliseconds of a million datagrams a
/// second that a ring holds.
pub(crate) const LONG_TURN: Duration = Duration::from_millis(4 / 2);

/// How long a batch's sends may take, at the price that copies had lately: longer than a turn, so
/// that interleaved flows have long runs; short enough for commands, which wait for its end.
pub(crate) const BATCH: Duration = Duration::from_millis(10);

/// How long the sends may take that go to the kernel in one call: a sixth of a turn.
pub(crate) const CHUNK: Duration = Duration::from_micros(1_500 / 6);

/// Copies that a chunk has at least, however dear they were: below, the call costs as much.
pub(crate) const LEAST_COPIES_IN_A_CHUNK: usize = 16;

/// Sends of a chunk: as many as [`mcr_sys`] hands to the kernel in one call.
pub(crate) const SENDS_IN_A_CHUNK: usize = 512;

/// Payload bytes of a chunk: sixteen of the longest runs or datagrams, some hundred microseconds.
pub(crate) const BYTES_IN_A_CHUNK: usize = 16 * 64 * 1024;

/// The price of a copy before any was sent: a million a second.
pub(crate) const FIRST_PRICE_NS: u64 = 1_000;

/// The highest price of a copy that is believed: the longest datagram in its fragments. Beyond it
/// the worker was kept from its core.
pub(crate) const HIGHEST_PRICE_NS: u64 = 64 * 1_000;

/// Frames read between two looks at the clock: some ten microseconds, or half a millisecond where
/// each is a super-frame that is fetched by a call.
pub(crate) const FRAMES_BETWEEN_LOOKS: usize = 32;

/// For so long an output gets single datagrams after its path refused a run. A try costs one send,
/// and the kernel forgets a path MTU after ten minutes (`net.ipv6.route.mtu_expires`).
pub(crate) const REFUSED_RUNS_FOR: Duration = Duration::from_secs(10);

/// Datagrams in one GSO run: `UDP_MAX_SEGMENTS` of Linux before 6.10 (`linux/udp.h`).
pub(crate) const DATAGRAMS_IN_A_RUN: u32 = 64;

/// Payload bytes in one GSO run: what one IPv4 packet could carry, 65,535 less IPv4's and UDP's
/// headers, since the kernel builds the run as one packet.
pub(crate) const BYTES_IN_A_RUN: u32 = 65_535 - 20 - 8;

/// How often the kernel's ring statistics are read and the loop turns without any event: often
/// enough for the heartbeat to be seen well within the second after which a worker counts as
/// stuck.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// How often a busy loop looks for commands: each look is a system call.
pub(crate) const COMMAND_LOOK: Duration = Duration::from_millis(1);

/// How long one turn of the loop goes on with commands once it has begun one: the longest single
/// command takes about as much again, and the two stay within a millisecond.
pub(crate) const COMMANDS_FOR: Duration = Duration::from_micros(400);

/// How long a real-time worker goes on before it rests: few rests, and each so short that the ring
/// holds what comes in.
pub(crate) const REALTIME_RUN: Duration = Duration::from_millis(2);

/// Of its time it rests one part in so many and one: 6.7 %, safely more than the 5 % that the
/// kernel would take.
pub(crate) const REALTIME_RUNS_TO_REST: u64 = 14;

/// When a ring whose frames were dropped is looked at again: the first frame that a stuck ring
/// refuses tells nothing yet, and at a hundred frames a second another one comes in that time.
pub(crate) const DOUBTFUL_LOOK: Duration = Duration::from_millis(1000 / 100);

/// Ticks for which frames may be counted in and show in no slot: the host's machine may have taken
/// the core away that writes one.
pub(crate) const LOOKS_OWED: u32 = 3;

/// Wake-ups between two ticks, each for nothing, that are taken for an error: half of all that an
/// idle worker may have in a second (50), in a tenth of it.
pub(crate) const WAKE_UPS_IN_VAIN: u32 = 50 / 2;

/// Ticks in a row with so many: a core that the host's machine took away for a moment while it
/// wrote a frame wakes its reader in vain, too, but not for so long.
pub(crate) const TICKS_IN_VAIN: u32 = 3;

/// How long a ring that closes is read, should its filter still let frames in: many times what a
/// full ring takes.
pub(crate) const CLOSING_RING: Duration = Duration::from_millis(200);

/// Routes that a commit checks in one turn of the loop for not being part of the new set: some
/// hundred microseconds of work.
pub(crate) const SWEEP_AT_ONCE: usize = 4_096;

/// Descriptors in one command.
pub(crate) const DESCRIPTORS_IN_A_COMMAND: usize = 1;

/// How long a stopping worker goes on with what is in its rings, however fast frames come: two full
/// rings with ten outputs each, at a million copies a second, take half of it.
pub(crate) const LAST_FRAMES_FOR: Duration = Duration::from_millis(2 * 2 * 4_096 * 10 / 1_000);

/// Egress sockets that a worker may hold: all that there can be at once, and while one set replaces
/// another, both.
pub(crate) const EGRESS_SOCKETS: usize = 2 * mcr_core::limits::EGRESSES;

/// Descriptors that a worker may have open: the three standard ones, the command socket, the log
/// pipe and the ring; a socket for each ingress, and while
/// one replaces another, both; the egress sockets; and those of a command under way.
pub(crate) const DESCRIPTORS: u64 =
    (3 + 3 + 2 * mcr_core::limits::INGRESSES + EGRESS_SOCKETS + DESCRIPTORS_IN_A_COMMAND) as u64;
