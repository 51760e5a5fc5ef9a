//! What a worker has taken over of what it should hold, by name alone: what there is, what the
//! synchronisation under way has named, and the [`Position`] that all this amounts to.
//!
//! A synchronisation marks what it names with a new epoch; after its commit whatever bears an older
//! one is dropped. So nothing that stays is touched, and no rule that was not changed loses
//! anything. A commit that finds anything else marked than the supervisor meant drops nothing.

use std::collections::BTreeMap;

use crate::ids::{EgressId, IngressId, RuleId, RuleSlot};
use crate::route::{Fingerprint, Kind, Position, StateHash};

/// The names of what a worker holds.
#[derive(Debug, Default)]
pub struct Replica {
    position: Position,
    /// The mark of everything that is taken in now.
    epoch: u32,
    /// The hash of what bears the present epoch.
    marked: StateHash,
    phase: Phase,
    routes: Vec<Option<HeldRoute>>,
    sockets: BTreeMap<SocketSet, u32>,
}

/// The stage of a synchronisation.
#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    /// None is under way.
    #[default]
    Settled,
    /// Its parts are coming in.
    Receiving,
    /// All has come in; the slots from this one on are still to be looked at.
    Sweeping(usize),
}

#[derive(Clone, Copy, Debug)]
struct HeldRoute {
    id: RuleId,
    fingerprint: Fingerprint,
    epoch: u32,
}

/// A set of sockets, of which a worker holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SocketSet {
    /// To read frames from.
    Ingress(IngressId),
    /// To send by.
    Egress(EgressId),
}

impl SocketSet {
    /// Its part of the [`StateHash`].
    pub fn fingerprint(self) -> Fingerprint {
        match self {
            Self::Ingress(id) => Fingerprint::of(Kind::Ingress, id.0),
            Self::Egress(id) => Fingerprint::of(Kind::Egress, id.0),
        }
    }
}

/// A thing that a finished synchronisation did not name: to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// The route at a slot.
    Route(RuleSlot),
    /// Sockets that no route names any more.
    Sockets(SocketSet),
}

impl Replica {
    /// Generation and hash; `None` within a synchronisation, when they describe no whole state.
    pub fn position(&self) -> Option<Position> {
        (self.phase == Phase::Settled).then_some(self.position)
    }

    /// A route was taken in, in place of the one that had its slot.
    pub fn route_set(&mut self, slot: RuleSlot, id: RuleId, fingerprint: Fingerprint) {
        self.take_out(slot);
        let place = slot.0 as usize;
        if self.routes.len() <= place {
            self.routes.resize(place + 1, None);
        }
        self.routes[place] = Some(HeldRoute { id, fingerprint, epoch: self.epoch });
        self.position.hash.add(fingerprint);
        self.marked.add(fingerprint);
    }

    /// A rule's route is to go; false where its slot is not, or no longer, that rule's.
    pub fn route_removed(&mut self, slot: RuleSlot, id: RuleId) -> bool {
        let held = self.routes.get(slot.0 as usize).copied().flatten();
        held.is_some_and(|held| held.id == id) && self.take_out(slot)
    }

    /// Sockets are named; whether they are held already.
    pub fn name_sockets(&mut self, set: SocketSet) -> bool {
        let Some(epoch) = self.sockets.get_mut(&set) else {
            return false;
        };
        if std::mem::replace(epoch, self.epoch) != self.epoch {
            self.marked.add(set.fingerprint());
        }
        true
    }

    /// Sockets that were not held were taken in.
    pub fn sockets_opened(&mut self, set: SocketSet) {
        if self.sockets.insert(set, self.epoch).is_none() {
            self.position.hash.add(set.fingerprint());
            self.marked.add(set.fingerprint());
        }
    }

    /// Sockets are to go; false where they are not held.
    pub fn sockets_closed(&mut self, set: SocketSet) -> bool {
        let Some(epoch) = self.sockets.remove(&set) else {
            return false;
        };
        self.lost(set.fingerprint(), epoch);
        true
    }

    /// The change that led to that generation was carried out. After a gap the generation stays
    /// behind, which the supervisor sees and heals.
    pub fn change_done(&mut self, generation: u64) {
        if self.phase != Phase::Receiving && generation == self.position.generation + 1 {
            self.position.generation = generation;
        }
    }

    /// From now on everything that is to stay is named.
    pub fn sync_begun(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.marked = StateHash::default();
        self.phase = Phase::Receiving;
    }

    /// Everything of a position has been named, says the supervisor; false where what came is not
    /// that. Then nothing is dropped, and another synchronisation is awaited.
    pub fn sync_committed(&mut self, position: Position) -> bool {
        let whole = self.phase == Phase::Receiving && self.marked == position.hash;
        if whole {
            self.position.generation = position.generation;
            self.phase = Phase::Sweeping(0);
        }
        whole
    }

    /// After a commit: has the next of what it did not name dropped, looking at so many slots; the
    /// sockets last, when no route names them any more. Returns whether there was anything to do.
    pub fn sweep(&mut self, slots: usize, mut drop: impl FnMut(Stale)) -> bool {
        let Phase::Sweeping(from) = self.phase else {
            return false;
        };
        let to = self.routes.len().min(from + slots);
        for place in from..to {
            let slot = RuleSlot(place as u32);
            if self.routes[place].is_some_and(|held| held.epoch != self.epoch) {
                self.take_out(slot);
                drop(Stale::Route(slot));
            }
        }
        self.phase = Phase::Sweeping(to);
        if to == self.routes.len() {
            self.sweep_sockets(drop);
            self.phase = Phase::Settled;
        }
        true
    }

    fn sweep_sockets(&mut self, mut drop: impl FnMut(Stale)) {
        let epoch = self.epoch;
        for (set, _) in self.sockets.extract_if(.., |_, marked| *marked != epoch) {
            self.position.hash.remove(set.fingerprint());
            drop(Stale::Sockets(set));
        }
    }

    fn take_out(&mut self, slot: RuleSlot) -> bool {
        let held = self.routes.get_mut(slot.0 as usize).and_then(Option::take);
        if let Some(held) = held {
            self.lost(held.fingerprint, held.epoch);
        }
        held.is_some()
    }

    fn lost(&mut self, fingerprint: Fingerprint, epoch: u32) {
        self.position.hash.remove(fingerprint);
        if epoch == self.epoch {
            self.marked.remove(fingerprint);
        }
    }
}

#[cfg(test)]
mod tests;
