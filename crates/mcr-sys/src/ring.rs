//! A worker's half of an ingress socket: the `TPACKET_V2` receive ring, read in place.
//!
//! The kernel fills the slots in order and marks each as the reader's; the reader hands them back
//! in the same order (`packet_mmap` in the kernel's documentation). Between the two, a slot's bytes
//! do not change.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::packet::RingGeometry;

/// Bytes of `struct virtio_net_hdr` (`linux/virtio_net.h`), which ends where the frame begins.
const VNET_HEADER_BYTES: usize = 10;
/// Offset of its `gso_type`.
const VNET_GSO_TYPE: usize = 1;
/// `VIRTIO_NET_HDR_GSO_NONE`.
const GSO_NONE: u8 = 0;
/// The bits of a VLAN tag that are the VLAN's number (`VLAN_VID_MASK`, `linux/if_vlan.h`).
const VLAN_ID: u16 = 0x0fff;
/// `TP_STATUS_GSO_TCP` (`linux/if_packet.h`, from Linux 5.14), absent from the libc crate.
const TP_STATUS_GSO_TCP: u32 = 1 << 8;

const _: () = assert!(size_of::<libc::tpacket2_hdr>() == 32);
const _: () = assert!(align_of::<libc::tpacket2_hdr>() == 4);

/// What the kernel knows of a frame's UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: whoever cares must verify it.
    Unverified,
    /// The device or the kernel verified it.
    Valid,
    /// A sender on this host left it for a device to fill in.
    NotFilledIn,
}

/// One received frame, in its slot.
#[derive(Clone, Copy, Debug)]
pub struct RingFrame<'r> {
    /// The frame from its link-layer header on, as far as the slot holds it.
    pub bytes: &'r [u8],
    /// Where `bytes` begins in the ring's memory, for [`Gather::place`](crate::gather::Gather).
    pub offset: usize,
    /// The frame's length as received; more than `bytes` holds where the slot was too small.
    pub original_len: u32,
    /// What is known of its UDP checksum.
    pub checksum: Checksum,
    /// Whether the tag of a VLAN was taken off the frame and stands beside it. A priority tag, of
    /// VLAN 0 (IEEE 802.1Q), is none.
    pub vlan_tagged: bool,
    /// Whether this is a super-frame of several datagrams (GRO, LRO, a local sender's GSO).
    pub coalesced: bool,
}

/// The receive ring of one `AF_PACKET` socket, mapped.
#[derive(Debug)]
pub struct RxRing {
    socket: OwnedFd,
    memory: NonNull<libc::c_void>,
    slot_bytes: usize,
    slots: usize,
    /// The oldest slot not handed back.
    oldest: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread; all access that
// changes the reader's position needs `&mut self`.
unsafe impl Send for RxRing {}

impl RxRing {
    /// Maps the ring that was set up on `socket` with exactly this geometry.
    ///
    /// # Errors
    /// What mmap(2) says: `EINVAL` where the geometry is not the socket's.
    ///
    /// # Panics
    /// Never: the kernel gives no null address.
    pub fn map(socket: OwnedFd, geometry: RingGeometry) -> io::Result<Self> {
        let (slot_bytes, slots) = (geometry.slot_bytes as usize, geometry.slots as usize);
        if slots == 0 || slot_bytes < size_of::<libc::tpacket2_hdr>() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a new shared mapping at an address of the kernel's choosing; packet_mmap()
        // accepts only the exact size of the ring, so all of it is backed.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                slot_bytes * slots,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(address).expect("mmap gives no null address");
        Ok(Self { socket, memory, slot_bytes, slots, oldest: 0 })
    }

    /// How many slots the ring has.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes of the ring's memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slot_bytes * self.slots
    }

    /// Where the ring's memory begins.
    pub(crate) fn memory(&self) -> *const u8 {
        self.memory.as_ptr().cast()
    }

    /// The `n`th frame not handed back, counting from the oldest; `None` while the kernel still
    /// owns its slot.
    ///
    /// # Panics
    /// When the kernel puts a frame outside its slot.
    pub fn frame(&self, n: usize) -> Option<RingFrame<'_>> {
        let start = self.slot(n)?;
        let status = self.status(start).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the slot is inside the mapping, aligned by its power-of-two size, and by its
        // status the reader's: the kernel writes it no more until it is handed back.
        let header = unsafe { &*self.memory.as_ptr().byte_add(start).cast::<libc::tpacket2_hdr>() };
        let first = usize::from(header.tp_mac);
        let captured = header.tp_snaplen as usize;
        assert!(
            first >= VNET_HEADER_BYTES && first + captured <= self.slot_bytes,
            "the kernel keeps a frame inside its slot"
        );
        // SAFETY: checked just above to lie inside this slot, which is the reader's; `release`
        // needs `&mut self` and so cannot come while the borrow lasts.
        let slot =
            unsafe { std::slice::from_raw_parts(self.memory().add(start), first + captured) };
        let gso_type = slot[first - VNET_HEADER_BYTES + VNET_GSO_TYPE];
        Some(RingFrame {
            bytes: &slot[first..],
            offset: start + first,
            original_len: header.tp_len,
            checksum: checksum(status),
            vlan_tagged: status & libc::TP_STATUS_VLAN_VALID != 0
                && header.tp_vlan_tci & VLAN_ID != 0,
            coalesced: gso_type != GSO_NONE || status & TP_STATUS_GSO_TCP != 0,
        })
    }

    /// Hands the `n` oldest slots back to the kernel.
    ///
    /// # Panics
    /// When `n` is more than the ring has.
    pub fn release(&mut self, n: usize) {
        assert!(n <= self.slots, "no more slots than there are");
        for _ in 0..n {
            let start = self.oldest * self.slot_bytes;
            self.status(start).store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.oldest = (self.oldest + 1) % self.slots;
        }
    }

    /// How many slots hold unread frames now. The kernel fills in order, so a binary search over
    /// the slots finds the border.
    pub fn backlog(&self) -> usize {
        let (mut held, mut free) = (0, self.slots);
        while held < free {
            let middle = held.midpoint(free);
            match self.slot(middle) {
                Some(start) if self.is_readers(start) => held = middle + 1,
                _ => free = middle,
            }
        }
        held
    }

    fn is_readers(&self, start: usize) -> bool {
        self.status(start).load(Ordering::Relaxed) & libc::TP_STATUS_USER != 0
    }

    /// Where the slot of the `n`th frame begins.
    fn slot(&self, n: usize) -> Option<usize> {
        (n < self.slots).then(|| (self.oldest + n) % self.slots * self.slot_bytes)
    }

    fn status(&self, start: usize) -> &AtomicU32 {
        // SAFETY: `start` is a slot's beginning, inside the mapping and aligned; the first word of
        // a slot is its status, which both sides access atomically.
        unsafe { AtomicU32::from_ptr(self.memory.as_ptr().byte_add(start).cast()) }
    }
}

fn checksum(status: u32) -> Checksum {
    if status & libc::TP_STATUS_CSUMNOTREADY != 0 {
        Checksum::NotFilledIn
    } else if status & libc::TP_STATUS_CSUM_VALID != 0 {
        Checksum::Valid
    } else {
        Checksum::Unverified
    }
}

impl AsFd for RxRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for RxRing {
    fn drop(&mut self) {
        // SAFETY: maps exactly what `map` mapped, and no frame is borrowed any more.
        unsafe { libc::munmap(self.memory.as_ptr(), self.memory_bytes()) };
    }
}

#[cfg(test)]
mod tests;
