//! What every worker must hold, with the sockets to hand out: what commands and synchronisations
//! are made from, and what ledgers are compared with.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::fd::BorrowedFd;

use mcr_api::worker::{self, WorkerCommand, WorkerMessage};
use mcr_core::ids::{EgressId, IngressId, RuleId, RuleSlot, WorkerId};
use mcr_core::plan::{EgressKey, IngressKey};
use mcr_core::route::{Fingerprint, Kind, Position, Route};

use crate::resources::Refusal;
use crate::resources::egress::Egresses;
use crate::resources::ingress::{Ingresses, RingPlace};

/// One step of the workers' state, and the generation that it led to. Small: the command itself is
/// made when it is sent, so that what waits does not take memory for its routes, and is not old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    IngressOpened(IngressId),
    IngressClosed(IngressId),
    EgressOpened(EgressId),
    EgressClosed(EgressId),
    RouteSet(RuleId),
    RouteGone(RuleSlot, RuleId),
}

/// The routes and sockets.
#[derive(Debug)]
pub(crate) struct Holdings {
    position: Position,
    routes: BTreeMap<RuleId, Route>,
    pub(crate) ingresses: Ingresses,
    pub(crate) egresses: Egresses,
}

impl Holdings {
    /// Nothing, for workers on these cores.
    pub(crate) fn new(cores: Vec<usize>) -> Self {
        Self {
            position: Position::default(),
            routes: BTreeMap::new(),
            egresses: Egresses::new(cores.len()),
            ingresses: Ingresses::new(cores),
        }
    }

    /// Generation and hash of all this.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn route(&self, id: RuleId) -> Option<&Route> {
        self.routes.get(&id)
    }

    /// The routes after that of a rule, in the order of ids.
    pub(crate) fn routes_after(&self, id: Option<RuleId>) -> impl Iterator<Item = &Route> {
        let after = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.routes.range((after, Bound::Unbounded)).map(|(_, route)| route)
    }

    pub(crate) fn open_ingress(&mut self, key: &IngressKey, mtu: u32) -> Result<Change, Refusal> {
        let id = self.ingresses.open(key, mtu)?;
        self.gained(Fingerprint::of(Kind::Ingress, id.0));
        Ok(Change::IngressOpened(id))
    }

    pub(crate) fn close_ingress(&mut self, key: &IngressKey) -> Option<(Change, RingPlace)> {
        let ring = self.ingresses.close(key)?;
        self.lost(Fingerprint::of(Kind::Ingress, ring.id.0));
        Some((Change::IngressClosed(ring.id), ring))
    }

    pub(crate) fn open_egress(&mut self, key: &EgressKey) -> Result<Change, Refusal> {
        let id = self.egresses.open(key)?;
        self.gained(Fingerprint::of(Kind::Egress, id.0));
        Ok(Change::EgressOpened(id))
    }

    pub(crate) fn close_egress(&mut self, key: &EgressKey) -> Option<Change> {
        let id = self.egresses.close(key)?;
        self.lost(Fingerprint::of(Kind::Egress, id.0));
        Some(Change::EgressClosed(id))
    }

    /// Takes a route in, in place of the rule's former one.
    pub(crate) fn set_route(&mut self, route: Route) -> Change {
        let (id, fingerprint) = (route.id, route.fingerprint());
        if let Some(old) = self.routes.insert(id, route) {
            self.position.hash.remove(old.fingerprint());
        }
        self.gained(fingerprint);
        Change::RouteSet(id)
    }

    pub(crate) fn remove_route(&mut self, id: RuleId) -> Option<Change> {
        let route = self.routes.remove(&id)?;
        self.lost(route.fingerprint());
        Some(Change::RouteGone(route.slot, id))
    }

    /// The command that tells of a change; `None` where a later one has overtaken it.
    pub(crate) fn command(&self, change: Change) -> Option<WorkerCommand> {
        Some(match change {
            Change::IngressOpened(id) => self.ingresses.command(id)?,
            Change::IngressClosed(ingress) => WorkerCommand::CloseIngress { ingress },
            Change::EgressOpened(id) => self.egresses.command(id)?,
            Change::EgressClosed(egress) => WorkerCommand::CloseEgress { egress },
            Change::RouteSet(id) => WorkerCommand::AddRule { route: self.route(id)?.clone() },
            Change::RouteGone(slot, id) => WorkerCommand::RemoveRule { slot, id },
        })
    }

    /// A command as a message of the present generation.
    pub(crate) fn encode(&self, command: WorkerCommand) -> Vec<u8> {
        worker::encode(&WorkerMessage { generation: self.position.generation, command })
    }

    /// The descriptor that goes to a worker with the command.
    pub(crate) fn descriptor(&self, change: Change, worker: WorkerId) -> Option<BorrowedFd<'_>> {
        match change {
            Change::IngressOpened(id) => self.ingresses.socket(id, worker),
            Change::EgressOpened(id) => self.egresses.socket(id, worker),
            _ => None,
        }
    }

    /// A worker was told of a change.
    pub(crate) fn mark_told(&self, change: Change, worker: WorkerId) {
        if let Change::IngressOpened(id) = change {
            self.ingresses.mark_handed(id, worker);
        }
    }

    /// Each change is one generation, because workers count them one by one to notice a loss.
    fn gained(&mut self, fingerprint: Fingerprint) {
        self.position.generation += 1;
        self.position.hash.add(fingerprint);
    }

    fn lost(&mut self, fingerprint: Fingerprint) {
        self.position.generation += 1;
        self.position.hash.remove(fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcr_core::ids::{IfIndex, OutputSlot};
    use mcr_core::route::{RouteKey, RouteOutput, StateHash, Via};

    fn route(id: u64, port: u16) -> Route {
        Route {
            id: RuleId(id),
            slot: RuleSlot(id as u32),
            key: RouteKey { ifindex: IfIndex(1), address: [239, 0, 0, 1].into(), port },
            source: None,
            outputs: vec![RouteOutput {
                slot: OutputSlot(0),
                destination: "239.0.0.2:1".parse().unwrap(),
                via: Via::Egress(EgressId(1)),
            }],
        }
    }

    #[test]
    fn each_change_is_a_generation_and_the_hash_is_of_what_is_left() {
        let mut holdings = Holdings::new(vec![0]);
        assert_eq!(holdings.set_route(route(1, 1)), Change::RouteSet(RuleId(1)));
        let one = holdings.position();
        holdings.set_route(route(2, 2));
        holdings.set_route(route(2, 3));
        assert_eq!(holdings.position().generation, 3);
        assert_eq!(
            holdings.remove_route(RuleId(2)),
            Some(Change::RouteGone(RuleSlot(2), RuleId(2)))
        );
        assert_eq!(holdings.position(), Position { generation: 4, ..one });
        assert_eq!(holdings.remove_route(RuleId(2)), None);
        holdings.remove_route(RuleId(1));
        assert_eq!(holdings.position().hash, StateHash::default());
    }

    #[test]
    fn a_change_that_was_overtaken_has_no_command() {
        let mut holdings = Holdings::new(vec![0]);
        let set = holdings.set_route(route(1, 1));
        assert!(holdings.command(set).is_some());
        let gone = holdings.remove_route(RuleId(1)).unwrap();
        assert_eq!(holdings.command(set), None);
        assert!(holdings.command(gone).is_some());
    }
}
