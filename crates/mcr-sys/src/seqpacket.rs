//! `SOCK_SEQPACKET` socket pairs (`unix(7)`) that carry messages with descriptors (`SCM_RIGHTS`).

use crate::limits::MAX_PASSED_DESCRIPTORS;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, Shutdown, SockFlag, SockType, sendmsg, shutdown,
    socketpair,
};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

#[cfg(test)]
mod tests;

/// A connected pair of one that sends and one that receives, close-on-exec and non-blocking.
/// Messages keep their bounds and their order.
///
/// The other way is shut: whoever holds the receiver could queue descriptors there that nobody
/// takes, and they would count against all that this user has under way.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (sender, receiver) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    shutdown(sender.as_raw_fd(), Shutdown::Read)?;
    Ok((sender, receiver))
}

/// Sends one message with copies of `descriptors` (at most 253), whole or not at all.
///
/// An empty message is refused (`InvalidInput`): the receiver could not tell it from the end.
/// `WouldBlock`: the peer's queue is full. `EPIPE`: the peer is gone. `ETOOMANYREFS`: more
/// descriptors are under way than this process may have open.
pub fn send(socket: BorrowedFd, message: &[u8], descriptors: &[BorrowedFd]) -> io::Result<()> {
    if message.is_empty() || descriptors.len() > MAX_PASSED_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(message)], control, flags, None)?;
    Ok(())
}

/// Receives one message into `buffer` and adds its descriptors, close-on-exec, to `descriptors`.
/// `None`: the peer is gone. Allocates nothing but the places of the descriptors.
///
/// `WouldBlock`: no message now. `InvalidData`: the message was longer than `buffer`, or not all
/// of its descriptors fit this process's limit; it is lost, and no descriptor of it stays open.
pub fn recv(
    socket: BorrowedFd,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<Option<usize>> {
    let mut control = ControlBuffer([0; CONTROL_BYTES]);
    let mut data = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero bytes are a valid msghdr: null pointers and zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut data;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `header` points to `data` (which points to the exclusively borrowed `buffer`) and to
    // `control`, with their true lengths; all outlive the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    let already = descriptors.len();
    // SAFETY: the kernel has just filled in `header`, and `control` is still alive.
    unsafe { take_descriptors(&header, descriptors) };
    if header.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0 {
        descriptors.truncate(already);
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((length > 0).then_some(length as usize))
}

/// Room for one `SCM_RIGHTS` message with as many descriptors as the kernel allows.
const CONTROL_BYTES: usize = {
    let descriptors = (MAX_PASSED_DESCRIPTORS * size_of::<RawFd>()) as u32;
    // SAFETY: CMSG_SPACE is arithmetic; it is unsafe only because libc declares it so.
    unsafe { libc::CMSG_SPACE(descriptors) as usize }
};

/// Aligned as `cmsghdr` must be.
#[repr(C, align(8))]
struct ControlBuffer([u8; CONTROL_BYTES]);

const _: () = assert!(align_of::<ControlBuffer>() >= align_of::<libc::cmsghdr>());

/// Takes ownership of the descriptors that arrived with a message.
///
/// # Safety
/// `header` is as `recvmsg` left it, its control buffer is alive and aligned for `cmsghdr`, and
/// this is called once for it: each descriptor in it is new and owned by nobody yet.
unsafe fn take_descriptors(header: &libc::msghdr, descriptors: &mut Vec<OwnedFd>) {
    // SAFETY: it only computes.
    let head_bytes = unsafe { libc::CMSG_LEN(0) } as usize;
    // SAFETY: the header is as `recvmsg` left it and its buffer alive, as the caller promises.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole, aligned `cmsghdr` of the buffer.
    while let Some(message) = unsafe { next.as_ref() } {
        if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            let bytes = message.cmsg_len - head_bytes;
            // SAFETY: it only computes where the data is. The reference must not be used for it,
            // as it reaches no further than the head.
            let data = unsafe { libc::CMSG_DATA(next) };
            // SAFETY: the kernel wrote so many bytes behind the head, and nobody writes there now.
            let data = unsafe { std::slice::from_raw_parts(data, bytes) };
            for descriptor in data.as_chunks().0 {
                let descriptor = RawFd::from_ne_bytes(*descriptor);
                // SAFETY: the kernel made it for this message, and the caller promises that it is
                // taken once.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
        // SAFETY: as for the first; `next` came from there.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}
