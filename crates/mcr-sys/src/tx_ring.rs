//! A transmit ring (`TPACKET_V2`, `packet_mmap` in the kernel's documentation): frames written into
//! shared memory and sent many at a time by one system call, for the lab's generator.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use libc::SOL_PACKET;

use crate::abi::VNET_HEADER_BYTES;
use crate::error::{Doing, SetupError};
use crate::mapping::Mapping;
use crate::option;
use crate::packet::RingGeometry;

/// Where a frame stands in its slot: behind the ring's header, aligned as the kernel has it
/// (`tpacket_snd`: `TPACKET2_HDRLEN` less `sizeof(struct sockaddr_ll)`).
const FRAME_OFFSET: usize = size_of::<libc::tpacket2_hdr>().next_multiple_of(16);

/// Offset of `hdr_len` in the `virtio_net_hdr` before each frame: how much of the frame is copied
/// and not referenced.
const VNET_HEADER_LEN: usize = 2;

/// The transmit ring of a bound `AF_PACKET` socket.
#[derive(Debug)]
pub struct TxRing {
    socket: OwnedFd,
    slots: Mapping,
    next: usize,
    frame_bytes: usize,
}

impl TxRing {
    /// Makes a ring on a packet socket bound to the interface that it sends on. Every frame has so
    /// many bytes, and begins as a copy of `frame`.
    pub fn new(socket: OwnedFd, slots: u32, frame: &[u8]) -> Result<Self, SetupError> {
        let what = || format!("making a ring of {slots} frames to send");
        let bytes = FRAME_OFFSET + VNET_HEADER_BYTES + frame.len();
        let slot_bytes = (bytes.next_power_of_two() as u32).max(crate::limits::MIN_SLOT_BYTES);
        let geometry = RingGeometry::covering(slot_bytes, slots);
        let set = |name, value: &i32| option::set(&socket, SOL_PACKET, name, value).doing(what);
        set(libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as i32))?;
        // Past the queueing discipline, which a veth has none of, and its taps.
        set(libc::PACKET_QDISC_BYPASS, &1)?;
        set(libc::PACKET_VNET_HDR, &1)?;
        option::set(&socket, SOL_PACKET, libc::PACKET_TX_RING, &geometry.request()).doing(what)?;
        let mut slots = Mapping::of(&socket, geometry, 0).doing(what)?;
        for slot in 0..slots.slots() {
            let end = FRAME_OFFSET + VNET_HEADER_BYTES + frame.len();
            // SAFETY: the kernel takes only slots that are marked to be sent, and none is yet.
            let bytes = unsafe { slots.bytes(slot, FRAME_OFFSET..end) };
            let (vnet, rest) = bytes.split_at_mut(VNET_HEADER_BYTES);
            // All of it: what the kernel only references could be overwritten while a forwarded
            // frame is still on its way.
            vnet[VNET_HEADER_LEN..][..2].copy_from_slice(&(frame.len() as u16).to_ne_bytes());
            rest.copy_from_slice(frame);
        }
        Ok(Self { socket, slots, next: 0, frame_bytes: frame.len() })
    }

    /// Has up to `count` frames written over by `write`, each a frame sent before, and sends them;
    /// returns how many. Fewer where the kernel still holds slots; what a full queue refuses is
    /// gone, as on a wire.
    pub fn send(
        &mut self,
        count: usize,
        mut write: impl FnMut(usize, &mut [u8]),
    ) -> io::Result<usize> {
        let mut sent = 0;
        while sent < count {
            let slot = self.next;
            if self.slots.status(slot).load(Ordering::Acquire) != libc::TP_STATUS_AVAILABLE {
                break;
            }
            let first = FRAME_OFFSET + VNET_HEADER_BYTES;
            // SAFETY: the slot's status says that the kernel has sent what was in it.
            write(sent, unsafe { self.slots.bytes(slot, first..first + self.frame_bytes) });
            // SAFETY: as above; the slot is marked to be sent only afterwards.
            let header = unsafe { self.slots.header(slot) };
            header.tp_len = (VNET_HEADER_BYTES + self.frame_bytes) as u32;
            self.slots.status(slot).store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
            self.next = (slot + 1) % self.slots.slots();
            sent += 1;
        }
        self.flush()?;
        Ok(sent)
    }

    /// Sends what is marked to be sent.
    fn flush(&self) -> io::Result<()> {
        // SAFETY: no buffer is passed, so the kernel reads none; the frames lie in the ring, which
        // lives as long as the socket.
        let result = unsafe {
            libc::send(self.socket.as_fd().as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT)
        };
        if result >= 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            // The rest stays marked and goes with the next call.
            full if matches!(
                full.raw_os_error(),
                Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR)
            ) =>
            {
                Ok(())
            }
            error => Err(error),
        }
    }
}
