//! How a dead worker's sockets are replaced.

use mcr_core::ids::{IngressId, WorkerId};
use mcr_sys::packet::{PacketSocket, PacketStatistics};

use super::opening::{Blueprint, retire};
use super::set::Spare;
use super::{Ingresses, Refusal};
use crate::event::Event;

/// The dead worker's sockets that have yet to leave their steering groups. Only one worker is
/// replaced at a time.
#[derive(Debug, Default)]
pub(super) struct Replacement {
    leaving: usize,
    left: PacketStatistics,
}

/// A spare socket that was ordered.
#[derive(Debug)]
pub(crate) struct NewSpare {
    set: IngressId,
    outcome: Result<PacketSocket, Refusal>,
}

/// The kernel's last counts for a socket that has left its group.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) worker: WorkerId,
    statistics: PacketStatistics,
}

impl Ingresses {
    /// Before a worker is started again: gives it a new socket beside each that the dead one had.
    ///
    /// # Errors
    /// Why a socket could not be had.
    pub(crate) fn prepare_replacement(&mut self, worker: WorkerId) -> Result<(), Refusal> {
        for set in self.sets.values_mut() {
            let admission = self.admissions.entry(set.ring.key.ifindex).or_default();
            set.replace_with_spare(worker, self.open.then_some(admission))?;
        }
        let without = self.sets.iter().filter(|(_, set)| !set.is_ready_for(worker));
        for id in without.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.order_spare(id);
        }
        Ok(())
    }

    /// Whether [`Self::prepare_replacement`] has given the worker all that it needs.
    pub(crate) fn is_prepared(&self, worker: WorkerId) -> bool {
        self.sets.values().all(|set| set.is_ready_for(worker))
    }

    /// The new worker died, too, before it took over. What it has read is of no use.
    pub(crate) fn abandon_replacement(&mut self, worker: WorkerId) {
        for set in self.sets.values_mut() {
            if let Some(socket) = set.take_candidate(worker) {
                self.hands.dispose(socket);
            }
        }
    }

    /// The new worker holds everything: its sockets take the places of the dead one's, and each
    /// interface gets a spare again. [`Event::Retired`] comes for each.
    pub(crate) fn complete_replacement(&mut self, worker: WorkerId) {
        for (&id, set) in &mut self.sets {
            let Some(old) = set.install_candidate(worker) else {
                continue;
            };
            self.replacement.leaving += 1;
            let has_spare = self.rings.has_spare(set.ring.place);
            let spare = has_spare.then(|| set.blueprint.clone());
            if spare.is_some() {
                set.spare = Spare::Opening;
            }
            let hands = self.hands.clone();
            self.hands.begin(|threads| async move {
                let leave = move || (retire(&old), old);
                // Without a thread the socket is closed all the same, with what it counted.
                let statistics = threads.call(leave).await.map_or_else(
                    |_| PacketStatistics::default(),
                    |(statistics, old)| {
                        hands.dispose(old);
                        statistics
                    },
                );
                let retired = Retired { worker, statistics };
                // Only now is the last place free: a spare that joined before would have taken the
                // dead socket's place.
                let spare = match spare {
                    Some(blueprint) => {
                        Some(NewSpare { set: id, outcome: blueprint.open_spare(&threads).await })
                    }
                    None => None,
                };
                Event::Retired { retired, spare }
            });
        }
    }

    /// A socket has left its group. Returns the sum of what was still counted, after the last.
    pub(crate) fn retired(&mut self, retired: &Retired) -> Option<PacketStatistics> {
        let Replacement { leaving, left } = &mut self.replacement;
        left.received += retired.statistics.received;
        left.dropped += retired.statistics.dropped;
        *leaving -= 1;
        (*leaving == 0).then(|| std::mem::take(left))
    }

    /// Whether a replacement is not over yet.
    pub(crate) fn is_replacing(&self) -> bool {
        self.replacement.leaving > 0
    }

    /// A spare was opened, or refused.
    pub(crate) fn spare_opened(&mut self, spare: NewSpare) {
        let NewSpare { set, outcome } = spare;
        match (self.sets.get_mut(&set), outcome) {
            (Some(set), Ok(socket)) => set.spare = Spare::Ready(socket),
            (Some(set), Err(refusal)) => set.spare = Spare::Refused(refusal),
            (None, Ok(socket)) => self.hands.dispose(socket),
            (None, Err(_)) => {}
        }
    }

    /// Has a spare opened for a set that has none and none on its way.
    pub(super) fn order_spare(&mut self, id: IngressId) {
        let Some(set) = self.sets.get_mut(&id).filter(|set| matches!(set.spare, Spare::None))
        else {
            return;
        };
        set.spare = Spare::Opening;
        let blueprint: Blueprint = set.blueprint.clone();
        self.hands.begin(|threads| async move {
            let outcome = blueprint.open_spare(&threads).await;
            Event::SpareOpened(NewSpare { set: id, outcome })
        });
    }
}
