//! Counters of what is gone, a worker or a ring, so that no sum ever falls.

use std::collections::{BTreeMap, HashMap};

use mcr_api::control::CoreStats;
use mcr_core::ids::{RuleId, WorkerId};
use mcr_core::ledger::RingCounter;
use mcr_core::rule_set::DeclaredRule;
use mcr_core::verdict::EgressError;
use mcr_sys::ledger::LedgerReader;
use mcr_sys::packet::PacketStatistics;

use super::reading::{self, RingTally, RuleTally};
use crate::resources::ingress::RingPlace;

/// The counters kept.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    cores: BTreeMap<WorkerId, CoreStats>,
    rules: HashMap<RuleId, RuleTally>,
    /// Rings that are closed here, and perhaps not yet by every worker.
    closing: Vec<ClosingRing>,
}

#[derive(Debug)]
struct ClosingRing {
    place: usize,
    /// The generation in which it is closed.
    generation: u64,
    /// The workers that had it, and of which nothing has been taken over yet.
    readers: Vec<WorkerId>,
}

impl Retained {
    /// What a worker's place had counted before its present process, and for rings now closed.
    pub(crate) fn core(&self, worker: WorkerId) -> Option<&CoreStats> {
        self.cores.get(&worker)
    }

    /// What a rule had counted in workers that are dead, or before it was pending.
    pub(crate) fn rule(&self, id: RuleId) -> Option<&RuleTally> {
        self.rules.get(&id)
    }

    /// The rule is not declared any more.
    pub(crate) fn forget_rule(&mut self, id: RuleId) {
        self.rules.remove(&id);
    }

    /// What a rule has counted so far, before the workers give its record up.
    pub(crate) fn keep_rule(&mut self, id: RuleId, tally: &RuleTally) {
        self.rules.entry(id).or_default().add(tally);
    }

    /// What a worker that died had counted.
    pub(crate) fn keep_worker<'a>(
        &mut self,
        worker: WorkerId,
        ledger: &LedgerReader,
        rings: impl Iterator<Item = &'a RingPlace>,
        rules: impl Iterator<Item = &'a DeclaredRule>,
    ) {
        let mut stats = reading::core_stats(ledger);
        for tally in rings.filter_map(|ring| reading::ring(ledger, ring)) {
            add_abandoned_ring(&mut stats, &tally);
        }
        for closing in &mut self.closing {
            if closing.forget_reader(worker) {
                add_abandoned_ring(&mut stats, &reading::closed_ring(ledger, closing.place));
            }
        }
        let core = self.core_mut(worker);
        core.add(&stats);
        close_account(core);
        for declared in rules {
            if let Some(mut tally) = reading::rule(ledger, declared)
                && tally.packets > 0
            {
                tally.close_account();
                self.keep_rule(declared.id, &tally);
            }
        }
    }

    /// What the kernel still counted for a dead worker's sockets: nobody has read those frames.
    pub(crate) fn keep_unread(&mut self, worker: WorkerId, statistics: PacketStatistics) {
        let stats = self.core_mut(worker);
        stats.received += statistics.received;
        stats.kernel_drops += statistics.received;
    }

    /// A ring is being closed in this generation; the workers among `ledgers` that have it will
    /// count for it until they get there.
    pub(crate) fn ring_closing<'a>(
        &mut self,
        ring: &RingPlace,
        generation: u64,
        ledgers: impl Iterator<Item = (WorkerId, &'a LedgerReader)>,
    ) {
        let readers = ledgers.filter(|(_, ledger)| reading::ring(ledger, ring).is_some());
        let readers = readers.map(|(worker, _)| worker).collect();
        self.closing.push(ClosingRing { place: ring.place, generation, readers });
    }

    /// Takes over what workers counted for rings that they have closed by now. Returns the places
    /// in the ledgers that are free again.
    pub(crate) fn settle_rings<'a>(
        &mut self,
        ledgers: impl Iterator<Item = (WorkerId, &'a LedgerReader, u64)>,
    ) -> Vec<usize> {
        for (worker, ledger, generation) in ledgers {
            for place in 0..self.closing.len() {
                let closing = &mut self.closing[place];
                if generation >= closing.generation && closing.forget_reader(worker) {
                    let tally = reading::closed_ring(ledger, closing.place);
                    add_ring(self.core_mut(worker), &tally);
                }
            }
        }
        let settled = self.closing.extract_if(.., |closing| closing.readers.is_empty());
        settled.map(|closing| closing.place).collect()
    }

    /// What a worker has counted so far for rings that are being closed.
    pub(crate) fn add_closing(
        &self,
        worker: WorkerId,
        ledger: &LedgerReader,
        stats: &mut CoreStats,
    ) {
        for closing in self.closing.iter().filter(|closing| closing.readers.contains(&worker)) {
            add_ring(stats, &reading::closed_ring(ledger, closing.place));
        }
    }

    fn core_mut(&mut self, worker: WorkerId) -> &mut CoreStats {
        self.cores.entry(worker).or_insert_with(reading::zero_stats)
    }
}

impl ClosingRing {
    /// Returns whether it was a reader.
    fn forget_reader(&mut self, worker: WorkerId) -> bool {
        let before = self.readers.len();
        self.readers.retain(|reader| *reader != worker);
        self.readers.len() < before
    }
}

/// Counts a ring for its core.
pub(crate) fn add_ring(stats: &mut CoreStats, ring: &RingTally) {
    stats.received += ring.of(RingCounter::Received);
    stats.kernel_drops += ring.of(RingCounter::KernelDrops);
}

/// Counts a ring whose reader is dead: the frames left in it are dropped with it.
fn add_abandoned_ring(stats: &mut CoreStats, ring: &RingTally) {
    let (received, read) = (ring.of(RingCounter::Received), ring.of(RingCounter::FramesRead));
    // A worker that dies between two stores may have counted a batch as read, but not yet as
    // received.
    let received = received.max(read);
    stats.received += received;
    stats.kernel_drops += received - read;
}

/// A worker that dies within a batch has counted some of it and not the rest. What it said nothing
/// about yet gets its name here, so that the account of the dead is closed.
fn close_account(stats: &mut CoreStats) {
    let open = stats.unaccounted();
    stats.kernel_drops = stats.kernel_drops.saturating_add_signed(open.received);
    stats.datagrams = stats.datagrams.saturating_add_signed(-open.datagrams);
    let abandoned = stats.errors.entry(EgressError::Abandoned.name().into()).or_default();
    *abandoned = abandoned.saturating_add_signed(open.copies);
}

#[cfg(test)]
mod tests;
