//! As many memberships as wanted, over as many sockets as the kernel's per-socket limits ask for.

use super::{Membership, MembershipSocket};
use crate::error::SetupError;
use crate::sockaddr::Family;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

/// Holds memberships; each is left when the pool is dropped.
///
/// The kernel limits the memberships of one socket (`net.ipv4.igmp_max_memberships`, 20 by
/// default), the sources of one group on it (`net.ipv4.igmp_max_msf`, 10) and its option memory
/// (`net.core.optmem_max`). The limits are not read but met: a socket that refuses is full.
#[derive(Debug, Default)]
pub struct MembershipPool {
    sockets: BTreeMap<SocketId, PooledSocket>,
    placement: HashMap<Membership, SocketId>,
    /// Sockets not known to be full. The kernel cannot hold a group from any source and from one
    /// source on one socket, so the two kinds have sockets of their own.
    with_room: HashMap<Kind, BTreeSet<SocketId>>,
    next_id: SocketId,
}

type SocketId = u64;

#[derive(Debug)]
struct PooledSocket {
    socket: MembershipSocket,
    held: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    family: Family,
    source_specific: bool,
}

impl Kind {
    fn of(membership: &Membership) -> Self {
        let family = Family::of(membership.group);
        Self { family, source_specific: membership.source.is_some() }
    }
}

impl MembershipPool {
    /// A pool that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds a membership; one that is held already stays as it is.
    pub fn join(&mut self, membership: Membership) -> Result<(), SetupError> {
        if self.placement.contains_key(&membership) {
            return Ok(());
        }
        let kind = Kind::of(&membership);
        let id = match self.join_with_room(kind, &membership) {
            Some(outcome) => outcome.map_err(|cause| refused(&membership, cause))?,
            None => self.join_afresh(kind, &membership)?,
        };
        self.placement.insert(membership, id);
        Ok(())
    }

    /// Gives a membership up, and its socket if that was the last on it. Not held: nothing to do.
    pub fn leave(&mut self, membership: &Membership) {
        let Some(id) = self.placement.remove(membership) else {
            return;
        };
        let Some(pooled) = self.sockets.get_mut(&id) else {
            return;
        };
        // A refusal means that the membership went with its interface, which is as good as left.
        let _gone_already =
            pooled.socket.leave(membership.ifindex, membership.group, membership.source);
        pooled.held -= 1;
        let with_room = self.with_room.entry(Kind::of(membership)).or_default();
        if pooled.held == 0 {
            with_room.remove(&id);
            self.sockets.remove(&id);
        } else {
            with_room.insert(id);
        }
    }

    /// Memberships held.
    pub fn len(&self) -> usize {
        self.placement.len()
    }

    /// Whether no membership is held.
    pub fn is_empty(&self) -> bool {
        self.placement.is_empty()
    }

    /// Sockets in use.
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// Tries the sockets not known to be full. Each refusal marks one full, so over many joins
    /// there is one refusal per socket. `None`: a new socket is needed.
    fn join_with_room(
        &mut self,
        kind: Kind,
        membership: &Membership,
    ) -> Option<io::Result<SocketId>> {
        let with_room = self.with_room.entry(kind).or_default();
        while let Some(id) = with_room.last().copied() {
            let pooled = self.sockets.get_mut(&id)?;
            match pooled.socket.join(membership.ifindex, membership.group, membership.source) {
                Ok(()) => {
                    pooled.held += 1;
                    return Some(Ok(id));
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOBUFS | libc::ENOMEM) => {
                        with_room.remove(&id);
                    }
                    // The socket still has what was joined on an interface that is gone and
                    // whose index came back.
                    Some(libc::EADDRINUSE | libc::EADDRNOTAVAIL | libc::EINVAL) => return None,
                    _ => return Some(Err(error)),
                },
            }
        }
        None
    }

    fn join_afresh(&mut self, kind: Kind, membership: &Membership) -> Result<SocketId, SetupError> {
        let socket = MembershipSocket::open(kind.family)?;
        socket
            .join(membership.ifindex, membership.group, membership.source)
            .map_err(|cause| refused(membership, cause))?;
        let id = self.next_id;
        self.next_id += 1;
        self.sockets.insert(id, PooledSocket { socket, held: 1 });
        self.with_room.entry(kind).or_default().insert(id);
        Ok(id)
    }
}

fn refused(membership: &Membership, cause: io::Error) -> SetupError {
    let Membership { ifindex, group, source } = membership;
    let from = source.map(|source| format!(" from {source}")).unwrap_or_default();
    let errno = cause.raw_os_error();
    let error = SetupError::new(format!("joining {group}{from} on interface {ifindex}"), cause);
    match errno {
        Some(libc::EINVAL) => error.with_hint("not a multicast address, or no such interface"),
        Some(libc::ENOBUFS) => error.with_hint("a limit of 0: net.ipv4.igmp_max_memberships?"),
        _ => error,
    }
}
