//! A receive ring that keeps only the beginning of frames of one range of lengths: the lab's sink.
//!
//! A datagram socket takes each datagram through the whole stack, on the core that offers the load.
//! Here the kernel copies some tens of bytes, and the reader makes no system call.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use libc::SOL_PACKET;

use crate::error::{Doing, SetupError};
use crate::filter::Program;
use crate::mapping::Mapping;
use crate::option;
use crate::packet::{PacketStatistics, RingGeometry, take_statistics};

/// The frames to keep, and how much of each.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Lengths in bytes, from the Ethernet header on.
    pub lengths: RangeInclusive<u32>,
    /// Bytes kept of each frame from its beginning.
    pub kept_bytes: u32,
}

/// A frame, as far as it was kept.
#[derive(Debug, Clone, Copy)]
pub struct Captured<'r> {
    /// The frame from its Ethernet header on.
    pub bytes: &'r [u8],
    /// The whole frame's length.
    pub original_len: u32,
    /// When the frame entered the interface, in nanoseconds of `CLOCK_REALTIME`: on the core that
    /// sent it to a veth, before receive packet steering (`net.core.netdev_tstamp_prequeue`).
    pub received_at_ns: u64,
    /// Whether a sender on this host left the UDP checksum for a device to fill in.
    pub checksum_missing: bool,
}

/// The receive ring of a bound `AF_PACKET` socket.
#[derive(Debug)]
pub struct CaptureRing {
    socket: OwnedFd,
    slots: Mapping,
    next: usize,
}

impl CaptureRing {
    /// Makes a ring for a packet socket that receives from one interface (`packet(7)`).
    pub fn new(
        socket: OwnedFd,
        geometry: RingGeometry,
        wanted: &Wanted,
    ) -> Result<Self, SetupError> {
        let what = || "making a ring for capture";
        Program::keep(&wanted.lengths, wanted.kept_bytes).attach(&socket).doing(what)?;
        // Else the kernel stamps a frame only when it copies it, on the reader's core.
        option::set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32).doing(what)?;
        let version = libc::tpacket_versions::TPACKET_V2;
        option::set(&socket, SOL_PACKET, libc::PACKET_VERSION, &version).doing(what)?;
        option::set(&socket, SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32).doing(what)?;
        option::set(&socket, SOL_PACKET, libc::PACKET_RX_RING, &geometry.request()).doing(what)?;
        let slots = Mapping::of(&socket, geometry, 0).doing(what)?;
        Ok(Self { socket, slots, next: 0 })
    }

    /// When the oldest frame not taken entered the interface; `None` where there is none.
    pub fn next_at_ns(&mut self) -> Option<u64> {
        // SAFETY: the slot's status says that the kernel is done with it.
        self.holds_frame().then(|| received_at_ns(unsafe { self.slots.header(self.next) }))
    }

    /// Shows the oldest frame to `visit` and hands its slot back; `None` where there is none.
    ///
    /// # Panics
    /// When the kernel puts a frame outside its slot.
    pub fn take<T>(&mut self, visit: impl FnOnce(&Captured<'_>) -> T) -> Option<T> {
        if !self.holds_frame() {
            return None;
        }
        let slot = self.next;
        // SAFETY: the slot's status says that the kernel is done with it.
        let header = *unsafe { self.slots.header(slot) };
        let status = self.slots.status(slot).load(Ordering::Relaxed);
        let first = usize::from(header.tp_mac);
        let kept = first..first + header.tp_snaplen as usize;
        let seen = visit(&Captured {
            // SAFETY: as above; the slot is handed back only when it has been visited.
            bytes: unsafe { self.slots.bytes(slot, kept) },
            original_len: header.tp_len,
            received_at_ns: received_at_ns(&header),
            checksum_missing: status & libc::TP_STATUS_CSUMNOTREADY != 0,
        });
        self.slots.status(slot).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (slot + 1) % self.slots.slots();
        Some(seen)
    }

    fn holds_frame(&self) -> bool {
        self.slots.status(self.next).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// Reads and resets the kernel's counters.
    pub fn take_statistics(&self) -> io::Result<PacketStatistics> {
        take_statistics(self.as_fd())
    }
}

impl AsFd for CaptureRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn received_at_ns(header: &libc::tpacket2_hdr) -> u64 {
    u64::from(header.tp_sec) * 1_000_000_000 + u64::from(header.tp_nsec)
}
