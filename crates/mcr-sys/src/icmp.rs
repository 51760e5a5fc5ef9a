//! Destination-unreachable reports (RFC 792, RFC 4443) for what the egress sockets sent: the
//! unconnected sockets themselves are told nothing, on purpose (see [`crate::udp`]).

use crate::error::{Doing, SetupError};
use crate::sockaddr::Family;
use crate::{abi, limits, option};
use nix::sys::socket::{SockaddrIn6, SockaddrStorage, recvfrom};
use socket2::{Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

mod quote;
#[cfg(test)]
mod tests;

/// A router, or the destination, or this host itself (address resolution failed) says that a UDP
/// datagram did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable {
    /// The sender of the report.
    pub reporter: IpAddr,
    /// The source of the datagram: by port, one of our egress sockets, or not.
    pub original_source: SocketAddr,
    /// The destination of the datagram.
    pub original_destination: SocketAddr,
    /// The ICMP or `ICMPv6` code. "Port unreachable" is 3 in ICMP and 4 in `ICMPv6`.
    pub code: u8,
}

/// The message that [`UnreachableReports::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// None: all that came has been read.
    NoneWaiting,
    /// One about another protocol than UDP, or an unreadable one. More may be waiting.
    Unrelated,
    /// A UDP datagram did not arrive. More may be waiting.
    Unreachable(Unreachable),
}

/// The report in an ICMP message of a family that comes from `reporter`.
#[cfg(feature = "fuzzing")]
pub fn read_message(
    family: Family,
    message: &[u8],
    reporter: std::net::Ipv6Addr,
) -> Option<Unreachable> {
    match family {
        Family::V4 => quote::unreachable_v4(message),
        Family::V6 => quote::unreachable_v6(message, reporter),
    }
}

/// A raw ICMP or `ICMPv6` socket that receives only destination-unreachable messages.
#[derive(Debug)]
pub struct UnreachableReports {
    socket: Socket,
    family: Family,
}

impl UnreachableReports {
    /// Starts collecting; needs `CAP_NET_RAW`. Non-blocking: wait for it to be readable.
    pub fn open(family: Family) -> Result<Self, SetupError> {
        let open = || {
            let protocol = match family {
                Family::V4 => Protocol::ICMPV4,
                Family::V6 => Protocol::ICMPV6,
            };
            let kind = Type::RAW.cloexec().nonblocking();
            let socket = Socket::new(family.domain(), kind, Some(protocol))?;
            match family {
                Family::V4 => {
                    let block = !(1_u32 << abi::ICMP_DEST_UNREACH);
                    option::set(&socket, libc::SOL_RAW, abi::ICMP_FILTER, &block)?;
                }
                Family::V6 => {
                    let mut block = [u32::MAX; 8];
                    block[0] = !(1_u32 << abi::ICMPV6_DEST_UNREACH);
                    option::set(&socket, libc::IPPROTO_ICMPV6, abi::ICMPV6_FILTER, &block)?;
                }
            }
            Ok(Self { socket, family })
        };
        open().doing(|| "opening a raw ICMP socket")
    }

    /// Takes one message from the socket, without waiting. One only, even if it is unrelated, so
    /// that the caller can bound what a flood of messages costs it.
    pub fn read(&self) -> io::Result<Message> {
        let mut buffer = [0; limits::ICMP_ERROR_BYTES];
        let (length, sender) = match recvfrom::<SockaddrStorage>(self.as_raw_fd(), &mut buffer) {
            Ok(received) => received,
            Err(nix::Error::EAGAIN) => return Ok(Message::NoneWaiting),
            Err(errno) => return Err(errno.into()),
        };
        let message = &buffer[..length];
        let report = match self.family {
            Family::V4 => quote::unreachable_v4(message),
            Family::V6 => sender
                .and_then(|sender| sender.as_sockaddr_in6().map(SockaddrIn6::ip))
                .and_then(|reporter| quote::unreachable_v6(message, reporter)),
        };
        Ok(report.map_or(Message::Unrelated, Message::Unreachable))
    }
}

impl AsFd for UnreachableReports {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UnreachableReports {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
