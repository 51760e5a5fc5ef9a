//! The sink's receiving loop.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
};
use nix::sys::time::TimeSpec;
use socket2::Socket;

use super::book::{Book, Datagram};
use crate::limits;

/// Reads the socket into the book until told to stop and the socket is empty.
pub(super) fn run(socket: &Socket, book: &Book) -> Result<()> {
    let mut buffers = vec![vec![0; limits::MAX_DATAGRAM_BYTES]; limits::BATCH_DATAGRAMS];
    // The headers are used again although nix does not restore their control lengths: every
    // datagram on this socket carries the same two control messages.
    let control = nix::cmsg_space!(TimeSpec, i32);
    let mut headers = MultiHeaders::preallocate(limits::BATCH_DATAGRAMS, Some(control));
    let mut drain_until = None;
    loop {
        // Asked before reading: what arrived before the order to stop is still read.
        if book.stop.load(Ordering::Relaxed) {
            let end = drain_until.get_or_insert_with(|| Instant::now() + limits::SINK_DRAIN);
            if Instant::now() >= *end {
                return Ok(());
            }
        }
        match receive_batch(socket, &mut headers, &mut buffers, book) {
            Err(Errno::EAGAIN) if drain_until.is_some() => return Ok(()),
            Ok(()) | Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn receive_batch(
    socket: &Socket,
    headers: &mut MultiHeaders<SockaddrStorage>,
    buffers: &mut [Vec<u8>],
    book: &Book,
) -> nix::Result<()> {
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
    let wait_for_one = MsgFlags::MSG_WAITFORONE;
    let messages = recvmmsg(socket.as_raw_fd(), headers, &mut slices, wait_for_one, None)?;
    book.write(|entries| {
        for message in messages {
            if let Some(datagram) = datagram(&message) {
                entries.add(&datagram);
            }
        }
    });
    Ok(())
}

fn datagram<'a>(message: &RecvMsg<'a, 'a, SockaddrStorage>) -> Option<Datagram<'a>> {
    let (mut ttl, mut received_at_ns) = (None, None);
    for item in message.cmsgs().into_iter().flatten() {
        match item {
            ControlMessageOwned::ScmTimestampns(time) => {
                received_at_ns = Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64);
            }
            ControlMessageOwned::Ipv4Ttl(value) | ControlMessageOwned::Ipv6HopLimit(value) => {
                ttl = u8::try_from(value).ok();
            }
            _ => {}
        }
    }
    Some(Datagram {
        payload: message.iovs().next().unwrap_or_default(),
        origin: socket_address(message.address.as_ref()?)?,
        ttl,
        received_at_ns,
    })
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddr::new(v4.ip().into(), v4.port())),
        (_, Some(v6)) => Some(SocketAddr::new(v6.ip().into(), v6.port())),
        _ => None,
    }
}
