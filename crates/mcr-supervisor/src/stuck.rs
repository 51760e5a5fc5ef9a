//! Rings that take nothing any more: their workers find them, and say so in their ledgers.

use std::collections::BTreeMap;
use std::time::Instant;

use mcr_core::ids::{IfIndex, WorkerId};
use mcr_core::ledger::{CoreCounter, RingCounter, core};
use mcr_sys::ledger::LedgerReader;

use crate::limits;
use crate::resources::ingress::{Ingresses, RingPlace};
use crate::stats::reading;
use crate::workers::Workers;

/// The repairs of them.
#[derive(Debug, Default)]
pub(crate) struct StuckRings {
    /// For each worker how many it had found when last looked.
    found: BTreeMap<WorkerId, u64>,
    /// When an interface's rings were made anew.
    made_anew: BTreeMap<IfIndex, Instant>,
}

impl StuckRings {
    /// The rings that are to be made anew now.
    pub(crate) fn take_due(
        &mut self,
        workers: &Workers,
        ingresses: &Ingresses,
    ) -> Vec<(WorkerId, RingPlace)> {
        let now = Instant::now();
        self.made_anew.retain(|_, at| now.duration_since(*at) < limits::RING_PAUSE);
        let mut due = Vec::new();
        for (worker, _, ledger) in workers.ledgers() {
            let Some(ledger) = ledger else { continue };
            let found = ledger.load_acquire(core(CoreCounter::StuckRings));
            let before = self.found.entry(worker).or_default();
            if found == *before {
                continue;
            }
            let stuck = ingresses.rings().filter(|ring| is_stuck(ledger, ring));
            let is_early = |ring: &&RingPlace| self.made_anew.contains_key(&ring.key.ifindex);
            let (early, ready): (Vec<_>, Vec<_>) = stuck.partition(is_early);
            if early.is_empty() {
                *before = found;
            }
            due.extend(ready.into_iter().map(|ring| (worker, ring.clone())));
        }
        self.made_anew.extend(due.iter().map(|(_, ring)| (ring.key.ifindex, now)));
        due
    }
}

fn is_stuck(ledger: &LedgerReader, ring: &RingPlace) -> bool {
    reading::ring(ledger, ring).is_some_and(|tally| tally.of(RingCounter::Stuck) != 0)
}
