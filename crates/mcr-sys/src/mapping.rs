//! The memory of a packet ring, mapped (`packet_mmap` in the kernel's documentation).

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use crate::packet::RingGeometry;

/// A ring's slots.
#[derive(Debug)]
pub(crate) struct Mapping {
    memory: NonNull<libc::c_void>,
    slot_bytes: usize,
    slots: usize,
    /// Bytes mapped behind the slots, which nobody looks at.
    behind: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread; who changes a slot
// that is not the kernel's needs `&mut`.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference only the slots' status can be reached, which is atomic, and
// addresses, which only the kernel follows, to read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the ring that was set up on `socket`, a packet socket, with exactly this geometry.
    /// Another ring of the socket's comes behind it, of so many bytes: the kernel maps both, or
    /// neither.
    ///
    /// Nobody asks the kernel whether it is one: a worker gets it when it may ask no more. Its
    /// supervisor made it, and sends nothing else for a ring.
    pub(crate) fn of(
        socket: &impl AsFd,
        geometry: RingGeometry,
        behind: usize,
    ) -> io::Result<Self> {
        let (slot_bytes, slots) = (geometry.slot_bytes as usize, geometry.slots as usize);
        // What `status` and `header` rely on, wherever the geometry comes from.
        if slots == 0
            || slot_bytes < size_of::<libc::tpacket2_hdr>()
            || !slot_bytes.is_multiple_of(align_of::<libc::tpacket2_hdr>())
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a new shared mapping at an address of the kernel's choosing, which disturbs no
        // other memory; packet_mmap() accepts only the exact size of the rings, so all is backed.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                slot_bytes * slots + behind,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(address).expect("mmap gives no null address");
        Ok(Self { memory, slot_bytes, slots, behind })
    }

    /// How many slots there are.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// The status of a slot, which tells whose it is: both sides access it atomically.
    ///
    /// # Panics
    /// When there is no such slot; also below.
    pub(crate) fn status(&self, slot: usize) -> &AtomicU32 {
        // SAFETY: inside the mapping and aligned, as `of` checked; the first word of a slot is its
        // status. Whoever holds it otherwise, by `header` or `bytes`, holds `&mut self`.
        unsafe { AtomicU32::from_ptr(self.slot(slot).as_ptr().cast()) }
    }

    /// The header of a slot that is not the kernel's.
    ///
    /// # Safety
    /// The slot's status, loaded with `Acquire`, said that the kernel leaves the slot alone, and
    /// what is returned is not used after a status was stored that hands it over.
    pub(crate) unsafe fn header(&mut self, slot: usize) -> &mut libc::tpacket2_hdr {
        // SAFETY: as `status`, and every slot has room for a header; the kernel leaves it alone by
        // the caller's promise, and `&mut self` shows that nobody else here holds it. Any bytes are
        // a valid header.
        unsafe { &mut *self.slot(slot).as_ptr().cast::<libc::tpacket2_hdr>() }
    }

    /// Bytes of a slot that is not the kernel's.
    ///
    /// # Safety
    /// As for [`Mapping::header`].
    ///
    /// # Panics
    /// When they are not inside the slot.
    pub(crate) unsafe fn bytes(&mut self, slot: usize, bytes: Range<usize>) -> &mut [u8] {
        let inside = bytes.start <= bytes.end && bytes.end <= self.slot_bytes;
        assert!(inside, "the kernel keeps a frame inside its slot");
        // SAFETY: inside the slot, as checked.
        let start = unsafe { self.slot(slot).as_ptr().byte_add(bytes.start) };
        // SAFETY: as many bytes are inside the slot, which is the caller's alone, as `header` says.
        unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), bytes.len()) }
    }

    /// The place of bytes in the mapping, counted from its beginning; `None` outside it.
    pub(crate) fn address(&self, bytes: &Range<usize>) -> Option<*const u8> {
        let inside = bytes.start <= bytes.end && bytes.end <= self.bytes_mapped();
        // SAFETY: inside the mapping, as checked.
        inside.then(|| unsafe { self.memory.as_ptr().byte_add(bytes.start) }.cast_const().cast())
    }

    /// The place of a slot, counted from the mapping's beginning.
    pub(crate) fn offset(&self, slot: usize) -> usize {
        slot * self.slot_bytes
    }

    /// Bytes of all slots.
    pub(crate) fn bytes_mapped(&self) -> usize {
        self.slots * self.slot_bytes
    }

    fn slot(&self, slot: usize) -> NonNull<libc::c_void> {
        assert!(slot < self.slots, "no such slot");
        // SAFETY: inside the mapping, as checked.
        unsafe { self.memory.byte_add(slot * self.slot_bytes) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `of` mapped; whoever borrowed from it borrowed this value.
        unsafe { libc::munmap(self.memory.as_ptr(), self.bytes_mapped() + self.behind) };
    }
}
