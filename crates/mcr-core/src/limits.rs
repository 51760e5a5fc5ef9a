//! Limits of a rule set, each with its reason.

/// Rules in a set. A worker's table, ledger and slots for so many take some 20 MiB when full, and
/// nothing here is proportional to it when empty.
pub const RULES: usize = 100_000;

/// Outputs of one rule: the widest fan-out for which one datagram's sends stay around a
/// millisecond of one core (at about a million sends a second).
pub const OUTPUTS_PER_RULE: usize = 1_024;

/// Outputs of all rules together: two and a half for each of the most rules, rounded to a power
/// of two.
pub const OUTPUTS: usize = 1 << 18;

/// Ingress interfaces at once, each with a ring for every worker.
pub const INGRESSES: usize = 256;

/// Egress socket sets at once; the number must fit five digits for a rule with the most outputs to
/// fit one worker command.
pub const EGRESSES: usize = 4_096;

/// Bytes of a rule's name: what still fits a table's column.
pub const NAME_BYTES: usize = 64;

/// Bytes of an interface's alternative name, `ALTIFNAMSIZ` without its terminating zero
/// (`linux/if.h`). The name itself has at most 15.
pub const INTERFACE_NAME_BYTES: usize = 127;

/// What stands before the IP header of a frame in a ring, at most: an Ethernet header and a VLAN
/// tag that the NIC did not strip.
pub const LINK_HEADER_BYTES: u32 = 14 + 4;

/// What the kernel puts before each frame in a slot of a `TPACKET_V2` ring, at most (packet(7),
/// `tpacket_rcv` in `net/packet/af_packet.c`): `tpacket2_hdr`, `sockaddr_ll`, the least room left
/// for a link header, `virtio_net_hdr`, and two roundings up to `TPACKET_ALIGNMENT`.
pub const RING_SLOT_HEADER_BYTES: u32 = 32 + 20 + 16 + 10 + 2 * 16;

/// Bytes of a slot for the usual MTU of 1,500: half a page, so that none lies across two.
pub const SMALL_SLOT_BYTES: u32 = 2 * 1024;

/// Bytes of a slot for MTUs raised to carry tunnels or tags (some 1,600 to 3,900): a page.
pub const STANDARD_SLOT_BYTES: u32 = 4 * 1024;

/// Bytes of a slot for jumbo frames: 9,000 and the like, in a power of two.
pub const JUMBO_SLOT_BYTES: u32 = 16 * 1024;

/// Slots of a small ring: 8 MiB, and 4 ms of small datagrams at a million a second, which is what
/// a worker may be late by.
pub const SMALL_SLOTS: u32 = 8 * 1024 * 1024 / SMALL_SLOT_BYTES;

/// Slots of a standard ring: 8 MiB likewise; half the slots, for datagrams twice as long.
pub const STANDARD_SLOTS: u32 = 8 * 1024 * 1024 / STANDARD_SLOT_BYTES;

/// Slots of a jumbo ring: 16 MiB, so that longer slots do not leave so few that one burst fills
/// them.
pub const JUMBO_SLOTS: u32 = 16 * 1024 * 1024 / JUMBO_SLOT_BYTES;

/// Datagrams in a super-frame: `UDP_MAX_SEGMENTS` (`linux/udp.h`, since Linux 6.10; 64 before),
/// to which the kernel holds senders and GRO alike.
pub const DATAGRAMS_IN_A_FRAME: usize = 1 << 7;

/// Extension headers walked in an IPv6 packet: those of RFC 8200 (section 4.1) that may stand
/// before UDP, hop-by-hop, two of destination options, routing and authentication, and the three
/// added since, mobility, HIP and Shim6. A longer chain is made to cost time.
pub const EXTENSION_HEADERS: usize = 5 + 3;

/// Intervals of an admission filter for each address family. Classic BPF takes 4,096 instructions
/// (`BPF_MAXINSNS`): for two families, eight to an interval. The search for one costs two or
/// three, its ports one more than their number, so that all but the fullest filters fit exactly.
pub const FILTER_INTERVALS: usize = 4_096 / 2 / 8;

/// Ports of a single address that a filter tells apart: what is left of those eight instructions.
pub const FILTER_PORTS: usize = 8 - 3 - 1;

/// Sizes of batches that are told apart, each up to twice the one before it: up to that of 2,047
/// frames, and those of the 2,048 that a batch may have.
pub const BATCH_SIZES: usize = 11 + 1;

/// Traces at once: more than one operator follows, and few enough to be gone through for each
/// datagram while there is any.
pub const TRACES: usize = 16;

/// Trace events that each worker's ledger keeps: the lives of a thousand datagrams with one output
/// (received, decided, handed, sent), in under a MiB.
pub const TRACE_EVENTS: usize = 4 * 1_024;

/// Payloads that the workers remember having seen, of the sample and of the others each: 64 KiB
/// that stay in a cache.
pub const SIGHTINGS: usize = 2_048;

/// Of so many payloads one is looked at wherever it comes: a look costs some 30 ns.
pub const SIGHTING_SAMPLE: u64 = 64;

/// Senders that a worker may suspect at a time.
pub const SUSPICIONS: usize = 64;

/// Returns that make a circle: one datagram that goes round comes back thousands of times a second.
pub const RETURNS: u32 = 32;

/// The time for so many.
pub const SUSPICION_MS: u32 = 4_000;

/// Of a payload that the first sender repeats, returns for each time that it does: sensors with the
/// same constant payload differ less.
pub const RETURNS_FOR_EACH: u32 = 16;

/// Senders of rules that a worker may brake at a time.
pub const BRAKES: usize = 16;

/// How long a brake stays after it last stopped a datagram.
pub const BRAKE_MS: u32 = 10_000;

/// How long a payload counts as relayed: longer than any circle takes.
pub const RECENT_MS: u64 = 1_000;

/// Payloads of braked rules that the workers remember, at most: 300 ms at 200,000 a second.
pub const RECENT_PAYLOADS: usize = 65_536;
