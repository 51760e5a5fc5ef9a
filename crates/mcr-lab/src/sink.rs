//! Receives a group or a unicast port inside a namespace and accounts for every datagram.

mod book;
mod receive;
mod recorder;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use mcr_sys::membership::MembershipSocket;
use mcr_sys::sockaddr::Family;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::account::StreamReport;
use crate::limits;
use crate::link;
use crate::namespace::Namespace;
use book::Book;

pub use recorder::{Copies, Recorder, Recording};

/// A datagram that is not a test payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Source address and port.
    pub origin: SocketAddr,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What a sink saw.
#[derive(Debug, Clone, Default)]
pub struct SinkReport {
    /// The streams by number.
    pub streams: BTreeMap<u32, StreamReport>,
    /// Datagrams that are not test payloads; the first few whole.
    pub strays: Vec<Stray>,
    /// How many strays there were in all.
    pub stray_count: u64,
    /// Datagrams the kernel dropped at the sink's own socket: loss of the test bed.
    pub socket_drops: u64,
}

impl SinkReport {
    /// One stream's figures; all zero if nothing of it came.
    pub fn stream(&self, stream: u32) -> StreamReport {
        self.streams.get(&stream).cloned().unwrap_or_else(Book::nothing)
    }

    /// Intact datagrams of all streams, duplicates included.
    pub fn received(&self) -> u64 {
        self.streams.values().map(|stream| stream.received).sum()
    }
}

/// A receiving socket with a thread that reads it. Dropped: closed.
#[derive(Debug)]
pub struct Sink {
    namespace: Namespace,
    socket: Arc<Socket>,
    // Held for what it does: the group is left when it closes.
    _membership: Option<MembershipSocket>,
    book: Arc<Book>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Sink {
    /// Joins `group` on an interface, from any source, and receives what is sent to its port.
    pub fn multicast(namespace: &Namespace, ifname: &str, group: SocketAddr) -> Result<Self> {
        Self::join(namespace, ifname, group, None)
    }

    /// Joins `group` on an interface, from `source` only (RFC 4607).
    ///
    /// The kernel filters for the interface as a whole: a second sink in the namespace that
    /// joins the group from any source opens it to this one too.
    pub fn multicast_from(
        namespace: &Namespace,
        ifname: &str,
        source: IpAddr,
        group: SocketAddr,
    ) -> Result<Self> {
        Self::join(namespace, ifname, group, Some(source))
    }

    /// Receives what is sent to a unicast address of the namespace.
    pub fn unicast(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        Self::start(namespace, bound_socket(namespace, address)?, None)
    }

    /// Size of the socket's receive buffer in bytes, as the kernel charges it; an ordinary user's
    /// is bounded by `net.core.rmem_max`.
    pub fn receive_buffer_bytes(&self) -> Result<usize> {
        Ok(self.socket.recv_buffer_size()?)
    }

    /// Intact datagrams so far, duplicates included.
    pub fn received(&self) -> u64 {
        self.book.received()
    }

    /// Waits until at least `count` intact datagrams have come; says how many did if not.
    pub fn wait_for(&self, count: u64, timeout: Duration) -> Result<()> {
        let enough = self.book.wait_for(timeout, |entries| entries.received() >= count);
        ensure!(enough, "{} of {count} datagrams within {timeout:?}", self.received());
        Ok(())
    }

    /// Waits until at least `count` strays have come.
    pub fn wait_for_strays(&self, count: u64, timeout: Duration) -> Result<()> {
        let enough = self.book.wait_for(timeout, |entries| entries.stray_count >= count);
        ensure!(enough, "fewer than {count} strays within {timeout:?}");
        Ok(())
    }

    /// The figures so far.
    pub fn report(&self) -> Result<SinkReport> {
        let mut report = self.book.report();
        report.socket_drops = socket_drops(&self.namespace, &self.socket)?;
        Ok(report)
    }

    /// Stops receiving and gives the final figures.
    pub fn finish(mut self) -> Result<SinkReport> {
        self.stop()?;
        self.report()
    }

    fn join(
        namespace: &Namespace,
        ifname: &str,
        group: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<Self> {
        let ifindex = link::ifindex(namespace, ifname)?;
        let socket = bound_socket(namespace, with_scope(group, ifindex))?;
        // The group may be joined on other interfaces too; those are other sinks' business.
        socket.bind_device(Some(ifname.as_bytes()))?;
        let family = if group.is_ipv4() { Family::V4 } else { Family::V6 };
        let membership = namespace.enter(|| -> Result<MembershipSocket> {
            let membership = MembershipSocket::open(family)?;
            membership
                .join(ifindex, group.ip(), source)
                .with_context(|| format!("joining {group} on {ifname}"))?;
            Ok(membership)
        })?;
        Self::start(namespace, socket, Some(membership))
    }

    fn start(
        namespace: &Namespace,
        socket: Socket,
        membership: Option<MembershipSocket>,
    ) -> Result<Self> {
        let socket = Arc::new(socket);
        let book = Arc::new(Book::default());
        let (reader, writer) = (Arc::clone(&socket), Arc::clone(&book));
        let thread = std::thread::Builder::new()
            .name("sink".into())
            .spawn(move || receive::run(&reader, &writer))?;
        Ok(Self {
            namespace: namespace.clone(),
            socket,
            _membership: membership,
            book,
            thread: Some(thread),
        })
    }

    fn stop(&mut self) -> Result<()> {
        self.book.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(anyhow!("the sink's thread panicked")),
            Some(Ok(result)) => result,
            None => Ok(()),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Errors are for `finish`, which has stopped the thread already.
        let _ = self.stop();
    }
}

/// The drops the kernel shows for the socket. (`SO_RXQ_OVFL` would miss those after the last
/// datagram received.)
fn socket_drops(namespace: &Namespace, socket: &Socket) -> Result<u64> {
    let descriptor = socket.as_fd().try_clone_to_owned()?;
    let inode = fs::File::from(descriptor).metadata()?.st_ino();
    let table = if socket.domain()? == Domain::IPV4 { "udp" } else { "udp6" };
    drops_of_inode(&namespace.read_proc_net(table)?, inode)
        .with_context(|| format!("the socket is not in /proc/net/{table}"))
}

/// Gives a socket the lab's large receive buffer, or what an ordinary user may have.
pub(crate) fn widen_receive_buffer(socket: &impl AsFd) -> nix::Result<()> {
    let bytes = limits::RECEIVE_BUFFER_BYTES;
    setsockopt(socket, sockopt::RcvBufForce, &bytes)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &bytes))
}

fn bound_socket(namespace: &Namespace, address: SocketAddr) -> Result<Socket> {
    let open = || -> Result<Socket> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        widen_receive_buffer(&socket)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        if domain == Domain::IPV4 {
            setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
            socket.set_only_v6(true)?;
        }
        socket.set_read_timeout(Some(limits::RECEIVE_POLL))?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    namespace.enter(open).with_context(|| format!("{}: binding {address}", namespace.label()))
}

/// A link-local group means nothing without its interface.
fn with_scope(group: SocketAddr, ifindex: u32) -> SocketAddr {
    match group {
        SocketAddr::V6(v6) if is_link_scoped(*v6.ip()) => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, ifindex).into()
        }
        other => other,
    }
}

fn is_link_scoped(group: Ipv6Addr) -> bool {
    group.is_multicast() && group.octets()[1] & 0x0f <= 2
}

/// `/proc/net/udp`: the inode is the tenth word, the drops are the last.
fn drops_of_inode(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    table.lines().skip(1).find_map(|line| {
        let word: Vec<&str> = line.split_whitespace().collect();
        (*word.get(9)? == inode).then(|| word.last()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drops_of_a_socket_are_found_by_its_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt \
              uid  timeout inode ref pointer drops
 3386: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 27171 \
              2 0000000000000000 0
 5000: 010101EF:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 51234 \
              2 0000000000000000 17
";
        assert_eq!(drops_of_inode(table, 51234), Some(17));
        assert_eq!(drops_of_inode(table, 27171), Some(0));
        assert_eq!(drops_of_inode(table, 5), None);
    }
}
