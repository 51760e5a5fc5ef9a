//! Sets that let nothing in any more, until nobody reads them.

use std::collections::BTreeMap;

use mcr_core::plan::IngressKey;

use super::set::IngressSet;
use super::{Ingresses, RingPlace};

/// The sets that are being closed.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// By their places in the ledgers, where workers still count.
    read: BTreeMap<usize, Given>,
    /// Workers that had them have closed them; others may have them still in their command sockets.
    unread: Vec<Given>,
}

/// A set, and the generation of the workers' state in which it is gone.
#[derive(Debug)]
struct Given {
    set: IngressSet,
    generation: u64,
}

impl Closing {
    pub(super) fn sets(&self) -> impl Iterator<Item = &IngressSet> {
        self.read.values().chain(&self.unread).map(|given| &given.set)
    }
}

impl Ingresses {
    /// Gives the set of a key up, in a generation. It lets nothing in from now on; its place in the
    /// ledgers stays taken until [`Self::give_back_place`].
    pub(crate) fn close(&mut self, key: &IngressKey, generation: u64) -> Option<RingPlace> {
        let id = self.by_key.remove(key)?;
        let set = self.sets.remove(&id)?;
        self.look_for_refusals();
        set.shut();
        let ring = set.ring.clone();
        self.closing.read.insert(ring.place, Given { set, generation });
        Some(ring)
    }

    /// Nobody counts in this place any more.
    pub(crate) fn give_back_place(&mut self, place: usize) {
        self.closing.unread.extend(self.closing.read.remove(&place));
        let place = place as u32;
        self.places.give_back(place..place + 1);
    }

    /// Closes what every worker has closed that has reached this generation.
    pub(crate) fn close_unread(&mut self, reached: u64) {
        let is_over = |given: &mut Given| given.generation <= reached;
        for given in self.closing.unread.extract_if(.., is_over) {
            self.hands.dispose_all(given.set.into_sockets());
        }
    }

    /// Closes everything, at the end.
    pub(crate) fn close_all(&mut self) {
        let closing = std::mem::take(&mut self.closing);
        let given = closing.read.into_values().chain(closing.unread).map(|given| given.set);
        let sets = std::mem::take(&mut self.sets).into_values();
        self.hands.dispose_all(sets.chain(given).flat_map(IngressSet::into_sockets));
    }
}
