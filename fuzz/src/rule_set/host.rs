//! What follows from the rules on a host: what is held for them, and what its worker is told.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Result, Unstructured};
use mcr_api::worker::{WorkerCommand, decode, encode, sync_chunks};
use mcr_core::ids::{EgressId, IfIndex, IngressId, RuleId, RuleSlot};
use mcr_core::interfaces::{Interface, Interfaces, LinkLayer};
use mcr_core::plan::{Action, Demand, Desired, EgressKey, IngressKey, Resource};
use mcr_core::plan::{demand, plan, plan_for, route};
use mcr_core::replica::{Replica, SocketSet, Stale};
use mcr_core::route::{Position, Route, StateHash};
use mcr_core::rule_set::RuleSet;

use crate::sample;

#[derive(Default)]
pub(super) struct Host {
    network: Vec<Interface>,
    interfaces: Interfaces,
    demands: BTreeMap<RuleId, Demand>,
    desired: Desired,
    held: BTreeSet<Resource>,
    ingresses: BTreeMap<IngressKey, IngressId>,
    egresses: BTreeMap<EgressKey, EgressId>,
    last_socket: u32,
    /// What the worker is to hold.
    routes: BTreeMap<RuleId, Route>,
    replica: Replica,
    generation: u64,
}

impl Host {
    /// An interface comes, changes or goes.
    pub(super) fn change_network(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let name = sample::interface(u)?;
        self.network.retain(|interface| interface.name != name);
        let index = IfIndex(u.int_in_range(1..=5)?);
        // The kernel gives no number twice.
        if u.ratio(4, 5)? && self.network.iter().all(|interface| interface.index != index) {
            self.network.push(Interface {
                index,
                name,
                link: *u.choose(&[Some(LinkLayer::Ethernet), Some(LinkLayer::Ip), None])?,
                alternatives: Vec::new(),
                networks: Vec::new(),
                hardware: if u.arbitrary()? { Some([2; 6]) } else { None },
                mtu: *u.choose(&[0, 576, 1_500, 9_000, u32::MAX])?,
                up: u.ratio(3, 4)?,
                carrier: u.ratio(3, 4)?,
                controller: if u.ratio(1, 4)? {
                    Some(IfIndex(u.int_in_range(1..=6)?))
                } else {
                    None
                },
                addresses: (0..u.int_in_range(0..=2)?)
                    .map(|_| sample::address(u))
                    .collect::<Result<_>>()?,
            });
        }
        self.interfaces = self.network.iter().cloned().collect();
        Ok(())
    }

    /// A worker comes that holds nothing, or one that went astray is told everything.
    pub(super) fn replace_worker(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if u.arbitrary()? {
            self.replica = Replica::default();
        } else {
            let address = (sample::address(u)?, 1).into();
            let astray = sample::route_of(u.int_in_range(0..=9)?, address, None, IfIndex(1));
            self.replica.route_set(astray.slot, astray.id, astray.fingerprint());
            self.replica.sockets_opened(SocketSet::Egress(EgressId(u.int_in_range(0..=99)?)));
        }
        self.synchronise(u.int_in_range(1..=4)?);
        Ok(())
    }

    /// Makes what is held, and what the worker holds, what the rules want now.
    pub(super) fn follow(&mut self, rules: &RuleSet) {
        let changed = self.shift(rules);
        let steps = plan_for(&changed, &self.desired, &self.held);
        assert_eq!(steps, plan(&self.desired, &self.held), "nothing else differs");
        self.take(&steps.before_routes);
        self.set_routes(rules);
        self.take(&steps.after_routes);
        assert!(plan(&self.desired, &self.held).is_empty(), "a plan leads where it should");
        assert!(self.desired.iter().eq(&self.held));
        self.check_routes();
        assert_eq!(self.replica.position(), Some(self.position()));
    }

    /// What each rule needs now; returns what is new and what is over.
    fn shift(&mut self, rules: &RuleSet) -> BTreeSet<Resource> {
        let now = rules.iter().map(|d| (d.id, demand(&d.rule, &self.interfaces)));
        let now: BTreeMap<_, _> = now.collect();
        let nothing = Demand::default();
        let before = std::mem::replace(&mut self.demands, now);
        let ids: BTreeSet<_> = before.keys().chain(self.demands.keys()).collect();
        let mut changed = BTreeSet::new();
        for id in ids {
            let old = before.get(id).unwrap_or(&nothing);
            let new = self.demands.get(id).unwrap_or(&nothing);
            changed.extend(self.desired.shift(old, new));
        }
        for resource in &changed {
            let demands = self.demands.values();
            let rules = demands.filter(|demand| demand.resources.contains(resource)).count();
            assert_eq!(self.desired.rules(resource) as usize, rules);
        }
        changed
    }

    fn take(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Acquire(resource) => self.acquire(resource),
                Action::Release(resource) => self.release(resource),
            }
        }
    }

    fn acquire(&mut self, resource: &Resource) {
        assert!(self.desired.contains(resource) && self.held.insert(resource.clone()));
        self.last_socket += 1;
        match resource {
            Resource::Ingress(key) => {
                let is_other = |other: &&IngressKey| other.ifindex == key.ifindex;
                let other = self.ingresses.keys().find(is_other);
                assert_eq!(other, None, "two rings would deliver each frame twice");
                self.ingresses.insert(key.clone(), IngressId(self.last_socket));
                self.replica.sockets_opened(SocketSet::Ingress(IngressId(self.last_socket)));
            }
            Resource::Egress(key) => {
                self.egresses.insert(key.clone(), EgressId(self.last_socket));
                self.replica.sockets_opened(SocketSet::Egress(EgressId(self.last_socket)));
            }
            _ => return,
        }
        self.changed();
    }

    fn release(&mut self, resource: &Resource) {
        assert!(!self.desired.contains(resource) && self.held.remove(resource));
        let set = match resource {
            Resource::Ingress(key) => self.ingresses.remove(key).map(SocketSet::Ingress),
            Resource::Egress(key) => self.egresses.remove(key).map(SocketSet::Egress),
            _ => return,
        };
        assert!(self.replica.sockets_closed(set.expect("it was held")));
        self.changed();
    }

    fn set_routes(&mut self, rules: &RuleSet) {
        let egress = |key: &EgressKey| self.egresses.get(key).copied();
        let is_pending = |id: RuleId| self.demands[&id].is_pending;
        let made = rules.iter().filter(|declared| !is_pending(declared.id));
        let made = made.filter_map(|d| Some((d.id, route(d, &self.interfaces, egress)?)));
        let made: BTreeMap<_, _> = made.collect();
        let before = std::mem::replace(&mut self.routes, made);
        // A slot that is used again must be free first.
        for (id, route) in &before {
            if !self.routes.contains_key(id) {
                assert!(self.replica.route_removed(route.slot, *id));
                self.changed();
            }
        }
        let changed: Vec<_> = self
            .routes
            .values()
            .filter(|route| before.get(&route.id) != Some(*route))
            .cloned()
            .collect();
        for route in changed {
            self.replica.route_set(route.slot, route.id, route.fingerprint());
            self.changed();
        }
    }

    /// Routes name only what is there, and all there is serves some rule.
    fn check_routes(&self) {
        use mcr_core::route::Via;
        for route in self.routes.values() {
            for output in &route.outputs {
                if let Via::Egress(id) = output.via {
                    assert!(self.egresses.values().any(|held| *held == id));
                }
            }
        }
        let slots: BTreeSet<RuleSlot> = self.routes.values().map(|route| route.slot).collect();
        assert_eq!(slots.len(), self.routes.len());
    }

    /// Tells everything, in messages as they are sent.
    fn synchronise(&mut self, at_once: usize) {
        self.replica.sync_begun();
        for message in sync_chunks(self.generation, self.routes.values().cloned()) {
            let WorkerCommand::SyncRules { routes } =
                decode(&encode(&message)).expect("it was just written").command
            else {
                panic!("{message:?}");
            };
            for route in routes {
                self.replica.route_set(route.slot, route.id, route.fingerprint());
            }
        }
        for set in self.sockets().collect::<Vec<_>>() {
            if !self.replica.name_sockets(set) {
                self.replica.sockets_opened(set);
            }
        }
        assert_eq!(self.replica.position(), None, "half a state is none");
        assert!(self.replica.sync_committed(self.position()));
        let mut dropped = Vec::new();
        while self.replica.sweep(at_once, |stale| dropped.push(stale)) {}
        let kept: BTreeSet<_> = self.sockets().collect();
        for stale in dropped {
            match stale {
                Stale::Route(slot) => assert!(self.routes.values().all(|r| r.slot != slot)),
                Stale::Sockets(set) => assert!(!kept.contains(&set)),
            }
        }
        assert_eq!(self.replica.position(), Some(self.position()));
    }

    fn sockets(&self) -> impl Iterator<Item = SocketSet> {
        let ingresses = self.ingresses.values().copied().map(SocketSet::Ingress);
        ingresses.chain(self.egresses.values().copied().map(SocketSet::Egress))
    }

    fn position(&self) -> Position {
        let mut hash = StateHash::default();
        self.routes.values().for_each(|route| hash.add(route.fingerprint()));
        self.sockets().for_each(|set| hash.add(set.fingerprint()));
        Position { generation: self.generation, hash }
    }

    fn changed(&mut self) {
        self.generation += 1;
        self.replica.change_done(self.generation);
    }
}
