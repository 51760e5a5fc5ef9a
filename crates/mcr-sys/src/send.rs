//! One send: a run of payloads from a ring to one destination, as `sendmsg` and io_uring take it.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::gather::Gather;
use crate::sockaddr::KernelAddress;

/// `UDP_SEGMENT` (udp(7)): the kernel cuts the payload into datagrams of this size.
const UDP_SEGMENT: libc::c_int = 103;

/// A datagram, or a run of datagrams, to send.
#[derive(Clone, Debug)]
pub struct SendRequest<'a> {
    /// The UDP socket to send by.
    pub socket: BorrowedFd<'a>,
    /// The place at which the mechanism has admitted it.
    pub place: u32,
    /// The destination.
    pub destination: &'a KernelAddress,
    /// The payloads of the batch.
    pub payloads: Range<usize>,
    /// For a run: the bytes of each datagram but the last, which may be shorter.
    pub segment_bytes: Option<u16>,
}

/// How a send ended: bytes taken, or the error.
pub type Outcome = Result<usize, Errno>;

/// An error number of the kernel's, errno(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub(crate) fn last() -> Self {
        Self(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }
}

/// A control message that carries the segment size, laid out as cmsg(3) has it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct SegmentControl {
    header: libc::cmsghdr,
    segment_bytes: u16,
    padding: [u8; 6],
}

// Eight-byte alignment of the data and of the end is what CMSG_DATA and CMSG_SPACE say on every
// 64-bit Linux.
const _: () = assert!(size_of::<SegmentControl>() == 24);
const _: () = assert!(std::mem::offset_of!(SegmentControl, segment_bytes) == 16);

/// The socket of one send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) descriptor: RawFd,
    pub(crate) place: u32,
}

/// A chunk of sends, in the memory where the kernel reads them.
#[derive(Debug)]
pub(crate) struct Chunk {
    messages: Box<[libc::mmsghdr]>,
    controls: Box<[SegmentControl]>,
    sockets: Vec<Sender>,
    /// How each send ended; set by whoever carries them out.
    pub(crate) outcomes: Vec<Outcome>,
}

// SAFETY: who moves it to another thread owns it, so no send is under way; between two chunks the
// pointers in it are stale and never followed.
unsafe impl Send for Chunk {}

impl Chunk {
    pub(crate) fn with_room_for(sends: usize) -> Self {
        // SAFETY: both are plain C structs of integers and pointers, for which zero is valid.
        let (message, mut control) =
            unsafe { std::mem::zeroed::<(libc::mmsghdr, SegmentControl)>() };
        // SAFETY: CMSG_LEN only computes.
        control.header.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) } as _;
        control.header.cmsg_level = libc::SOL_UDP;
        control.header.cmsg_type = UDP_SEGMENT;
        Self {
            messages: vec![message; sends].into_boxed_slice(),
            controls: vec![control; sends].into_boxed_slice(),
            sockets: Vec::with_capacity(sends),
            outcomes: Vec::with_capacity(sends),
        }
    }

    /// Takes as many sends as there is room for, and says how many. The pointers written are good
    /// while `gather`, the destinations (`'a`) and `self` live unmoved: the mechanisms return only
    /// when the kernel has completed them all.
    pub(crate) fn fill<'a>(
        &mut self,
        sends: &mut impl Iterator<Item = SendRequest<'a>>,
        gather: &Gather<'_>,
    ) -> usize {
        self.sockets.clear();
        self.outcomes.clear();
        for (place, send) in sends.take(self.messages.len()).enumerate() {
            let iovecs = gather.iovecs(send.payloads);
            let header = &mut self.messages[place].msg_hdr;
            header.msg_name = send.destination.as_ptr().cast_mut().cast();
            header.msg_namelen = send.destination.length();
            header.msg_iov = iovecs.as_ptr().cast_mut();
            header.msg_iovlen = iovecs.len() as _;
            (header.msg_control, header.msg_controllen) = match send.segment_bytes {
                Some(bytes) => {
                    self.controls[place].segment_bytes = bytes;
                    ((&raw mut self.controls[place]).cast(), size_of::<SegmentControl>() as _)
                }
                None => (std::ptr::null_mut(), 0),
            };
            let descriptor = send.socket.as_raw_fd();
            self.sockets.push(Sender { descriptor, place: send.place });
            self.outcomes.push(Err(Errno(libc::EINPROGRESS)));
        }
        self.sockets.len()
    }

    /// The socket of each send.
    pub(crate) fn sockets(&self) -> &[Sender] {
        &self.sockets
    }

    /// The header of each send, for `sendmmsg` and io_uring.
    pub(crate) fn messages(&mut self) -> &mut [libc::mmsghdr] {
        &mut self.messages[..self.sockets.len()]
    }
}

/// The way in which a mechanism carries out a chunk of sends.
pub(crate) trait Carrier {
    /// The chunk to put the sends into.
    fn chunk(&mut self) -> &mut Chunk;

    /// Has the kernel carry out the first `count` sends of the chunk and sets their outcomes.
    /// Returns only when the kernel has completed them all.
    fn carry_out(&mut self, count: usize);
}

/// Sends all by a mechanism, chunk by chunk, and tells how each ended, in order.
pub(crate) fn send_all<'a>(
    carrier: &mut impl Carrier,
    gather: &Gather<'_>,
    mut sends: impl Iterator<Item = SendRequest<'a>>,
    mut done: impl FnMut(usize, Outcome),
) {
    let mut first = 0;
    loop {
        let count = carrier.chunk().fill(&mut sends, gather);
        if count == 0 {
            return;
        }
        carrier.carry_out(count);
        for (place, outcome) in carrier.chunk().outcomes.iter().enumerate() {
            done(first + place, *outcome);
        }
        first += count;
    }
}
