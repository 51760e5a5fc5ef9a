//! What every worker must hold, with the sockets to hand out: what commands and synchronisations
//! are made from, and what ledgers are compared with.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::fd::BorrowedFd;

use mcr_api::worker::{self, WorkerCommand, WorkerMessage};
use mcr_core::ids::{EgressId, IngressId, RuleId, RuleSlot, WorkerId};
use mcr_core::plan::{EgressKey, IngressKey};
use mcr_core::route::{Fingerprint, Kind, Position, Route, StateHash};
use mcr_core::steering::{Shares, Steering};
use mcr_sys::filter::Program;

use crate::hands::Hands;
use crate::resources::Refusal;
use crate::resources::egress::Egresses;
use crate::resources::ingress::{Ingresses, Opened, Opening, RingPlace};
use crate::rings::Rings;

/// One step of the workers' state, and the generation that it led to. Small: the command itself is
/// made when it is sent, so that what waits does not take memory for its routes, and is not old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    IngressOpened(IngressId),
    IngressClosed(IngressId),
    EgressOpened(EgressId),
    EgressClosed(EgressId),
    RouteSet(RuleId),
    /// Also whose route it was, where not everybody's.
    RouteGone(RuleSlot, RuleId, Option<WorkerId>),
}

/// The routes and sockets.
#[derive(Debug)]
pub(crate) struct Holdings {
    shares: Shares,
    /// One for all workers: who has no share in a change is told so, and counts it, too.
    generation: u64,
    /// Of what each worker is to hold.
    hashes: Vec<StateHash>,
    routes: BTreeMap<RuleId, Route>,
    pub(crate) ingresses: Ingresses,
    pub(crate) egresses: Egresses,
}

impl Holdings {
    /// Nothing, for workers on these cores.
    pub(crate) fn new(steering: Steering, cores: &[usize], rings: Rings, hands: Hands) -> Self {
        let shares = Shares::new(steering, cores);
        let program = steering_program(&shares, cores);
        Self {
            generation: 0,
            hashes: vec![StateHash::default(); cores.len()],
            routes: BTreeMap::new(),
            egresses: Egresses::new(cores.len()),
            ingresses: Ingresses::new(cores.len(), program, rings, hands),
            shares,
        }
    }

    /// Nothing, and nobody to open sockets.
    #[cfg(test)]
    pub(crate) fn alone(steering: Steering, cores: &[usize]) -> Self {
        let (events, _) = tokio::sync::mpsc::channel(1);
        Self::new(steering, cores, Rings::default(), Hands::new(events))
    }

    /// How frames, and with them routes, are divided among the workers.
    pub(crate) fn steering(&self) -> Steering {
        self.shares.steering()
    }

    /// How many changes led here.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Generation and hash of what a worker is to hold.
    pub(crate) fn position(&self, worker: WorkerId) -> Position {
        let hash = self.hashes.get(worker.0 as usize).copied().unwrap_or_default();
        Position { generation: self.generation, hash }
    }

    /// The only worker that a change is for; `None`: it is for all.
    pub(crate) fn owner(&self, change: Change) -> Option<WorkerId> {
        match change {
            Change::RouteSet(id) => self.owner_of(self.route(id)?),
            Change::RouteGone(_, _, owner) => owner,
            _ => None,
        }
    }

    fn owner_of(&self, route: &Route) -> Option<WorkerId> {
        self.shares.owner(route.key.address, route.key.port)
    }

    pub(crate) fn route(&self, id: RuleId) -> Option<&Route> {
        self.routes.get(&id)
    }

    /// A worker's routes after that of a rule, in the order of ids.
    pub(crate) fn routes_after(
        &self,
        id: Option<RuleId>,
        worker: WorkerId,
    ) -> impl Iterator<Item = &Route> {
        let after = id.map_or(Bound::Unbounded, Bound::Excluded);
        let routes = self.routes.range((after, Bound::Unbounded)).map(|(_, route)| route);
        routes.filter(move |route| self.owner_of(route).is_none_or(|owner| owner == worker))
    }

    /// The sockets of an ingress are there.
    pub(crate) fn take_ingress(&mut self, opening: Opening, mtu: u32, opened: Opened) -> Change {
        let id = self.ingresses.finish_opening(opening, mtu, opened);
        self.gained(Fingerprint::of(Kind::Ingress, id.0), None);
        Change::IngressOpened(id)
    }

    pub(crate) fn close_ingress(&mut self, key: &IngressKey) -> Option<(Change, RingPlace)> {
        let ring = self.ingresses.close(key, self.generation + 1)?;
        self.lost(Fingerprint::of(Kind::Ingress, ring.id.0), None);
        Some((Change::IngressClosed(ring.id), ring))
    }

    pub(crate) fn open_egress(&mut self, key: &EgressKey) -> Result<Change, Refusal> {
        let id = self.egresses.open(key)?;
        self.gained(Fingerprint::of(Kind::Egress, id.0), None);
        Ok(Change::EgressOpened(id))
    }

    pub(crate) fn close_egress(&mut self, key: &EgressKey) -> Option<Change> {
        let id = self.egresses.close(key)?;
        self.lost(Fingerprint::of(Kind::Egress, id.0), None);
        Some(Change::EgressClosed(id))
    }

    /// Takes a route in, in place of the rule's former one.
    pub(crate) fn set_route(&mut self, route: Route) -> Change {
        let (id, fingerprint, owner) = (route.id, route.fingerprint(), self.owner_of(&route));
        if let Some(old) = self.routes.insert(id, route) {
            // A rule's destination never changes, so both are the same worker's.
            let gone = old.fingerprint();
            self.hashes_of(owner).for_each(|hash| hash.remove(gone));
        }
        self.gained(fingerprint, owner);
        Change::RouteSet(id)
    }

    pub(crate) fn remove_route(&mut self, id: RuleId) -> Option<Change> {
        let route = self.routes.remove(&id)?;
        let owner = self.owner_of(&route);
        self.lost(route.fingerprint(), owner);
        Some(Change::RouteGone(route.slot, id, owner))
    }

    /// The command that tells of a change; `None` where a later one has overtaken it.
    pub(crate) fn command(&self, change: Change) -> Option<WorkerCommand> {
        Some(match change {
            Change::IngressOpened(id) => self.ingresses.command(id)?,
            Change::IngressClosed(ingress) => WorkerCommand::CloseIngress { ingress },
            Change::EgressOpened(id) => self.egresses.command(id)?,
            Change::EgressClosed(egress) => WorkerCommand::CloseEgress { egress },
            Change::RouteSet(id) => WorkerCommand::AddRule { route: self.route(id)?.clone() },
            Change::RouteGone(slot, id, _) => WorkerCommand::RemoveRule { slot, id },
        })
    }

    /// A command as a message of the present generation.
    pub(crate) fn encode(&self, command: WorkerCommand) -> Vec<u8> {
        worker::encode(&WorkerMessage { generation: self.generation, command })
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
    fn gained(&mut self, fingerprint: Fingerprint, owner: Option<WorkerId>) {
        self.generation += 1;
        self.hashes_of(owner).for_each(|hash| hash.add(fingerprint));
    }

    fn lost(&mut self, fingerprint: Fingerprint, owner: Option<WorkerId>) {
        self.generation += 1;
        self.hashes_of(owner).for_each(|hash| hash.remove(fingerprint));
    }

    fn hashes_of(&mut self, owner: Option<WorkerId>) -> impl Iterator<Item = &mut StateHash> {
        let hashes = (0..).zip(&mut self.hashes);
        let concerned = hashes.filter(move |(place, _)| owner.is_none_or(|o| o.0 == *place));
        concerned.map(|(_, hash)| hash)
    }
}

fn steering_program(shares: &Shares, cores: &[usize]) -> Program {
    match shares.steering() {
        Steering::Cpu => Program::steer_by_cpu(cores),
        Steering::Hash => Program::steer_by_hash(shares.seeds()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcr_core::ids::{IfIndex, OutputSlot};
    use mcr_core::route::{RouteKey, RouteOutput, Via};

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
        let mut holdings = Holdings::alone(Steering::Cpu, &[0]);
        let position = |holdings: &Holdings| holdings.position(WorkerId(0));
        assert_eq!(holdings.set_route(route(1, 1)), Change::RouteSet(RuleId(1)));
        let one = position(&holdings);
        holdings.set_route(route(2, 2));
        holdings.set_route(route(2, 3));
        assert_eq!(holdings.generation(), 3);
        assert_eq!(
            holdings.remove_route(RuleId(2)),
            Some(Change::RouteGone(RuleSlot(2), RuleId(2), None))
        );
        assert_eq!(position(&holdings), Position { generation: 4, ..one });
        assert_eq!(holdings.remove_route(RuleId(2)), None);
        holdings.remove_route(RuleId(1));
        assert_eq!(position(&holdings).hash, StateHash::default());
    }

    #[test]
    fn a_change_that_was_overtaken_has_no_command() {
        let mut holdings = Holdings::alone(Steering::Cpu, &[0]);
        let set = holdings.set_route(route(1, 1));
        assert!(holdings.command(set).is_some());
        let gone = holdings.remove_route(RuleId(1)).unwrap();
        assert_eq!(holdings.command(set), None);
        assert!(holdings.command(gone).is_some());
    }

    #[test]
    fn by_hash_each_route_is_one_workers() {
        let workers = [WorkerId(0), WorkerId(1), WorkerId(2)];
        let mut holdings = Holdings::alone(Steering::Hash, &[0, 1, 2]);
        let mut positions = workers.map(|worker| holdings.position(worker));
        for id in 1..=60 {
            let change = holdings.set_route(route(id, id as u16));
            let owner = holdings.owner(change).unwrap();
            for (worker, before) in workers.into_iter().zip(&mut positions) {
                let now = holdings.position(worker);
                assert_eq!(now.generation, id);
                assert_eq!(now.hash != before.hash, worker == owner);
                *before = now;
            }
        }
        let ids = |worker| holdings.routes_after(None, worker).map(|route| route.id);
        let shares = workers.map(|worker| ids(worker).collect::<Vec<_>>());
        assert!(shares.iter().all(|share| share.len() > 5), "{shares:?}");
        assert_eq!(shares.concat().len(), 60);
        for id in 1..=60 {
            let owner = workers.into_iter().find(|w| shares[w.0 as usize].contains(&RuleId(id)));
            let gone = holdings.remove_route(RuleId(id)).unwrap();
            assert_eq!(holdings.owner(gone), owner);
        }
        assert!(workers.iter().all(|w| holdings.position(*w).hash == StateHash::default()));
    }
}
