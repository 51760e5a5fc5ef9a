//! The sockets that datagrams leave by, and what the kernel's refusals mean.

use std::cell::Cell;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use foldhash::{HashMap, HashMapExt};
use mcr_core::ids::EgressId;
use mcr_core::table::OwnSocket;
use mcr_core::verdict::EgressError;
use mcr_sys::send::Errno;

use crate::limits;

/// One egress socket.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) id: EgressId,
    pub(crate) socket: OwnedFd,
    /// By what its datagrams are known.
    pub(crate) own: OwnSocket,
    /// The longest UDP payload that fits one packet of the interface.
    longest_payload: u32,
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
        Self { id, socket, own, longest_payload }
    }

    /// Whether the interface takes such segments.
    pub(crate) fn takes_run(&self, segment_bytes: u32) -> bool {
        segment_bytes <= self.longest_payload
    }
}

/// The description of an egress socket when it is handed over.
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

    fn free_index(&mut self) -> usize {
        self.sockets.iter().position(Option::is_none).unwrap_or_else(|| {
            self.sockets.push(None);
            self.sockets.len() - 1
        })
    }
}

/// The meaning of the kernel's refusal to send (udp(7), ip(7), and `net/ipv4/udp.c`).
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

/// The runs that one output's path has refused lately. Of the output and not of its egress: a
/// smaller path MTU or an xfrm policy concerns one destination, and another one's runs go on.
#[derive(Debug, Default)]
pub(crate) struct RefusedRuns {
    /// Segments of so many bytes and more go out singly.
    from_bytes: Cell<u32>,
    until_ns: Cell<u64>,
}

impl RefusedRuns {
    /// Whether to try a run of such segments.
    pub(crate) fn are_none_of(&self, segment_bytes: u32, now_ns: u64) -> bool {
        segment_bytes < self.from_bytes.get() || now_ns >= self.until_ns.get()
    }

    /// The kernel refused a run of such segments with that error.
    pub(crate) fn note(&self, errno: Errno, segment_bytes: u32, now_ns: u64) {
        // Without checksum offload, or under a policy, the length does not matter.
        let refused = if errno.0 == libc::EIO { 0 } else { segment_bytes };
        let before = self.from_bytes.get();
        let is_over = now_ns >= self.until_ns.get();
        self.from_bytes.set(if is_over { refused } else { before.min(refused) });
        self.until_ns.set(now_ns + limits::REFUSED_RUNS_FOR.as_nanos() as u64);
    }
}

/// Whether the kernel may have refused the run for being a run: no checksum offload, or an xfrm
/// policy (`EIO`); a segment longer than the path takes (`EINVAL`; `EMSGSIZE` from Linux 6.14).
pub(crate) fn may_refuse_the_run(errno: Errno) -> bool {
    matches!(errno.0, libc::EIO | libc::EINVAL | libc::EMSGSIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_runs_are_tried_again_after_a_while_and_shorter_ones_at_once() {
        let (refused, lasts) = (RefusedRuns::default(), limits::REFUSED_RUNS_FOR.as_nanos() as u64);
        assert!(refused.are_none_of(1_400, 7));
        refused.note(Errno(libc::EMSGSIZE), 1_300, 10);
        for (bytes, now, tried) in [
            (1_300, 10, false),
            (1_400, 9 + lasts, false),
            (1_299, 10, true),
            (1_400, 10 + lasts, true),
        ] {
            assert_eq!(refused.are_none_of(bytes, now), tried, "{bytes} at {now}");
        }
        refused.note(Errno(libc::EINVAL), 1_400, 20);
        assert!(!refused.are_none_of(1_300, 20), "the shorter refusal holds");
        refused.note(Errno(libc::EIO), 500, 30);
        assert!(!refused.are_none_of(1, 30), "no run at all is taken");
        refused.note(Errno(libc::EMSGSIZE), 1_400, 30 + lasts);
        assert!(refused.are_none_of(1_300, 30 + lasts));
    }
}
