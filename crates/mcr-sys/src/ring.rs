//! A worker's half of an ingress socket: the `TPACKET_V2` receive ring, read in place.
//!
//! The kernel fills the slots in order and marks each as the reader's; the reader hands them back
//! in the same order (`packet_mmap` in the kernel's documentation). Between the two, a slot's bytes
//! do not change.

mod checksum;
mod copies;

use std::io;
use std::num::NonZeroU16;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use crate::abi::VNET_HEADER_BYTES;
use crate::limits;
use crate::mapping::Mapping;
use crate::packet::RingGeometry;
use copies::{Beginning, Copies, LongFrame, Look};

/// Offsets in `struct virtio_net_hdr`, which ends where the frame begins; `gso_size` is in host
/// byte order.
const VNET_GSO_TYPE: usize = 1;
const VNET_GSO_SIZE: usize = 4;
/// `VIRTIO_NET_HDR_GSO_NONE`.
const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`, given for UDP segments from Linux 6.2.
const GSO_UDP_L4: u8 = 5;
/// A `struct sockaddr_ll` stands in each slot behind the header, aligned to 16 bytes
/// (`TPACKET_ALIGNMENT`).
const ADDRESS: usize = size_of::<libc::tpacket2_hdr>().next_multiple_of(16);
/// Offset of `sll_pkttype` in it.
const PACKET_TYPE: usize = std::mem::offset_of!(libc::sockaddr_ll, sll_pkttype);
/// The bits of a VLAN tag that are the VLAN's number (`VLAN_VID_MASK`, `linux/if_vlan.h`).
const VLAN_ID: u16 = 0x0fff;
/// `TP_STATUS_GSO_TCP` (`linux/if_packet.h`, from Linux 5.14), absent from the libc crate.
const TP_STATUS_GSO_TCP: u32 = 1 << 8;

const _: () = assert!(size_of::<libc::tpacket2_hdr>() == 32);
const _: () = assert!(align_of::<libc::tpacket2_hdr>() == 4);

/// The kernel's knowledge of a frame's UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: whoever cares must verify it.
    Unverified,
    /// The device or the kernel verified it.
    Valid,
    /// A sender on this host left it for a device to fill in.
    NotFilledIn {
        /// The place in the frame of the part that it covers; it goes to the end.
        start: u16,
        /// The place of the checksum in that part.
        offset: u16,
    },
}

/// One received frame, in its slot, or whole beside it where it is longer.
#[derive(Clone, Copy, Debug)]
pub struct RingFrame<'r> {
    /// The frame from its link-layer header on, as far as the slot holds it.
    pub bytes: &'r [u8],
    /// Where `bytes` begins in the ring's memory, or behind it in that of long frames, for
    /// [`Gather::place`](crate::gather::Gather).
    pub offset: usize,
    /// The frame's length as received; more than `bytes` holds where the slot was too small.
    pub original_len: u32,
    /// When the kernel received it, in nanoseconds since 1970 (`CLOCK_REALTIME`).
    pub received_ns: u64,
    /// The knowledge of its UDP checksum.
    pub checksum: Checksum,
    /// Whether the tag of a VLAN was taken off the frame and stands beside it. A priority tag, of
    /// VLAN 0 (IEEE 802.1Q), is none.
    pub vlan_tagged: bool,
    /// Bytes before the network header.
    pub link_bytes: usize,
    /// Whether its link-layer destination is another host (`PACKET_OTHERHOST`, packet(7)).
    pub for_other_host: bool,
    /// Whether this is one datagram or a super-frame of several (GRO, LRO, a local sender's GSO).
    pub coalescing: Coalescing,
}

impl RingFrame<'_> {
    /// The same from the network header on: a tunnel to many (GRE without a remote end) shows its
    /// own headers before.
    #[must_use]
    pub fn without_link_header(self) -> Self {
        let link_bytes = self.link_bytes.min(self.bytes.len());
        let checksum = match self.checksum {
            Checksum::NotFilledIn { start, offset } => {
                Checksum::NotFilledIn { start: start.saturating_sub(link_bytes as u16), offset }
            }
            known => known,
        };
        Self {
            bytes: &self.bytes[link_bytes..],
            offset: self.offset + link_bytes,
            original_len: self.original_len - link_bytes as u32,
            checksum,
            link_bytes: 0,
            ..self
        }
    }

    /// Whether [`RxRing::fill_in`] can do what a device would do.
    pub fn is_fillable(&self) -> bool {
        let Checksum::NotFilledIn { start, offset } = self.checksum else {
            return false;
        };
        let is_whole = self.bytes.len() == self.original_len as usize;
        is_whole && usize::from(start) + usize::from(offset) + 2 <= self.bytes.len()
    }
}

/// The kernel's description of a frame's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coalescing {
    /// It is as it was on the wire.
    Single,
    /// It has UDP payloads of so many bytes each, but the last, which may be shorter.
    Segments(NonZeroU16),
    /// It is several packets, of another protocol or in a form that is not described.
    Unknown,
}

/// The receive ring of one `AF_PACKET` socket, mapped.
#[derive(Debug)]
pub struct RxRing {
    socket: OwnedFd,
    memory: Mapping,
    /// The oldest slot not handed back.
    oldest: usize,
    copies: Copies,
}

impl RxRing {
    /// Maps the ring that was set up on `socket` with exactly this geometry.
    ///
    /// # Errors
    /// What mmap(2) says: `EINVAL` where the geometry is not the socket's.
    ///
    /// # Panics
    /// Never: the kernel gives no null address.
    pub fn map(socket: OwnedFd, geometry: RingGeometry) -> io::Result<Self> {
        let memory = Mapping::of(&socket, geometry, limits::MUTE_RING_BYTES as usize)?;
        Ok(Self { socket, memory, oldest: 0, copies: Copies::new() })
    }

    /// How many slots the ring has.
    pub fn slots(&self) -> usize {
        self.memory.slots()
    }

    /// Where bytes of frames stand, which [`RingFrame::offset`] counts: first the ring, then the
    /// long frames. `None` outside both.
    pub(crate) fn address(&self, bytes: &Range<usize>) -> Option<*const u8> {
        if let Some(address) = self.memory.address(bytes) {
            return Some(address);
        }
        let ring = self.memory.bytes_mapped();
        let long = bytes.start.checked_sub(ring)?..bytes.end.checked_sub(ring)?;
        Some(self.copies.memory().get(long)?.as_ptr())
    }

    /// The `n`th frame not handed back, counting from the oldest; `None` while the kernel still
    /// owns its slot, or while so many frames longer than a slot are held that others have to be
    /// handed back first.
    ///
    /// # Panics
    /// When the kernel puts a frame outside its slot, or no header before it.
    pub fn frame(&mut self, n: usize) -> Option<RingFrame<'_>> {
        let slot = self.slot(n)?;
        let status = self.memory.status(slot).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: its status says that the kernel is done with the slot.
        let header = unsafe { self.memory.header(slot) };
        let (first, captured) = (usize::from(header.tp_mac), header.tp_snaplen as usize);
        let (original_len, network) = (header.tp_len, usize::from(header.tp_net));
        let link_bytes = network.saturating_sub(first);
        let received_ns = u64::from(header.tp_sec) * 1_000_000_000 + u64::from(header.tp_nsec);
        let vlan_tagged =
            status & libc::TP_STATUS_VLAN_VALID != 0 && header.tp_vlan_tci & VLAN_ID != 0;
        let (offset, behind) = (self.memory.offset(slot) + first, self.memory.bytes_mapped());
        let bytes = ADDRESS..first + captured;
        // SAFETY: as above. The frame borrows the ring, so that `release`, which hands slots back,
        // cannot be called while it lives.
        let slot_bytes = unsafe { self.memory.bytes(slot, bytes) };
        let for_other_host = slot_bytes[PACKET_TYPE] == libc::PACKET_OTHERHOST;
        let (before, bytes) = slot_bytes.split_at(first - ADDRESS);
        if status & libc::TP_STATUS_COPY != 0 {
            let start = Beginning { bytes, original_len };
            match self.copies.of_slot(slot, &start, self.socket.as_fd()) {
                Look::Here(long) => {
                    let frame = long_frame(&self.copies, behind, &long);
                    return Some(RingFrame {
                        received_ns,
                        vlan_tagged,
                        link_bytes,
                        for_other_host,
                        ..frame
                    });
                }
                Look::NoRoom => return None,
                // Its beginning, in the slot, is all there is.
                Look::Missing => {}
            }
        }
        let tcp = status & TP_STATUS_GSO_TCP != 0;
        Some(RingFrame {
            bytes,
            offset,
            original_len,
            received_ns,
            checksum: checksum::known(vnet_header(before)),
            vlan_tagged,
            link_bytes,
            for_other_host,
            coalescing: if tcp { Coalescing::Unknown } else { coalescing(vnet_header(before)) },
        })
    }

    /// Fills in the checksum that a sender on this host left to a device, for which the `n`th frame
    /// is then [`Checksum::Unverified`].
    ///
    /// # Panics
    /// When the `n`th frame is not there, or not [fillable](RingFrame::is_fillable).
    pub fn fill_in(&mut self, n: usize) {
        let slot = self.slot(n).filter(|slot| self.is_readers(*slot)).expect("a frame is there");
        if let Some(long) = self.copies.whole(slot) {
            return checksum::fill_in(long);
        }
        // SAFETY: its status says that the kernel is done with the slot, as `frame` found as well.
        let header = unsafe { self.memory.header(slot) };
        let (first, captured) = (usize::from(header.tp_mac), header.tp_snaplen as usize);
        let bytes = first - VNET_HEADER_BYTES..first + captured;
        // SAFETY: as above.
        checksum::fill_in(unsafe { self.memory.bytes(slot, bytes) });
    }

    /// System calls made since this was last asked: one for each message read
    /// for a frame longer than its slot.
    pub fn take_system_calls(&mut self) -> u64 {
        self.copies.take_system_calls()
    }

    /// Hands the `n` oldest slots back to the kernel.
    ///
    /// # Panics
    /// When `n` is more than the ring has.
    pub fn release(&mut self, n: usize) {
        assert!(n <= self.slots(), "no more slots than there are");
        for _ in 0..n {
            self.copies.release(self.oldest);
            self.memory.status(self.oldest).store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.oldest = (self.oldest + 1) % self.slots();
        }
    }

    /// How many slots hold unread frames now. The kernel fills in order, so a binary search over
    /// the slots finds the border.
    pub fn backlog(&self) -> usize {
        let (mut held, mut free) = (0, self.slots());
        while held < free {
            let middle = held.midpoint(free);
            match self.slot(middle) {
                Some(slot) if self.is_readers(slot) => held = middle + 1,
                _ => free = middle,
            }
        }
        held
    }

    /// Whether no slot holds a frame. It looks at each, since one that is still being written hides
    /// those behind it from [`RxRing::backlog`].
    pub fn is_empty(&self) -> bool {
        (0..self.slots()).all(|slot| !self.is_readers(slot))
    }

    fn is_readers(&self, slot: usize) -> bool {
        self.memory.status(slot).load(Ordering::Relaxed) & libc::TP_STATUS_USER != 0
    }

    /// The slot of the `n`th frame.
    fn slot(&self, n: usize) -> Option<usize> {
        (n < self.slots()).then(|| (self.oldest + n) % self.slots())
    }
}

/// Unless the slot carries it. `ring_bytes` are those before the memory of long frames.
fn long_frame<'r>(copies: &'r Copies, ring_bytes: usize, long: &LongFrame) -> RingFrame<'r> {
    let (before, rest) = copies.memory().split_at(long.place.start);
    let vnet_header = vnet_header(before);
    RingFrame {
        bytes: &rest[..long.place.len()],
        offset: ring_bytes + long.place.start,
        original_len: long.original_len,
        received_ns: 0,
        checksum: checksum::known(vnet_header),
        vlan_tagged: false,
        link_bytes: 0,
        for_other_host: false,
        coalescing: coalescing(vnet_header),
    }
}

/// The last bytes before a frame.
fn vnet_header(before: &[u8]) -> &[u8; VNET_HEADER_BYTES] {
    before.last_chunk().expect("the header stands before each frame")
}

fn coalescing(vnet_header: &[u8; VNET_HEADER_BYTES]) -> Coalescing {
    let [low, high] = [vnet_header[VNET_GSO_SIZE], vnet_header[VNET_GSO_SIZE + 1]];
    match (vnet_header[VNET_GSO_TYPE], NonZeroU16::new(u16::from_ne_bytes([low, high]))) {
        (GSO_NONE, _) => Coalescing::Single,
        (GSO_UDP_L4, Some(bytes)) => Coalescing::Segments(bytes),
        _ => Coalescing::Unknown,
    }
}

impl AsFd for RxRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
