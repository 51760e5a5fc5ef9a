//! Counters of what is gone, a worker or a ring, so that no sum ever falls.

use std::collections::{BTreeMap, HashMap};

use mcr_api::control::CoreStats;
use mcr_core::counters::add;
use mcr_core::ids::{IngressId, RuleId, WorkerId};
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
    batch_sizes: BTreeMap<WorkerId, Vec<u64>>,
    rules: HashMap<RuleId, RuleTally>,
    /// Of the rings that are open.
    rings: HashMap<(WorkerId, IngressId), RingTally>,
    /// Frames that a dead worker had read, but whose receipt only its sockets know of.
    read_early: BTreeMap<WorkerId, u64>,
    /// The same of workers whose sockets are leaving their steering groups.
    handing_over: BTreeMap<WorkerId, u64>,
    /// Rings that are closed here, and perhaps not yet by every worker.
    closing: Vec<ClosingRing>,
}

#[derive(Debug)]
struct ClosingRing {
    ring: RingPlace,
    /// The generation in which it is closed.
    generation: u64,
    /// The workers that had it, and of which nothing has been taken over yet.
    readers: Vec<WorkerId>,
}

impl Retained {
    /// The counters of a worker's place before its present process, and of rings now closed.
    pub(crate) fn core(&self, worker: WorkerId) -> Option<&CoreStats> {
        self.cores.get(&worker)
    }

    /// The batches of a worker's dead processes, by their size.
    pub(crate) fn batch_sizes(&self, worker: WorkerId) -> &[u64] {
        self.batch_sizes.get(&worker).map_or(&[], Vec::as_slice)
    }

    /// The counters of a ring in a worker's dead processes.
    pub(crate) fn ring(&self, worker: WorkerId, ring: IngressId) -> Option<&RingTally> {
        self.rings.get(&(worker, ring))
    }

    /// The counters of a rule in dead workers.
    pub(crate) fn rule(&self, id: RuleId) -> Option<&RuleTally> {
        self.rules.get(&id)
    }

    /// The rule is not declared any more.
    pub(crate) fn forget_rule(&mut self, id: RuleId) {
        self.rules.remove(&id);
    }

    /// The counters of a dead worker.
    pub(crate) fn keep_worker<'a>(
        &mut self,
        worker: WorkerId,
        ledger: &LedgerReader,
        rings: impl Iterator<Item = &'a RingPlace>,
        rules: impl Iterator<Item = &'a DeclaredRule>,
    ) {
        let mut stats = reading::core_stats(ledger);
        let mut read_early = 0;
        for (ring, mut tally) in rings.filter_map(|r| Some((r.id, reading::ring(ledger, r)?))) {
            add(&mut read_early, add_abandoned_ring(&mut stats, &tally));
            tally.close_account();
            let kept = self.rings.entry((worker, ring)).or_default();
            *kept = tally.after(Some(kept));
        }
        let batch_sizes = self.batch_sizes.entry(worker).or_default();
        reading::add_each(batch_sizes, &reading::batches_by_size(ledger));
        for closing in &mut self.closing {
            if closing.forget_reader(worker) {
                let tally = reading::closed_ring(ledger, closing.ring.place);
                add(&mut read_early, add_abandoned_ring(&mut stats, &tally));
            }
        }
        self.read_early.insert(worker, read_early);
        let core = self.core_mut(worker);
        core.add(&stats);
        close_account(core);
        for declared in rules {
            if let Some(mut tally) = reading::rule(ledger, declared)
                && tally.packets > 0
            {
                tally.close_account();
                self.rules.entry(declared.id).or_default().add(&tally);
            }
        }
    }

    /// A worker has taken a dead one's place; the dead one's sockets leave theirs.
    pub(crate) fn begin_handover(&mut self, worker: WorkerId) {
        if let Some(read_early) = self.read_early.remove(&worker) {
            self.handing_over.insert(worker, read_early);
        }
    }

    /// What the kernel still counted for a dead worker's sockets: nobody has read those frames, but
    /// for the ones that the worker read after it had asked for these figures for the last time.
    pub(crate) fn keep_unread(&mut self, worker: WorkerId, statistics: PacketStatistics) {
        let read_early = self.handing_over.remove(&worker).unwrap_or(0);
        let unread = statistics.received.saturating_sub(read_early);
        let stats = self.core_mut(worker);
        add(&mut stats.received, unread);
        add(&mut stats.kernel_drops, unread);
    }

    /// A ring is being closed in this generation; the workers among `ledgers` that have it will
    /// count for it until they get there.
    pub(crate) fn ring_closing<'a>(
        &mut self,
        ring: &RingPlace,
        generation: u64,
        ledgers: impl Iterator<Item = (WorkerId, &'a LedgerReader)>,
    ) {
        self.rings.retain(|(_, id), _| *id != ring.id);
        let readers = ledgers.filter(|(_, ledger)| reading::ring(ledger, ring).is_some());
        let readers = readers.map(|(worker, _)| worker).collect();
        self.closing.push(ClosingRing { ring: ring.clone(), generation, readers });
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
                // A worker reads what is left in a ring before it closes it.
                let is_closed = generation >= closing.generation
                    && reading::ring(ledger, &closing.ring).is_none();
                if is_closed && closing.forget_reader(worker) {
                    let tally = reading::closed_ring(ledger, closing.ring.place);
                    add_ring(self.core_mut(worker), &tally);
                }
            }
        }
        let settled = self.closing.extract_if(.., |closing| closing.readers.is_empty());
        settled.map(|closing| closing.ring.place).collect()
    }

    /// A worker's counters so far for rings that are being closed.
    pub(crate) fn add_closing(
        &self,
        worker: WorkerId,
        ledger: &LedgerReader,
        stats: &mut CoreStats,
    ) {
        for closing in self.closing.iter().filter(|closing| closing.readers.contains(&worker)) {
            add_ring(stats, &reading::closed_ring(ledger, closing.ring.place));
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
    add(&mut stats.received, ring.of(RingCounter::Received));
    add(&mut stats.kernel_drops, ring.of(RingCounter::KernelDrops));
}

/// Counts a ring whose reader is dead: the frames left in it are dropped with it. Returns how many
/// frames were read that the worker had not yet counted as received.
fn add_abandoned_ring(stats: &mut CoreStats, ring: &RingTally) -> u64 {
    let (received, read) = (ring.of(RingCounter::Received), ring.of(RingCounter::FramesRead));
    let read_early = read.saturating_sub(received);
    let received = received.max(read);
    add(&mut stats.received, received);
    add(&mut stats.kernel_drops, received - read);
    read_early
}

/// A worker that dies within a batch has counted some of it and not the rest. What it said nothing
/// about yet gets its name here, so that the account of the dead is closed.
fn close_account(stats: &mut CoreStats) {
    let open = stats.unaccounted();
    stats.kernel_drops = stats.kernel_drops.saturating_add_signed(open.received);
    stats.datagrams = stats.datagrams.saturating_add_signed(open.datagrams.saturating_neg());
    let abandoned = stats.errors.entry(EgressError::Abandoned.name().into()).or_default();
    *abandoned = abandoned.saturating_add_signed(open.copies);
}

#[cfg(test)]
mod tests;
