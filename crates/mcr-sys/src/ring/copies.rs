//! Frames longer than a slot: with `PACKET_COPY_THRESH` the kernel queues them whole on the socket,
//! in the order of the slots that hold their beginnings (`tpacket_rcv`, `net/packet/af_packet.c`).

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::abi::VNET_HEADER_BYTES;
use crate::limits;

/// Memory for some such frames, and which slots they belong to. Made once and used in turns.
#[derive(Debug)]
pub(super) struct Copies {
    memory: Box<[u8]>,
    held: VecDeque<Held>,
    next: usize,
    system_calls: u64,
}

#[derive(Debug)]
struct Held {
    slot: usize,
    frame: LongFrame,
}

/// A frame as read from the socket.
#[derive(Clone, Debug)]
pub(super) struct LongFrame {
    /// Its place in this memory; the `virtio_net_hdr` stands right before.
    pub(super) place: Range<usize>,
    /// Its length as received.
    pub(super) original_len: u32,
}

/// The part of a frame that its slot holds.
#[derive(Debug)]
pub(super) struct Beginning<'s> {
    /// From the link-layer header on.
    pub(super) bytes: &'s [u8],
    /// Length of the whole frame.
    pub(super) original_len: u32,
}

impl Beginning<'_> {
    /// Whether a message from the socket, of so many bytes before it was cut, is the whole frame.
    fn is_of(&self, message: &[u8], bytes: usize) -> bool {
        let compared = self.bytes.len().min(limits::COMPARED_BYTES);
        let begins = |frame: &[u8]| frame.starts_with(&self.bytes[..compared]);
        bytes == VNET_HEADER_BYTES + self.original_len as usize
            && message.get(VNET_HEADER_BYTES..).is_some_and(begins)
    }
}

/// The copy for a slot.
#[derive(Debug)]
pub(super) enum Look {
    /// The frame.
    Here(LongFrame),
    /// All room is taken, until slots are handed back.
    NoRoom,
    /// Nothing is queued: the kernel had no memory for it.
    Missing,
}

impl Copies {
    pub(super) fn new() -> Self {
        Self {
            memory: vec![0; limits::LONG_FRAMES * limits::LONG_FRAME_BYTES].into_boxed_slice(),
            held: VecDeque::with_capacity(limits::LONG_FRAMES),
            next: 0,
            system_calls: 0,
        }
    }

    pub(super) fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// The frame of a slot: the one read for it before, else the next one queued on the socket that
    /// begins as the slot does. The kernel queues in the order of slots, so a frame that begins
    /// otherwise belongs to a slot that has gone already.
    pub(super) fn of_slot(
        &mut self,
        slot: usize,
        start: &Beginning<'_>,
        socket: BorrowedFd<'_>,
    ) -> Look {
        if let Some(held) = self.held.iter().find(|held| held.slot == slot) {
            return Look::Here(held.frame.clone());
        }
        if self.held.len() == limits::LONG_FRAMES {
            return Look::NoRoom;
        }
        let first = self.next * limits::LONG_FRAME_BYTES;
        let room = &mut self.memory[first..first + limits::LONG_FRAME_BYTES];
        let received = loop {
            self.system_calls += 1;
            let Some(received) = receive(socket, room) else {
                return Look::Missing;
            };
            if start.is_of(&room[..received.min(limits::LONG_FRAME_BYTES)], received) {
                break received;
            }
        };
        self.next = (self.next + 1) % limits::LONG_FRAMES;
        let end = first + received.min(limits::LONG_FRAME_BYTES);
        let frame = LongFrame {
            place: first + VNET_HEADER_BYTES..end,
            original_len: (received - VNET_HEADER_BYTES) as u32,
        };
        self.held.push_back(Held { slot, frame: frame.clone() });
        Look::Here(frame)
    }

    /// The frame read for a slot, with the header before it, if it was read whole.
    pub(super) fn whole(&mut self, slot: usize) -> Option<&mut [u8]> {
        let LongFrame { place, original_len } =
            &self.held.iter().find(|held| held.slot == slot)?.frame;
        let bytes = place.start - VNET_HEADER_BYTES..place.end;
        (place.len() == *original_len as usize).then(|| &mut self.memory[bytes])
    }

    pub(super) fn take_system_calls(&mut self) -> u64 {
        std::mem::take(&mut self.system_calls)
    }

    /// The slot goes back to the kernel, and with it the room for its frame.
    pub(super) fn release(&mut self, slot: usize) {
        self.held.pop_front_if(|held| held.slot == slot);
    }
}

/// Bytes of the next message on the socket, however many of them there was room for.
///
/// The socket's error comes before its messages: an interface that goes down leaves `ENETDOWN`
/// there, and the message is still to come.
fn receive(socket: BorrowedFd<'_>, room: &mut [u8]) -> Option<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    loop {
        // SAFETY: the kernel writes at most the length of the slice, which is exclusively borrowed.
        let received =
            unsafe { libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), flags) };
        match usize::try_from(received) {
            Ok(bytes) => return Some(bytes),
            Err(_) => match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR | libc::ENETDOWN) => {}
                _ => return None,
            },
        }
    }
}
