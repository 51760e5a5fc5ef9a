//! How far the worker's state has come: generation, hash, and the synchronisation under way.
//!
//! A synchronisation marks what it names with a new epoch; at its end whatever bears an older one
//! is dropped. So nothing that stays is touched, and no rule that was not changed loses anything.

use mcr_core::route::{Fingerprint, StateHash};

/// What the worker has reached.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    generation: u64,
    hash: StateHash,
    epoch: u32,
    phase: Phase,
}

/// Where a synchronisation stands.
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

impl Progress {
    /// What is taken in now is marked with this.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn hash(&self) -> StateHash {
        self.hash
    }

    pub(crate) fn gained(&mut self, fingerprint: Fingerprint) {
        self.hash.add(fingerprint);
    }

    pub(crate) fn lost(&mut self, fingerprint: Fingerprint) {
        self.hash.remove(fingerprint);
    }

    /// A command that led to that generation was carried out. After a gap the generation stays
    /// behind, which the supervisor sees and heals.
    pub(crate) fn command_done(&mut self, generation: u64) {
        if self.phase != Phase::Receiving && generation == self.generation + 1 {
            self.generation = generation;
        }
    }

    pub(crate) fn sync_begun(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.phase = Phase::Receiving;
    }

    /// A commit without its beginning says nothing about what is held.
    pub(crate) fn sync_committed(&mut self, generation: u64) {
        if self.phase == Phase::Receiving {
            self.generation = generation;
            self.phase = Phase::Sweeping(0);
        }
    }

    /// The slot from which to go on sweeping.
    pub(crate) fn sweep_from(&self) -> Option<usize> {
        match self.phase {
            Phase::Sweeping(slot) => Some(slot),
            Phase::Settled | Phase::Receiving => None,
        }
    }

    /// All slots before this one have been looked at; `end` is one more than the last.
    pub(crate) fn swept_to(&mut self, slot: usize, end: usize) {
        self.phase = if slot >= end { Phase::Settled } else { Phase::Sweeping(slot) };
    }

    /// Whether generation and hash describe a whole state, fit to be shown.
    pub(crate) fn is_settled(&self) -> bool {
        self.phase == Phase::Settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_advance_one_by_one_and_a_gap_stays_visible() {
        let mut progress = Progress::default();
        progress.command_done(1);
        progress.command_done(2);
        assert_eq!(progress.generation(), 2);
        progress.command_done(4);
        assert_eq!(progress.generation(), 2);
    }

    #[test]
    fn a_synchronisation_shows_nothing_until_it_is_swept() {
        let mut progress = Progress::default();
        progress.sync_begun();
        progress.command_done(7);
        assert!(!progress.is_settled());
        progress.sync_committed(7);
        assert_eq!(progress.sweep_from(), Some(0));
        progress.command_done(8);
        progress.swept_to(10, 20);
        assert_eq!(progress.sweep_from(), Some(10));
        progress.swept_to(20, 20);
        assert!(progress.is_settled());
        assert_eq!(progress.generation(), 8);
    }

    #[test]
    fn a_commit_without_beginning_is_ignored() {
        let mut progress = Progress::default();
        progress.sync_committed(9);
        assert_eq!((progress.generation(), progress.is_settled()), (0, true));
    }
}
