//! Makes what is held what is desired: carries out the plans of `mcr_core::plan` after each change
//! of the rules or of the network.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mcr_api::control::EventKind;
use mcr_core::ids::{RuleId, WorkerId};
use mcr_core::interfaces::{Interface, Interfaces};
use mcr_core::plan::{self, Action, Demand, Incidents, Plan, Resource};
use mcr_core::route::Route;
use mcr_core::rule::Rule;
use mcr_core::rule_set::{Added, DeclaredRule, Difference, Refused};
use mcr_sys::ledger::LedgerReader;
use tracing::{debug, info};

use crate::conditions::title;
use crate::interfaces::changes::{self, Between, Change};
use crate::log::INTERFACES;
use crate::news;
use crate::resources::devices::Passages;
use crate::state::State;
use crate::workers::Workers;

impl State {
    /// Takes a rule in and does what it needs.
    pub(crate) fn add_rule(&mut self, rule: Rule, workers: &mut Workers) -> Result<Added, Refused> {
        let added = self.rules.add(rule)?;
        self.wanted_by_clients.insert(added.id);
        if added.created {
            if let Some(declared) = self.rules.get(added.id) {
                self.unreachable.watch(&declared.rule);
                self.tell_rule(EventKind::RuleAdded, declared);
            }
            self.reconcile_rules(&BTreeSet::from([added.id]), workers);
        }
        Ok(added)
    }

    /// Makes the rules that the configuration file states those that it states now. In one step, so
    /// that what a rule of before and one of now both need is not given up in between.
    pub(crate) fn take_difference(&mut self, difference: Difference, workers: &mut Workers) {
        let Difference { gone, new, kept } = difference;
        self.configured = kept;
        let mut changed = BTreeSet::new();
        for &id in &gone {
            if let Some(declared) = self.rules.remove(id) {
                self.unreachable.unwatch(&declared.rule);
                self.tell_rule(EventKind::RuleRemoved, &declared);
                changed.insert(id);
            }
        }
        for rule in new {
            self.unreachable.watch(&rule);
            let added = self.rules.add(rule).expect("the difference was tried out on these rules");
            self.configured.insert(added.id);
            if let Some(declared) = self.rules.get(added.id) {
                self.tell_rule(EventKind::RuleAdded, declared);
            }
            changed.insert(added.id);
        }
        self.reconcile_rules(&changed, workers);
        for id in gone {
            self.retained.forget_rule(id);
        }
    }

    /// Takes a rule out and gives up what it alone needed.
    pub(crate) fn remove_rule(
        &mut self,
        id: RuleId,
        workers: &mut Workers,
    ) -> Option<DeclaredRule> {
        let declared = self.rules.remove(id)?;
        self.unreachable.unwatch(&declared.rule);
        self.configured.remove(&id);
        self.wanted_by_clients.remove(&id);
        self.tell_rule(EventKind::RuleRemoved, &declared);
        self.reconcile_rules(&BTreeSet::from([id]), workers);
        self.retained.forget_rule(id);
        Some(declared)
    }

    /// The network is like this now.
    pub(crate) fn observe(&mut self, interfaces: Interfaces, workers: &mut Workers) {
        let Passages { gone, absent, were_down, ended } = self.devices.passages();
        self.hands.dispose_all(ended);
        // Those that went after they had been read.
        let interfaces = interfaces.without(&absent);
        let disordered = self.holdings.ingresses.disordered_among(&were_down);
        for interface in interfaces.iter().filter(|i| gone.contains(&i.index)) {
            let name = &interface.name;
            let message = format!("interface {name}: another one of the same number");
            info!(target: INTERFACES, interface = %name, "{message}");
        }
        self.tell_changes(&interfaces, Between { gone: &gone, were_down: &were_down });
        let incidents = Incidents { gone, disordered, ..Incidents::default() };
        let lost = plan::lost(&incidents, &self.held);
        let changed = differing(&self.interfaces, &interfaces);
        let addresses_differ = local_addresses(&self.interfaces) != local_addresses(&interfaces);
        if changed.is_empty() && lost.is_empty() {
            return;
        }
        self.hands.dispose_all(self.devices.keep(&interfaces));
        self.interfaces = interfaces;
        for action in lost {
            self.act(action, workers);
        }
        for interface in changed.iter().filter_map(|name| self.interfaces.named(name)) {
            self.problems.hurry(interface.index);
        }
        let mut rules: BTreeSet<RuleId> =
            changed.iter().flat_map(|name| self.rules.on_interface(name)).collect();
        if addresses_differ {
            rules.extend(self.rules.iter().filter(|d| is_unicast(&d.rule)).map(|d| d.id));
        }
        for &id in &rules {
            self.shift_demand(id);
        }
        let mut plan = plan::plan(&self.desired, &self.held);
        let rests = |action: &Action| match action {
            Action::Acquire(resource) => self.problems.rests(resource),
            Action::Release(_) => false,
        };
        plan.after_routes.retain(|action| !rests(action));
        self.carry_out(plan, &rules, workers);
    }

    /// Gives up the rings of interfaces where one takes nothing any more, and opens others.
    pub(crate) fn heal_rings(&mut self, workers: &mut Workers) {
        let due = self.stuck_rings.take_due(workers, &self.holdings.ingresses);
        if due.is_empty() {
            return;
        }
        for (worker, ring) in &due {
            let name = &ring.key.interface;
            let message = format_args!(
                "interface {name}: worker {worker}'s ring took no frames and is replaced"
            );
            self.news.tell(EventKind::RingStuck, news::interface(name), message);
        }
        let stuck = due.into_iter().map(|(_, ring)| ring.key.ifindex).collect();
        let incidents = Incidents { stuck, ..Incidents::default() };
        let before = self.held.clone();
        for action in plan::lost(&incidents, &before) {
            self.act(action, workers);
        }
        let given_up = before.difference(&self.held).cloned().collect();
        let plan = plan::plan_for(&given_up, &self.desired, &self.held);
        self.carry_out(plan, &BTreeSet::new(), workers);
    }

    /// Tells what has become of the interfaces that rules name.
    fn tell_changes(&self, after: &Interfaces, between: Between) {
        for change in changes::changes(&self.interfaces, after, between) {
            let Change { kind, name, renamed, message } = change;
            let known = [&self.interfaces, after].into_iter().filter_map(|all| all.named(&name));
            let mut names = known.flat_map(Interface::names).chain(renamed.as_ref());
            if names.any(|name| self.rules.on_interface(name).next().is_some()) {
                info!(target: INTERFACES, interface = %name, "{message}");
                self.news.tell(kind, news::interface(&name), message);
            } else {
                debug!(target: INTERFACES, interface = %name, "{message}");
            }
        }
    }

    /// The rules that name an interface, by whichever of its names.
    pub(crate) fn rules_on(&self, interface: &Interface) -> impl Iterator<Item = RuleId> {
        interface.names().flat_map(|name| self.rules.on_interface(name))
    }

    fn tell_rule(&self, kind: EventKind, declared: &DeclaredRule) {
        let what = if kind == EventKind::RuleAdded { "was added" } else { "was removed" };
        let message = format!("{} {what}", title(declared));
        self.news.tell(kind, news::rule(declared.id, &declared.rule), message);
    }

    /// Asks again for some of what was refused.
    pub(crate) fn retry(&mut self, workers: &mut Workers) {
        let due = self.problems.take_due();
        if due.is_empty() {
            return;
        }
        // A socket that an output waits for changes its rule's route.
        let mut rules = BTreeSet::new();
        for resource in &due {
            if let Resource::Egress(key) = resource {
                let interface = self.interfaces.named(&key.interface);
                rules.extend(interface.into_iter().flat_map(|i| self.rules_on(i)));
            }
        }
        let plan = plan::plan_for(&due, &self.desired, &self.held);
        self.carry_out(plan, &rules, workers);
    }

    /// Takes over what a dead worker had counted.
    pub(crate) fn keep_counters(&mut self, worker: WorkerId, ledger: &LedgerReader) {
        let rings = self.holdings.ingresses.rings();
        self.retained.keep_worker(worker, ledger, rings, self.rules.iter());
    }

    /// Gives back the ledgers' places of rings that every worker has closed by now.
    pub(crate) fn settle_rings(&mut self, workers: &Workers) {
        for place in self.retained.settle_rings(workers.positions()) {
            self.holdings.ingresses.give_back_place(place);
        }
        let reached = workers.positions().map(|(_, _, generation)| generation).min();
        self.holdings.ingresses.close_unread(reached.unwrap_or(u64::MAX));
    }

    /// Leaves every group, so that the network stops sending, and keeps nothing from this host's
    /// own network stack any more.
    pub(crate) fn leave_all(&mut self) {
        self.addresses.clear();
        self.exclusions.clear();
    }

    /// Closes what waits in the kernel while it closes; no worker is left that holds it.
    pub(crate) fn close_all(&mut self) {
        self.holdings.ingresses.close_all();
        self.hands.dispose_all(self.devices.take_all());
    }

    fn reconcile_rules(&mut self, ids: &BTreeSet<RuleId>, workers: &mut Workers) {
        let changed = ids.iter().flat_map(|id| self.shift_demand(*id)).collect();
        let plan = plan::plan_for(&changed, &self.desired, &self.held);
        self.carry_out(plan, ids, workers);
    }

    /// Counts what a rule needs now in place of what it needed before. Returns what was or is
    /// needed by no other.
    fn shift_demand(&mut self, id: RuleId) -> Vec<Resource> {
        let old = self.demands.remove(&id).unwrap_or_default();
        let declared = self.rules.get(id);
        let new = declared.map(|declared| plan::demand(&declared.rule, &self.interfaces));
        let changed = self.desired.shift(&old, new.as_ref().unwrap_or(&Demand::default()));
        if let Some(new) = new {
            self.demands.insert(id, new);
        }
        for resource in changed.iter().filter(|resource| !self.desired.contains(resource)) {
            self.problems.forget(resource);
        }
        changed
    }

    fn carry_out(&mut self, plan: Plan, rules: &BTreeSet<RuleId>, workers: &mut Workers) {
        for action in plan.before_routes {
            self.act(action, workers);
        }
        for &id in rules {
            self.route(id, workers);
        }
        for action in plan.after_routes {
            self.act(action, workers);
        }
        for id in rules {
            if let Some(demand) = self.demands.get(id) {
                self.asked.wait(*id, &demand.resources);
            }
        }
        self.tell_conditions(rules);
    }

    /// Has the workers carry out a rule as it is to be now, or not any more.
    fn route(&mut self, id: RuleId, workers: &mut Workers) {
        let declared = self.rules.get(id);
        let egresses = &self.holdings.egresses;
        let new = declared.and_then(|d| plan::route(d, &self.interfaces, |key| egresses.id(key)));
        let old = self.holdings.route(id).cloned();
        if old == new {
            return;
        }
        let wanted = new.as_ref().map(|route| route.key);
        let change = match new {
            Some(route) => Some(self.holdings.set_route(route)),
            None => self.holdings.remove_route(id),
        };
        if let Some(change) = change {
            workers.announce(change, &self.holdings);
        }
        self.watch_neighbours(id);
        // The workers are told first, or the first datagrams would find no rule.
        if let Some(key) = wanted {
            self.holdings.ingresses.want(key.ifindex, key.address, key.port);
        }
        if let Some(Route { key, .. }) = old {
            self.holdings.ingresses.unwant(key.ifindex, key.address, key.port);
        }
    }
}

/// The addresses that make a unicast input the host's own, on whichever interface.
fn local_addresses(interfaces: &Interfaces) -> BTreeSet<IpAddr> {
    let addresses = interfaces.iter().flat_map(|i| i.addresses.iter().copied());
    let broadcasts = interfaces.iter().flat_map(Interface::broadcasts).map(IpAddr::from);
    addresses.chain(broadcasts).collect()
}

fn is_unicast(rule: &Rule) -> bool {
    !rule.input.endpoint.address.is_multicast()
}

/// The names of the interfaces that are in one of both only, or not alike.
fn differing(
    before: &Interfaces,
    after: &Interfaces,
) -> BTreeSet<mcr_core::endpoint::InterfaceName> {
    let both = before.iter().chain(after.iter());
    let differ = both.filter(|i| before.named(&i.name) != after.named(&i.name));
    differ.flat_map(|interface| interface.names().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_alike_differs() {
        let interface = |name: &str, mtu| Interface {
            index: mcr_core::ids::IfIndex(1),
            name: name.parse().unwrap(),
            link: None,
            hardware: None,
            mtu,
            up: true,
            carrier: true,
            controller: None,
            addresses: Vec::new(),
            alternatives: Vec::new(),
            networks: Vec::new(),
        };
        let before =
            Interfaces::from_iter([interface("a", 1), interface("b", 1), interface("c", 1)]);
        let after =
            Interfaces::from_iter([interface("a", 1), interface("b", 2), interface("d", 1)]);
        let names: Vec<_> =
            differing(&before, &after).iter().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(names, ["b", "c", "d"]);
    }
}
