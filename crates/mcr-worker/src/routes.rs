//! The routes that a worker holds, by slot, made ready for sending.

use mcr_core::ids::{EgressId, RuleId, RuleSlot};
use mcr_core::ledger::Record;
use mcr_core::route::{Fingerprint, Route, Via};
use mcr_core::table::ForwardingTable;
use mcr_core::verdict::EgressError;
use mcr_sys::sockaddr::KernelAddress;

use crate::counters::Counters;
use crate::egress::EgressTable;

/// One output of a held route.
#[derive(Debug)]
pub(crate) struct HeldOutput {
    pub(crate) destination: KernelAddress,
    pub(crate) leave: Leave,
    /// Where it is counted.
    pub(crate) record: Record,
}

/// How an output's copies leave.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leave {
    /// By the egress socket at this index, while it is still the one with this id.
    Socket { index: usize, id: EgressId },
    /// Not at all, for this reason.
    Nothing(EgressError),
}

/// One route.
#[derive(Debug)]
pub(crate) struct HeldRoute {
    route: Route,
    fingerprint: Fingerprint,
    pub(crate) outputs: Box<[HeldOutput]>,
    /// Where the rule is counted.
    pub(crate) record: Record,
    /// The synchronisation, or time between two, that last named it.
    pub(crate) epoch: u32,
}

/// All routes, and the forwarding table that finds them.
#[derive(Debug)]
pub(crate) struct Routes {
    slots: Vec<Option<Box<HeldRoute>>>,
    pub(crate) table: ForwardingTable,
    count: usize,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), table: ForwardingTable::new(), count: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// One more than the highest slot ever in use.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn at(&self, slot: RuleSlot) -> Option<&HeldRoute> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }

    /// How many outputs the route at a slot has.
    pub(crate) fn fan_out(&self, slot: RuleSlot) -> usize {
        self.at(slot).map_or(0, |held| held.outputs.len())
    }

    /// Takes a route in, in place of what held its slot, whose fingerprint it gives back. Counters
    /// go on where the slot holds the same rule as before.
    pub(crate) fn insert(
        &mut self,
        route: Route,
        epoch: u32,
        egresses: &EgressTable,
        counters: &Counters,
    ) -> (Fingerprint, Option<Fingerprint>) {
        let slot = route.slot;
        let replaced = self.take_out(slot);
        let held = HeldRoute::new(route, epoch, egresses);
        counters.open(held.record, held.route.id.0);
        for output in &held.outputs {
            counters.open(output.record, held.route.id.0);
        }
        self.table.insert(held.route.key, held.route.source, slot);
        let fingerprint = held.fingerprint;
        if self.slots.len() <= slot.0 as usize {
            self.slots.resize_with(slot.0 as usize + 1, || None);
        }
        self.slots[slot.0 as usize] = Some(Box::new(held));
        self.count += 1;
        (fingerprint, replaced.map(|old| old.fingerprint))
    }

    /// Takes out the route at a slot if it is that rule's. What it counted stays readable until
    /// another rule takes its records into use: the route may come back.
    pub(crate) fn remove(&mut self, slot: RuleSlot, id: RuleId) -> Option<Fingerprint> {
        self.at(slot).filter(|held| held.route.id == id)?;
        self.take_out(slot).map(|held| held.fingerprint)
    }

    /// Takes out the route at a slot unless it was named in that epoch.
    pub(crate) fn sweep(&mut self, slot: RuleSlot, epoch: u32) -> Option<Fingerprint> {
        self.at(slot).filter(|held| held.epoch != epoch)?;
        self.take_out(slot).map(|held| held.fingerprint)
    }

    fn take_out(&mut self, slot: RuleSlot) -> Option<Box<HeldRoute>> {
        let held = self.slots.get_mut(slot.0 as usize)?.take()?;
        self.count -= 1;
        let Route { key, source, .. } = held.route;
        // A later route with the same key, in another slot, may have taken its place in the table.
        if let Some(other) = self.table.remove(&key, source).filter(|other| *other != slot) {
            self.table.insert(key, source, other);
        }
        Some(held)
    }
}

impl HeldRoute {
    fn new(route: Route, epoch: u32, egresses: &EgressTable) -> Self {
        let outputs = route.outputs.iter().map(|output| HeldOutput {
            destination: output.destination.into(),
            leave: match output.via {
                Via::Nothing(error) => Leave::Nothing(error),
                Via::Egress(id) => match egresses.index_of(id) {
                    Some(index) => Leave::Socket { index, id },
                    None => Leave::Nothing(EgressError::NoSocket),
                },
            },
            record: Record::output(output.slot),
        });
        Self {
            fingerprint: route.fingerprint(),
            outputs: outputs.collect(),
            record: Record::rule(route.slot),
            epoch,
            route,
        }
    }
}
