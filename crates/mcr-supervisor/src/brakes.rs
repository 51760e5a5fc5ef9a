//! The circles that workers brake, as their ledgers tell them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use mcr_core::ids::RuleId;
use mcr_core::ledger::{self, BrakeNote, Record};
use mcr_core::limits::BRAKES;
use mcr_sys::ledger::LedgerReader;

use crate::state::State;
use crate::workers::Workers;

/// The senders by whom each braked rule's datagrams come back.
#[derive(Debug, Default)]
pub(crate) struct Brakes(BTreeMap<RuleId, BTreeSet<SocketAddr>>);

impl Brakes {
    /// Notes for a rule's owner.
    pub(crate) fn problems(&self, id: RuleId) -> impl Iterator<Item = String> {
        self.0.get(&id).into_iter().flatten().map(|sender| {
            format!(
                "its datagrams circle: they come back from {sender}, by another relay, and are \
                 dropped there (circle); relay one way only, or name the sender with source="
            )
        })
    }
}

impl State {
    /// Tells of circles that begin and end.
    pub(crate) fn look_at_brakes(&mut self, workers: &Workers) {
        let mut found: BTreeMap<RuleId, BTreeSet<SocketAddr>> = BTreeMap::new();
        for (_, _, ledger) in workers.ledgers() {
            for (id, sender) in ledger.into_iter().flat_map(brakes) {
                found.entry(id).or_default().insert(sender);
            }
        }
        let before = std::mem::replace(&mut self.brakes.0, found);
        if before == self.brakes.0 {
            return;
        }
        let concerned: BTreeSet<RuleId> =
            before.keys().chain(self.brakes.0.keys()).copied().collect();
        self.tell_conditions(&concerned);
    }
}

fn brakes(ledger: &LedgerReader) -> impl Iterator<Item = (RuleId, SocketAddr)> {
    (0..BRAKES).map(Record::brake).filter_map(|record| {
        let tag = ledger.load_acquire(record.tag());
        let note = |note| ledger.load(record.of_brake(note));
        let address = ledger::address([note(BrakeNote::SenderHigh), note(BrakeNote::SenderLow)]);
        let sender = SocketAddr::new(address, note(BrakeNote::SenderPort) as u16);
        (tag != 0).then_some((RuleId(tag), sender))
    })
}
