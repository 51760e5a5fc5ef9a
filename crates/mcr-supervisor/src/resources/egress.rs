//! The egress sockets: for each key a set, one socket a worker, all from one source port.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use mcr_api::control::BufferStats;
use mcr_api::worker::WorkerCommand;
use mcr_core::ids::{EgressId, IfIndex, WorkerId};
use mcr_core::limits::EGRESSES;
use mcr_core::plan::EgressKey;
use mcr_sys::udp::{EgressOptions, EgressSocket, SourcePort};

use super::Refusal;
use super::buffers::Buffers;
use crate::{limits, privileged};

/// All sets.
#[derive(Debug)]
pub(crate) struct Egresses {
    sets: BTreeMap<EgressId, EgressSet>,
    by_key: HashMap<EgressKey, EgressId>,
    /// How many sets send from each local address, to know our own in an ICMP quote.
    sources: HashMap<SocketAddr, u32>,
    workers: usize,
    next_id: u32,
    buffers: Buffers,
}

#[derive(Debug)]
struct EgressSet {
    key: EgressKey,
    /// Without an IPv6 scope, which no datagram carries.
    source: SocketAddr,
    sockets: Vec<EgressSocket>,
}

impl Egresses {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            sets: BTreeMap::new(),
            by_key: HashMap::new(),
            sources: HashMap::new(),
            workers,
            next_id: 1,
            buffers: Buffers::send(),
        }
    }

    /// Makes the set of a key that has none.
    pub(crate) fn open(&mut self, key: &EgressKey) -> Result<EgressId, Refusal> {
        if self.sets.len() >= EGRESSES {
            return Err(Refusal::Full(format!("{EGRESSES} kinds of egress sockets")));
        }
        let mut options = EgressOptions {
            ifindex: key.ifindex.0,
            ifname: key.interface.to_string(),
            source: key.source,
            port: key.source_port.map_or(SourcePort::Unused, SourcePort::Named),
            ttl: key.ttl,
            dscp: key.dscp,
            multicast_loop: key.multicast_loop,
            send_buffer_bytes: limits::SEND_BUFFER_BYTES,
        };
        let mut source = SocketAddr::new(key.source, 0);
        let mut sockets = Vec::with_capacity(self.workers);
        for _ in 0..self.workers {
            let socket = privileged::egress_socket(&options)?;
            source.set_port(socket.local_addr().port());
            if options.port == SourcePort::Unused {
                options.port = SourcePort::Picked(source.port());
            }
            if let Ok(bytes) = socket.send_buffer_bytes() {
                self.buffers.note(bytes);
            }
            sockets.push(socket);
        }
        let id = EgressId(self.next_id);
        self.next_id += 1;
        *self.sources.entry(source).or_default() += 1;
        self.by_key.insert(key.clone(), id);
        self.sets.insert(id, EgressSet { key: key.clone(), source, sockets });
        Ok(id)
    }

    /// Closes the set of a key.
    pub(crate) fn close(&mut self, key: &EgressKey) -> Option<EgressId> {
        let id = self.by_key.remove(key)?;
        let set = self.sets.remove(&id)?;
        if let Some(sets) = self.sources.get_mut(&set.source) {
            *sets -= 1;
            if *sets == 0 {
                self.sources.remove(&set.source);
            }
        }
        Some(id)
    }

    pub(crate) fn id(&self, key: &EgressKey) -> Option<EgressId> {
        self.by_key.get(key).copied()
    }

    /// How large the send buffers are.
    pub(crate) fn buffers(&self) -> BufferStats {
        self.buffers.stats()
    }

    /// The interface that a set sends on.
    pub(crate) fn ifindex(&self, id: EgressId) -> Option<IfIndex> {
        self.sets.get(&id).map(|set| set.key.ifindex)
    }

    /// Whether a datagram from this address and port was ours.
    pub(crate) fn is_source(&self, address: SocketAddr) -> bool {
        self.sources.contains_key(&address)
    }

    /// Datagrams that came to a set's source port, where it is MCR's own: a program that shares a
    /// named one gets them.
    pub(crate) fn replies(&self, id: EgressId) -> u64 {
        let sockets = self.sets.get(&id).into_iter().flat_map(|set| &set.sockets);
        sockets.filter_map(|socket| socket.arrived().ok()).map(u64::from).sum()
    }

    /// The first set after another, in the order of ids.
    pub(crate) fn after(&self, id: Option<EgressId>) -> Option<EgressId> {
        let from = id.map_or(EgressId(0), |id| EgressId(id.0 + 1));
        self.sets.range(from..).next().map(|(id, _)| *id)
    }

    /// The command that tells a worker of a set.
    pub(crate) fn command(&self, id: EgressId) -> Option<WorkerCommand> {
        let set = self.sets.get(&id)?;
        let EgressKey { mtu, ifindex, hardware, .. } = set.key;
        Some(WorkerCommand::OpenEgress { egress: id, mtu, source: set.source, ifindex, hardware })
    }

    /// The socket of a worker in a set.
    pub(crate) fn socket(&self, id: EgressId, worker: WorkerId) -> Option<BorrowedFd<'_>> {
        let sockets = &self.sets.get(&id)?.sockets;
        sockets.get(worker.0 as usize).map(AsFd::as_fd)
    }
}
