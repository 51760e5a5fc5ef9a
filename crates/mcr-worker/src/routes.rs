//! The routes that a worker holds, by slot, made ready for sending.

use std::net::{IpAddr, SocketAddr};

use mcr_core::ids::{EgressId, RuleId, RuleSlot};
use mcr_core::ledger::Record;
use mcr_core::route::{Route, Via};
use mcr_core::table::ForwardingTable;
use mcr_core::verdict::EgressError;
use mcr_sys::sockaddr::KernelAddress;

use crate::counters::Counters;
use crate::egress::{EgressTable, RefusedRuns};

/// One output of a held route.
#[derive(Debug)]
pub(crate) struct HeldOutput {
    pub(crate) destination: KernelAddress,
    pub(crate) leave: Leave,
    pub(crate) refused: RefusedRuns,
    /// The place of its counters.
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
    pub(crate) outputs: Box<[HeldOutput]>,
    /// The place of the rule's counters.
    pub(crate) record: Record,
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

    pub(crate) fn at(&self, slot: RuleSlot) -> Option<&HeldRoute> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }

    /// How many outputs the route at a slot has.
    pub(crate) fn fan_out(&self, slot: RuleSlot) -> usize {
        self.at(slot).map_or(0, |held| held.outputs.len())
    }

    /// Takes a route in, in place of what held its slot. Counters go on where the slot holds
    /// the same rule as before.
    pub(crate) fn insert(&mut self, route: Route, egresses: &EgressTable, counters: &Counters) {
        let slot = route.slot;
        self.take_out(slot);
        let held = HeldRoute::new(route, egresses);
        counters.open(held.record, held.route.id.0);
        for output in &held.outputs {
            counters.open(output.record, held.route.id.0);
        }
        self.table.insert(held.route.key, held.route.source, slot);
        if self.slots.len() <= slot.0 as usize {
            self.slots.resize_with(slot.0 as usize + 1, || None);
        }
        self.slots[slot.0 as usize] = Some(Box::new(held));
        self.count += 1;
    }

    /// Takes out the route at a slot. What it counted stays readable until another rule takes its
    /// records into use: the route may come back.
    pub(crate) fn remove(&mut self, slot: RuleSlot) {
        self.take_out(slot);
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
    /// Its owner.
    pub(crate) fn id(&self) -> RuleId {
        self.route.id
    }

    /// The one source that it takes.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.route.source
    }

    /// The destination of the output at a place.
    pub(crate) fn destination(&self, output: u32) -> SocketAddr {
        self.route.outputs[output as usize].destination
    }

    fn new(route: Route, egresses: &EgressTable) -> Self {
        let outputs = route.outputs.iter().map(|output| HeldOutput {
            destination: output.destination.into(),
            leave: match output.via {
                Via::Nothing(error) => Leave::Nothing(error),
                Via::Egress(id) => match egresses.index_of(id) {
                    Some(index) => Leave::Socket { index, id },
                    None => Leave::Nothing(EgressError::NoSocket),
                },
            },
            refused: RefusedRuns::default(),
            record: Record::output(output.slot),
        });
        Self { outputs: outputs.collect(), record: Record::rule(route.slot), route }
    }
}
