//! The forwarding table: the rules compiled for one lookup a datagram.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use foldhash::quality::RandomState;

use crate::ids::{IfIndex, RuleSlot};
use crate::interfaces::HardwareAddress;
use crate::limits;
use crate::route::RouteKey;

/// The rule that takes a datagram, and the senders that are MCR itself.
///
/// It says nothing of how packets are moved, so that another mechanism can be filled from the same
/// calls. Its hash is keyed at random: the keys come off the wire, and who could predict their
/// places could make every lookup walk the whole table.
#[derive(Debug)]
pub struct ForwardingTable {
    v4: Slots<Ipv4Addr>,
    v6: Slots<Ipv6Addr>,
    /// The egress sockets of an address and port, by interface, and how many of each there are.
    own: HashMap<(IpAddr, u16), Vec<(Egress, u32)>, RandomState>,
}

impl ForwardingTable {
    /// An empty table with room for as many rules as a set may hold.
    ///
    /// A hash table that grows moves every entry: 5 ms for 100,000 rules, in which a ring may
    /// overflow. So it never grows. It has twice the room, because what removals leave behind is
    /// swept out at the same cost: a full set of rules then takes four million replacements to
    /// cause one sweep (measured), against 48,000 with room for just its rules. The price is
    /// address space. Of its 17 MiB, half a MiB is touched before the first rule.
    pub fn new() -> Self {
        Self::with_capacity(2 * limits::RULES)
    }

    /// An empty table with room for so many rules of each family; more make it grow.
    pub fn with_capacity(rules: usize) -> Self {
        Self {
            v4: Slots::with_capacity(rules),
            v6: Slots::with_capacity(rules),
            own: HashMap::with_capacity_and_hasher(
                rules.min(limits::EGRESSES),
                RandomState::default(),
            ),
        }
    }

    /// Adds a rule's match, of one source or (`None`) of any. Returns the slot that it replaces.
    ///
    /// A source of another family than the destination's matches no datagram: nothing is added.
    pub fn insert(
        &mut self,
        key: RouteKey,
        source: Option<IpAddr>,
        slot: RuleSlot,
    ) -> Option<RuleSlot> {
        match Match::of(&key, source)? {
            Match::V4(key) => self.v4.insert(key, slot),
            Match::V6(key) => self.v6.insert(key, slot),
        }
    }

    /// Removes a rule's match and returns its slot.
    pub fn remove(&mut self, key: &RouteKey, source: Option<IpAddr>) -> Option<RuleSlot> {
        match Match::of(key, source)? {
            Match::V4(key) => self.v4.remove(&key),
            Match::V6(key) => self.v6.remove(&key),
        }
    }

    /// The rule for a datagram from `source`: the one of that very source, else that of any.
    #[inline]
    pub fn lookup(&self, key: &RouteKey, source: IpAddr) -> Option<RuleSlot> {
        match Match::of(key, Some(source))? {
            Match::V4(key) => self.v4.lookup(key),
            Match::V6(key) => self.v6.lookup(key),
        }
    }

    /// How many matches it holds.
    pub fn len(&self) -> usize {
        self.v4.by_match.len() + self.v6.by_match.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Learns an egress socket. Several may be alike: each is counted.
    pub fn insert_own(&mut self, own: OwnSocket) {
        let sockets = self.own.entry(own_key(own.address)).or_default();
        match sockets.iter_mut().find(|(egress, _)| *egress == own.egress) {
            Some((_, count)) => *count += 1,
            None => sockets.push((own.egress, 1)),
        }
    }

    /// Forgets one egress socket.
    pub fn remove_own(&mut self, own: OwnSocket) {
        let Entry::Occupied(mut sockets) = self.own.entry(own_key(own.address)) else { return };
        if let Some((_, count)) = sockets.get_mut().iter_mut().find(|(e, _)| *e == own.egress) {
            *count -= 1;
        }
        sockets.get_mut().retain(|(_, count)| *count > 0);
        if sockets.get().is_empty() {
            sockets.remove();
        }
    }

    /// Whether an egress socket sent a datagram that came in there.
    ///
    /// Address and port alone do not tell: another network may use the same addresses. A copy comes
    /// back on its own interface, or on another one of the same link, in a frame with the egress
    /// interface's hardware address. A link without such addresses cannot tell, and a circle is
    /// worse than a loss: there address and port suffice.
    #[inline]
    pub fn is_own(&self, source: IpAddr, port: u16, arrival: Arrival) -> bool {
        let Some(sockets) = self.own.get(&(source, port)) else { return false };
        sockets.iter().any(|(egress, _)| {
            egress.ifindex == arrival.ifindex
                || arrival.sender.is_none_or(|sender| egress.hardware == Some(sender))
        })
    }
}

impl Default for ForwardingTable {
    fn default() -> Self {
        Self::new()
    }
}

/// An egress socket, by what a datagram of its own bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnSocket {
    /// The address and port that it sends from.
    pub address: SocketAddr,
    /// The interface that it sends on.
    pub egress: Egress,
}

/// An egress interface, by what tells its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Its number.
    pub ifindex: IfIndex,
    /// Its hardware address, where it has one.
    pub hardware: Option<HardwareAddress>,
}

/// How a frame came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The interface.
    pub ifindex: IfIndex,
    /// The hardware address that sent it, where the link has such.
    pub sender: Option<HardwareAddress>,
}

/// Without the flow label and scope that a socket's own IPv6 address may carry.
fn own_key(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip(), address.port())
}

/// The match of a datagram of either family.
enum Match {
    V4(FamilyMatch<Ipv4Addr>),
    V6(FamilyMatch<Ipv6Addr>),
}

impl Match {
    #[inline]
    fn of(key: &RouteKey, source: Option<IpAddr>) -> Option<Self> {
        match (key.address, source) {
            (IpAddr::V4(to), None) => Some(Self::V4(FamilyMatch::new(key, to, None))),
            (IpAddr::V6(to), None) => Some(Self::V6(FamilyMatch::new(key, to, None))),
            (IpAddr::V4(to), Some(IpAddr::V4(from))) => {
                Some(Self::V4(FamilyMatch::new(key, to, Some(from))))
            }
            (IpAddr::V6(to), Some(IpAddr::V6(from))) => {
                Some(Self::V6(FamilyMatch::new(key, to, Some(from))))
            }
            _ => None,
        }
    }
}

/// A match in the fewest bytes, 16 for IPv4: the fewer, the more rules stay in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FamilyMatch<A> {
    ifindex: IfIndex,
    port: u16,
    destination: A,
    source: Option<A>,
}

impl<A> FamilyMatch<A> {
    fn new(key: &RouteKey, destination: A, source: Option<A>) -> Self {
        Self { ifindex: key.ifindex, port: key.port, destination, source }
    }
}

/// The rules of one address family.
#[derive(Debug)]
struct Slots<A> {
    by_match: HashMap<FamilyMatch<A>, RuleSlot, RandomState>,
    /// How many name a source: while none does, one look is enough.
    with_source: usize,
}

impl<A: Copy + Eq + Hash> Slots<A> {
    fn with_capacity(rules: usize) -> Self {
        Self {
            by_match: HashMap::with_capacity_and_hasher(rules, RandomState::default()),
            with_source: 0,
        }
    }

    fn insert(&mut self, key: FamilyMatch<A>, slot: RuleSlot) -> Option<RuleSlot> {
        let replaced = self.by_match.insert(key, slot);
        if replaced.is_none() && key.source.is_some() {
            self.with_source += 1;
        }
        replaced
    }

    fn remove(&mut self, key: &FamilyMatch<A>) -> Option<RuleSlot> {
        let removed = self.by_match.remove(key);
        if removed.is_some() && key.source.is_some() {
            self.with_source -= 1;
        }
        removed
    }

    #[inline]
    fn lookup(&self, key: FamilyMatch<A>) -> Option<RuleSlot> {
        let of_source = || self.by_match.get(&key);
        let of_any = || self.by_match.get(&FamilyMatch { source: None, ..key });
        let slot = if self.with_source == 0 { of_any() } else { of_source().or_else(of_any) };
        slot.copied()
    }
}

#[cfg(test)]
mod tests;
