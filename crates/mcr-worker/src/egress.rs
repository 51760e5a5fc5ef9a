//! The sockets that datagrams leave by, and what the kernel's refusals mean.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use foldhash::{HashMap, HashMapExt};
use mcr_core::ids::EgressId;
use mcr_core::table::OwnSocket;
use mcr_core::verdict::EgressError;
use mcr_sys::send::Errno;

/// One egress socket.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) id: EgressId,
    pub(crate) socket: OwnedFd,
    /// By what its datagrams are known.
    pub(crate) own: OwnSocket,
    /// The longest UDP payload that fits one packet of the interface.
    longest_payload: u32,
    /// Whether the kernel still takes runs in one piece.
    segments: bool,
}

impl Egress {
    pub(crate) fn new(opened: Opened, socket: OwnedFd) -> Self {
        let Opened { id, mtu, own } = opened;
        // IPv4 (RFC 791) or IPv6 (RFC 8200) without options, and UDP (RFC 768).
        let headers = match own.address.ip() {
            IpAddr::V4(_) => 20 + 8,
            IpAddr::V6(_) => 40 + 8,
        };
        let longest_payload = mtu.saturating_sub(headers);
        Self { id, socket, own, longest_payload, segments: true }
    }

    /// Whether a run with such segments may go out in one piece.
    pub(crate) fn takes_run(&self, segment_bytes: u32) -> bool {
        self.segments && segment_bytes <= self.longest_payload
    }

    /// From now on every datagram goes out singly.
    pub(crate) fn refuse_runs(&mut self) {
        self.segments = false;
    }
}

/// What is said of an egress socket when it is handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    pub(crate) id: EgressId,
    /// Of the interface.
    pub(crate) mtu: u32,
    pub(crate) own: OwnSocket,
}

/// The egress sockets, each at an index that routes remember.
#[derive(Debug)]
pub(crate) struct EgressTable {
    sockets: Vec<Option<Egress>>,
    index: HashMap<EgressId, usize>,
}

impl EgressTable {
    pub(crate) fn new() -> Self {
        Self { sockets: Vec::new(), index: HashMap::new() }
    }

    /// Takes a socket in, in place of one with the same id, and says at which index.
    pub(crate) fn insert(&mut self, egress: Egress) -> usize {
        let index = self.index_of(egress.id).unwrap_or_else(|| self.free_index());
        self.index.insert(egress.id, index);
        self.sockets[index] = Some(egress);
        index
    }

    /// Gives a socket away, and says at which index it was.
    pub(crate) fn remove(&mut self, id: EgressId) -> Option<(usize, Egress)> {
        let index = self.index.remove(&id)?;
        Some((index, self.sockets[index].take()?))
    }

    pub(crate) fn index_of(&self, id: EgressId) -> Option<usize> {
        self.index.get(&id).copied()
    }

    /// The socket at an index, if it still is the one with that id.
    pub(crate) fn at(&self, index: usize, id: EgressId) -> Option<&Egress> {
        self.sockets.get(index)?.as_ref().filter(|egress| egress.id == id)
    }

    pub(crate) fn at_mut(&mut self, index: usize) -> Option<&mut Egress> {
        self.sockets.get_mut(index)?.as_mut()
    }

    fn free_index(&mut self) -> usize {
        self.sockets.iter().position(Option::is_none).unwrap_or_else(|| {
            self.sockets.push(None);
            self.sockets.len() - 1
        })
    }
}

/// What the kernel means by refusing to send (udp(7), ip(7), and `net/ipv4/udp.c`).
pub(crate) fn egress_error(errno: Errno) -> EgressError {
    match errno.0 {
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => EgressError::QueueFull,
        libc::ENETDOWN => EgressError::InterfaceDown,
        libc::ENODEV | libc::ENXIO => EgressError::NoInterface,
        libc::EADDRNOTAVAIL => EgressError::NoAddress,
        libc::ENETUNREACH | libc::EHOSTUNREACH => EgressError::NoRoute,
        libc::EMSGSIZE => EgressError::TooLong,
        libc::EPERM | libc::EACCES => EgressError::Denied,
        _ => EgressError::Other,
    }
}

/// Whether the kernel may have refused the run for being a run: no checksum offload (`EIO`), a
/// segment longer than the path takes (`EINVAL`; `EMSGSIZE` from Linux 6.14).
pub(crate) fn may_refuse_the_run(errno: Errno) -> bool {
    matches!(errno.0, libc::EIO | libc::EINVAL | libc::EMSGSIZE)
}
