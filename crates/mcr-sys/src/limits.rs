//! Every number of this crate that is a choice rather than a fact of the kernel's ABI.

use std::time::Duration;

/// Bytes in one block of a packet ring: a multiple of every page size in use (4, 16 and 64 KiB),
/// and small enough (sixteen 4-KiB pages) for the kernel to find it contiguous.
pub(crate) const RING_BLOCK_BYTES: u32 = 64 * 1024;

/// Bytes of a slot that no packet fits into: the least that the kernel takes, a ring's header and
/// an address (`TPACKET2_HDRLEN`, 32 and 20), in whole `TPACKET_ALIGNMENT`s.
pub(crate) const MUTE_SLOT_BYTES: u32 = (32_u32 + 20).next_multiple_of(16);

/// Bytes of a ring of such slots: one block.
pub(crate) const MUTE_RING_BYTES: u32 = RING_BLOCK_BYTES;

/// The smallest ring slot: an Ethernet frame of 1518 bytes, the ring's own header and the
/// virtio header before it need more than 1 KiB, and slots are powers of two.
pub(crate) const MIN_SLOT_BYTES: u32 = 2 * 1024;

/// The largest ring slot: a 64-KiB datagram with its headers, to the next power of two.
pub(crate) const MAX_SLOT_BYTES: u32 = 2 * 64 * 1024;

/// The largest ring, in slots: what 4 GiB, the range of the kernel's own arithmetic, holds of the
/// largest slots.
pub(crate) const MAX_RING_SLOTS: u32 = 32 * 1024;

/// The longest classic BPF program that the kernel accepts.
pub(crate) const MAX_INSTRUCTIONS: usize = libc::BPF_MAXINSNS as usize;

/// Bytes for a frame longer than a slot: the longest IP packet, an Ethernet header and a VLAN tag
/// before it, and the virtio header, rounded up to whole cache lines.
pub(crate) const LONG_FRAME_BYTES: usize = (65_535_usize + 14 + 4 + 10).next_multiple_of(64);

/// Bytes by which a long frame is matched with its slot: the longest usual headers (Ethernet, IPv6,
/// UDP, RTP: 74) and the start of the payload.
pub(crate) const COMPARED_BYTES: usize = 128;

/// Such frames that a batch may hold: 2 MiB, which the nearest caches but one still hold, and some
/// 2,000 datagrams of the usual size, as many as a batch of single frames has.
pub(crate) const LONG_FRAMES: usize = 32;

/// Bytes of such frames that may wait on the socket, as the kernel charges them: a few milliseconds
/// at 10 Gbit/s, as a ring holds.
pub const LONG_FRAME_QUEUE_BYTES: usize = 8 * 1024 * 1024;

/// Cores that a steering program names one by one: two instructions each, in half a program.
pub(crate) const MAX_STEERED_CORES: usize = MAX_INSTRUCTIONS / (2 * 2);

/// Extension headers that a steering program walks in an IPv6 packet, as the forwarding decision
/// does (`mcr_core::limits::EXTENSION_HEADERS`; a test compares what both do).
pub(crate) const EXTENSION_HEADERS: usize = 8;

/// Members among which a program divides by hash: twelve instructions each, and thirty-five for
/// each extension header, with as many again for everything else.
pub const MAX_HASHED_MEMBERS: usize = (MAX_INSTRUCTIONS - 2 * 35 * EXTENSION_HEADERS) / 12;

/// Descriptors in one message: the kernel's `SCM_MAX_FD`, so whatever can be sent can be received.
pub(crate) const MAX_PASSED_DESCRIPTORS: usize = 253;

/// Bytes read of an ICMP error: the minimum MTU of IPv6, which RFC 4443 section 3.1 makes the
/// largest error message (RFC 1812 section 4.3.2.3 allows 576 for IPv4).
pub(crate) const ICMP_ERROR_BYTES: usize = 1280;

/// IPv6 extension headers walked in a quoted packet before it is called unreadable: each kind that
/// may precede UDP (RFC 8200 section 4.1) once, and destination options twice.
pub(crate) const MAX_EXTENSION_HEADERS: usize = 5;

/// How long a descriptor is left out of waits after an error that reading it does not clear: as
/// long as a worker's tick, so that each costs ten wake-ups a second.
pub(crate) const MUTED_FOR: Duration = Duration::from_millis(100);

/// Sends that go to the kernel in one call: many enough for the call's own cost to vanish, few
/// enough for their headers (88 bytes each) to stay in the nearest cache. A power of two, as
/// `io_uring`'s queues are.
pub(crate) const SENDS_AT_ONCE: u32 = 512;

/// What the verifier may say of a program that it refuses: its last lines name the instruction,
/// and this holds those of programs of some hundred instructions.
pub(crate) const VERIFIER_LOG_BYTES: usize = 64 * 1024;

/// The protocol that a watch on an interface listens for: the first of the two that IEEE 802 leaves
/// to local experiments, for a socket without any is not told when its interface goes down.
pub(crate) const WATCH_ETHERTYPE: u16 = 0x88b5;

/// How a program that panics ends where nothing catches it (Rust's standard library).
pub(crate) const EXIT_CODE_OF_PANICS: i32 = 101;
