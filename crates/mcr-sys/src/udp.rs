//! Egress sockets (`udp(7)`): the supervisor makes them, a worker sends with them.

use crate::error::SetupError;
use crate::filter::Program;
use crate::option;
use crate::sockaddr::Family;
use socket2::{Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

#[cfg(test)]
mod tests;

/// The properties in which two outputs share an egress socket, and one worker's is like another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressOptions {
    /// The egress interface.
    pub ifindex: u32,
    /// Its name, for messages.
    pub ifname: String,
    /// The source address. A link-local IPv6 address gets the interface as its scope.
    pub source: IpAddr,
    /// The source port.
    pub port: SourcePort,
    /// TTL or hop limit, of multicast and unicast datagrams.
    pub ttl: u8,
    /// Differentiated services code point (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// Whether this host's own listeners on the egress interface get multicast datagrams too.
    pub multicast_loop: bool,
    /// Send buffer in bytes, before the kernel doubles it for its own overhead.
    pub send_buffer_bytes: usize,
}

/// The origin of a source port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourcePort {
    /// The kernel picks one that nobody uses or reserves; see [`EgressSocket::local_addr`].
    Unused,
    /// The one that the kernel picked for another socket of this process.
    Picked(u16),
    /// The operator's choice. Other programs may use it, and they keep all that arrives for it.
    Named(u16),
}

/// A non-blocking UDP socket bound to a source and an interface, never read.
///
/// One dead host's ICMP error must not fail the next send to a live one. So `IP_RECVERR` stays
/// off, and no socket is connected to a destination. [`crate::icmp`] reports dead hosts.
#[derive(Debug)]
pub struct EgressSocket {
    socket: Socket,
    local: SocketAddr,
}

impl EgressSocket {
    /// Makes the socket. Several with the same options can exist at a time: one per worker.
    pub fn open(options: &EgressOptions) -> Result<Self, SetupError> {
        let family = Family::of(options.source);
        let open = || {
            let socket = Socket::new(family.domain(), Type::DGRAM.cloexec().nonblocking(), None)?;
            apply_common(&socket, options)?;
            match family {
                Family::V4 => apply_v4(&socket, options)?,
                Family::V6 => apply_v6(&socket, options)?,
            }
            // Before the port exists, or a first datagram could be queued and stay for ever.
            Program::drop_all().attach(&socket)?;
            take_port(&socket, options)?;
            let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
            Ok(Self { socket, local })
        };
        open().map_err(|cause| refused(options, cause))
    }

    /// The source address with the port that the kernel picked where none was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl EgressSocket {
    /// The send buffer in bytes, as `SO_SNDBUF` asks for it; the kernel tells twice as much
    /// (socket(7)).
    pub fn send_buffer_bytes(&self) -> io::Result<usize> {
        Ok(self.socket.send_buffer_size()? / 2)
    }

    /// Datagrams that came to the socket; nobody reads them. The kernel counts modulo 2^32.
    pub fn arrived(&self) -> io::Result<u32> {
        // `SK_MEMINFO_DROPS` of `linux/sock_diag.h`: the drop-all filter's among them.
        const DROPS: usize = 8;
        let words =
            option::words::<{ DROPS + 1 }>(&self.socket, libc::SOL_SOCKET, libc::SO_MEMINFO)?;
        Ok(words[DROPS])
    }
}

impl AsFd for EgressSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Binds the socket so that it takes nothing from another program.
fn take_port(socket: &Socket, options: &EgressOptions) -> io::Result<()> {
    match options.port {
        SourcePort::Unused => {
            // Without a reuse option the kernel picks a port that has no other socket.
            socket.bind(&scoped(options, 0).into())?;
            socket.set_reuse_port(true)
        }
        SourcePort::Picked(port) => {
            socket.set_reuse_port(true)?;
            socket.bind(&scoped(options, port).into())
        }
        SourcePort::Named(port) => {
            socket.set_reuse_address(true)?;
            let own = scoped(options, port).into();
            socket.bind(&own)?;
            // A connected socket receives from its peer alone, and this one's peer is itself. An
            // unconnected one would win over each socket on the wildcard address.
            socket.connect(&own).or_else(|_no_route| socket.connect(&nobody(options).into()))
        }
    }
}

/// A peer that sends nothing: no datagram comes from a group. Its route needs no more than the
/// interface.
fn nobody(options: &EgressOptions) -> SocketAddr {
    const DISCARD: u16 = 9;
    match Family::of(options.source) {
        Family::V4 => ([224, 0, 0, 0], DISCARD).into(),
        Family::V6 => ([0xff02, 0, 0, 0, 0, 0, 0, 0], DISCARD).into(),
    }
}

fn refused(options: &EgressOptions, cause: io::Error) -> SetupError {
    let EgressOptions { source, port, ifname, .. } = options;
    let in_use = cause.raw_os_error() == Some(libc::EADDRINUSE);
    let (from, hint) = match port {
        SourcePort::Unused | SourcePort::Picked(_) => {
            (source.to_string(), "no port is unused: widen net.ipv4.ip_local_port_range")
        }
        SourcePort::Named(port) => (
            SocketAddr::new(*source, *port).to_string(),
            "another program holds this port without SO_REUSEADDR: change source-port=",
        ),
    };
    let error = SetupError::new(format!("opening an egress socket from {from} on {ifname}"), cause);
    if in_use { error.with_hint(hint) } else { error }
}

fn apply_common(socket: &Socket, options: &EgressOptions) -> io::Result<()> {
    // By index, so that a rename between our look-up and this call cannot pick another interface.
    option::set(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &options.ifindex)?;
    // Beyond net.core.wmem_max only with CAP_NET_ADMIN.
    let bytes = i32::try_from(options.send_buffer_bytes).unwrap_or(i32::MAX);
    option::set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes)
        .or_else(|_not_permitted| socket.set_send_buffer_size(options.send_buffer_bytes))
}

fn apply_v4(socket: &Socket, options: &EgressOptions) -> io::Result<()> {
    let by_index = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: options.ifindex as i32,
    };
    option::set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &by_index)?;
    // A rule asks for a broadcast by the address of its output.
    socket.set_broadcast(true)?;
    socket.set_ttl_v4(options.ttl.into())?;
    socket.set_multicast_ttl_v4(options.ttl.into())?;
    socket.set_tos_v4(traffic_class(options))?;
    socket.set_multicast_loop_v4(options.multicast_loop)?;
    // The kernel fragments what exceeds the interface's MTU, routers what exceeds theirs: no honest
    // one says that a path is narrower, so nobody is believed who does (ip(7), `in.h`).
    option::set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_OMIT)
}

fn apply_v6(socket: &Socket, options: &EgressOptions) -> io::Result<()> {
    socket.set_only_v6(true)?;
    socket.set_multicast_if_v6(options.ifindex)?;
    socket.set_unicast_hops_v6(options.ttl.into())?;
    socket.set_multicast_hops_v6(options.ttl.into())?;
    socket.set_tclass_v6(traffic_class(options))?;
    socket.set_multicast_loop_v6(options.multicast_loop)?;
    // The kernel fragments what exceeds the path's MTU. That it learns from whoever says so, but
    // without it what routers may not fragment (RFC 8200 section 5) would be lost.
    option::set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_DONT)
}

/// The DSCP in its place above the two bits of ECN (RFC 3168).
fn traffic_class(options: &EgressOptions) -> u32 {
    u32::from(options.dscp) << 2 & 0xfc
}

/// The source with the scope that a link-local IPv6 address needs to be bound.
fn scoped(options: &EgressOptions, port: u16) -> SocketAddr {
    let mut source = SocketAddr::new(options.source, port);
    if let SocketAddr::V6(v6) = &mut source
        && v6.ip().is_unicast_link_local()
    {
        v6.set_scope_id(options.ifindex);
    }
    source
}
