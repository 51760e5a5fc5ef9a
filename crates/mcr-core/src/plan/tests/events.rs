//! Whatever comes, in whatever order: the plan ends where the rules and the interfaces say.

use proptest::prelude::*;

use super::*;
use crate::endpoint::{Endpoint, InterfaceName};
use crate::rule::Output;
use crate::rule_set::RuleSet;

const NAMES: [&str; 4] = ["eth0", "eth1", "tun0", "wg0"];

fn name() -> impl Strategy<Value = InterfaceName> {
    prop::sample::select(&NAMES[..]).prop_map(|name| name.parse().unwrap())
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let addresses = ["239.0.0.1", "239.0.0.2", "10.0.0.1", "ff3e::1", "ff02::9", "fd00::1"];
    let address = prop::sample::select(addresses.to_vec());
    (address, 1..4_u16, name()).prop_map(|(address, port, interface)| Endpoint {
        address: address.parse().unwrap(),
        port,
        interface,
    })
}

fn output() -> impl Strategy<Value = Output> {
    let source_port = prop::option::weighted(0.2, Just(4000));
    (endpoint(), any::<bool>(), source_port, 1..3_u8).prop_map(
        |(endpoint, own_source, source_port, ttl)| {
            let source = if endpoint.address.is_ipv4() { "192.0.2.1" } else { "fd00::2" };
            let options = OutputOptions {
                source: own_source.then(|| source.parse().unwrap()),
                source_port,
                ttl,
                ..OutputOptions::default()
            };
            Output { endpoint, options }
        },
    )
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let source = prop::option::weighted(0.3, 1..3_u8);
    let outputs = prop::collection::vec(output(), 1..5);
    let rule = (endpoint(), source, outputs, any::<bool>());
    rule.prop_map(|(endpoint, source, outputs, exclusive)| Rule {
        name: None,
        input: InputKey {
            source: source.filter(|_| endpoint.address.is_ipv4()).map(|s| [10, 9, 9, s].into()),
            endpoint,
        },
        outputs,
        exclusive,
    })
}

fn number() -> impl Strategy<Value = IfIndex> {
    (1..=NAMES.len() as u32).prop_map(IfIndex)
}

/// What befell interfaces of any number: nothing, mostly.
fn any_incidents() -> impl Strategy<Value = Incidents> {
    let some = || prop::collection::btree_set(number(), 0..3);
    let incidents = |(gone, disordered, stuck)| Incidents { gone, disordered, stuck };
    (some(), some(), some()).prop_map(incidents)
}

/// Any state of one interface but its name and number.
fn any_interface() -> impl Strategy<Value = Interface> {
    let link = prop::sample::select(vec![Some(LinkLayer::Ethernet), Some(LinkLayer::Ip), None]);
    let mtu = prop::sample::select(vec![1500, 1600, 9000]);
    let addresses = prop::sample::subsequence(vec!["10.0.0.1", "fe80::1", "fd00::1"], 0..=3);
    let controller = prop::option::weighted(0.2, number());
    let state = (link, mtu, any::<bool>(), any::<bool>(), controller, addresses);
    state.prop_map(|(link, mtu, up, carrier, controller, addresses)| {
        let plain = interface(0, "any", &addresses);
        Interface { link, mtu, up, carrier, controller, ..plain }
    })
}

/// Some of the interfaces, numbered in any order: they come, go, are renamed and swapped.
fn any_interfaces() -> impl Strategy<Value = Interfaces> {
    let states = prop::collection::vec(prop::option::of(any_interface()), NAMES.len());
    let numbers = Just((1..=NAMES.len() as u32).collect::<Vec<_>>()).prop_shuffle();
    (states, numbers).prop_map(|(states, numbers)| {
        let numbered = states.into_iter().zip(numbers).zip(NAMES);
        numbered
            .filter_map(|((state, number), name)| {
                let (index, name) = (IfIndex(number), name.parse().unwrap());
                state.map(|state| Interface { index, name, ..state })
            })
            .collect()
    })
}

#[derive(Clone, Debug)]
enum Event {
    Add(Rule),
    Remove(prop::sample::Index),
    Network(Interfaces, Incidents),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => any_rule().prop_map(Event::Add),
        1 => any::<prop::sample::Index>().prop_map(Event::Remove),
        1 => (any_interfaces(), any_incidents())
            .prop_map(|(interfaces, incidents)| Event::Network(interfaces, incidents)),
    ]
}

/// A supervisor, and a kernel that grants everything.
#[derive(Default)]
struct Host {
    rules: RuleSet,
    interfaces: Interfaces,
    demands: BTreeMap<RuleId, Demand>,
    desired: Desired,
    held: BTreeSet<Resource>,
    /// What the kernel has for it, which is less than is held after incidents.
    kernel: BTreeSet<Resource>,
}

impl Host {
    /// Takes an event and does the least that it calls for.
    fn take(&mut self, event: Event) {
        let affected: BTreeSet<RuleId> = match event {
            Event::Add(rule) => self.rules.add(rule).into_iter().map(|added| added.id).collect(),
            Event::Remove(_) if self.rules.is_empty() => return,
            Event::Remove(which) => {
                let place = which.index(self.rules.len());
                let id = self.rules.iter().nth(place).unwrap().id;
                self.rules.remove(id);
                [id].into()
            }
            Event::Network(interfaces, incidents) => {
                return self.observe(interfaces, &incidents);
            }
        };
        let changed = affected.into_iter().flat_map(|id| self.shift(id)).collect();
        let plan = plan_for(&changed, &self.desired, &self.held);
        self.carry_out(&plan);
    }

    fn observe(&mut self, interfaces: Interfaces, incidents: &Incidents) {
        let Incidents { gone, disordered, stuck } = incidents;
        self.kernel.retain(|resource| match resource {
            Resource::Ingress(key) => {
                ![gone, disordered, stuck].iter().any(|lost| lost.contains(&key.ifindex))
            }
            Resource::Membership(membership) => !gone.contains(&membership.ifindex),
            Resource::Exclusion(entry) => !gone.contains(&entry.ifindex),
            Resource::Egress(_) => true,
        });
        let lost = lost(incidents, &self.held);
        self.execute(&lost);
        let before = std::mem::replace(&mut self.interfaces, interfaces);
        let affected: BTreeSet<RuleId> = NAMES
            .map(|name| name.parse().unwrap())
            .iter()
            .filter(|name| before.named(name) != self.interfaces.named(name))
            .flat_map(|name| self.rules.on_interface(name))
            .collect();
        for id in affected {
            self.shift(id);
        }
        let plan = plan(&self.desired, &self.held);
        self.carry_out(&plan);
    }

    fn execute(&mut self, actions: &[Action]) {
        execute(actions, &mut self.held);
        for action in actions {
            match action {
                // It may have gone by itself.
                Action::Release(resource) => _ = self.kernel.remove(resource),
                Action::Acquire(resource) => assert!(self.kernel.insert(resource.clone())),
            }
        }
    }

    fn shift(&mut self, id: RuleId) -> Vec<Resource> {
        let declared = self.rules.get(id);
        let new = declared.map(|declared| demand(&declared.rule, &self.interfaces));
        let old = self.demands.remove(&id).unwrap_or_default();
        let changed = self.desired.shift(&old, new.as_ref().unwrap_or(&Demand::default()));
        self.demands.extend(new.map(|new| (id, new)));
        changed
    }

    fn carry_out(&mut self, plan: &Plan) {
        self.execute(&plan.before_routes);
        self.check_routes();
        self.execute(&plan.after_routes);
        // What the routes name is still there when the plan is done.
        self.check_routes();
    }

    /// Every route finds sockets for each output that can have any, and names none but those that
    /// the rule's demand lists.
    fn check_routes(&self) {
        for declared in self.rules.iter() {
            let demanded = &self.demands[&declared.id].resources;
            let egress = |key: &EgressKey| {
                let resource = Resource::Egress(key.clone());
                assert!(demanded.contains(&resource), "{key:?} is not in {demanded:?}");
                self.held.contains(&resource).then_some(EgressId(0))
            };
            let route = route(declared, &self.interfaces, egress);
            assert_eq!(route.is_none(), self.demands[&declared.id].is_pending);
            let vias: Vec<Via> = route.iter().flat_map(vias).collect();
            assert!(!vias.contains(&Via::Nothing(EgressError::NoSocket)));
        }
    }
}

/// What all rules need, gathered without counting.
fn needed(rules: &RuleSet, interfaces: &Interfaces) -> BTreeSet<Resource> {
    let demands = rules.iter().map(|declared| demand(&declared.rule, interfaces));
    demands.flat_map(|demand| demand.resources).collect()
}

fn host(events: Vec<Event>) -> Host {
    let mut host = Host::default();
    for event in events {
        host.take(event);
    }
    host
}

/// The same rules and interfaces with nothing shifted or held yet.
fn counted_anew(host: &Host) -> Desired {
    let mut desired = Desired::default();
    for declared in host.rules.iter() {
        desired.shift(&Demand::default(), &demand(&declared.rule, &host.interfaces));
    }
    desired
}

proptest! {
    #[test]
    fn every_event_leads_to_what_is_needed(events in prop::collection::vec(event(), 1..40)) {
        let mut host = Host::default();
        for event in events {
            host.take(event);
            prop_assert_eq!(&host.held, &needed(&host.rules, &host.interfaces));
            prop_assert_eq!(&host.kernel, &host.held);
            prop_assert_eq!(&host.desired, &counted_anew(&host));
            prop_assert!(plan(&host.desired, &host.held).is_empty());
        }
        let mut at_once = BTreeSet::new();
        let full = plan(&host.desired, &at_once);
        execute(&full.before_routes, &mut at_once);
        execute(&full.after_routes, &mut at_once);
        prop_assert_eq!(at_once, host.held);
    }

    #[test]
    fn no_order_ends_elsewhere(
        rules in prop::collection::vec(any_rule(), 1..12),
        networks in prop::collection::vec((any_interfaces(), any_incidents()), 0..6),
        last in any_interfaces(),
        order in Just((0..18).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        // Only those that are no reason to refuse each other.
        let mut set = RuleSet::default();
        let rules = rules.into_iter().filter(|rule| set.add(rule.clone()).is_ok_and(|a| a.created));
        let mut events: Vec<Event> = rules.map(Event::Add).collect();
        events.extend(networks.into_iter().map(|(now, befell)| Event::Network(now, befell)));
        let then = Event::Network(last, Incidents::default());
        let shuffled = order.into_iter().filter_map(|at| events.get(at).cloned());
        let one = host(shuffled.chain([then.clone()]).collect());
        let other = host(events.into_iter().chain([then]).collect());
        prop_assert_eq!(one.rules.len(), other.rules.len());
        prop_assert_eq!(&one.desired, &other.desired);
        prop_assert_eq!(&one.held, &other.held);
        prop_assert_eq!(&one.kernel, &other.kernel);
    }

    #[test]
    fn what_was_refused_is_had_by_the_next_plan_that_may(
        events in prop::collection::vec(event(), 1..20),
        coins in prop::collection::vec(any::<bool>(), 64),
    ) {
        let desired = host(events).desired;
        let mut held = BTreeSet::new();
        let mut coins = coins.into_iter().cycle();
        let refusing = plan(&desired, &held);
        for action in refusing.before_routes.iter().chain(&refusing.after_routes) {
            if let (Action::Acquire(resource), Some(true)) = (action, coins.next()) {
                held.insert(resource.clone());
            }
        }
        let again = plan(&desired, &held);
        let missing = desired.iter().filter(|resource| !held.contains(resource)).count();
        prop_assert_eq!(again.before_routes.len() + again.after_routes.len(), missing);
        execute(&again.before_routes, &mut held);
        execute(&again.after_routes, &mut held);
        prop_assert!(held.iter().eq(desired.iter()));
        prop_assert!(plan(&desired, &held).is_empty());
    }

    #[test]
    fn what_incidents_leave_is_what_does_not_end_with_an_interface(
        events in prop::collection::vec(event(), 1..30),
        incidents in any_incidents(),
    ) {
        let mut held = host(events).held;
        let before = held.clone();
        execute(&lost(&incidents, &held), &mut held);
        for resource in before.difference(&held) {
            let ifindex = resource.ends_with().unwrap();
            let ring = matches!(resource, Resource::Ingress(_));
            let befell = incidents.gone.contains(&ifindex)
                || ring && [&incidents.disordered, &incidents.stuck]
                    .iter()
                    .any(|lost| lost.contains(&ifindex));
            prop_assert!(befell, "{resource:?} was given up for nothing");
        }
        prop_assert!(lost(&incidents, &held).is_empty());
    }

    #[test]
    fn one_plan_leads_from_anywhere_to_what_is_desired(
        before in prop::collection::vec(event(), 1..30),
        now in prop::collection::vec(event(), 1..30),
        kept in prop::collection::vec(any::<bool>(), 64),
    ) {
        // What is held is what another history left, less a part that failed to be acquired.
        let held = host(before).held.into_iter().zip(kept.into_iter().cycle());
        let mut held = held.filter_map(|(resource, kept)| kept.then_some(resource)).collect();
        let desired = host(now).desired;
        let first = plan(&desired, &held);
        execute(&first.before_routes, &mut held);
        execute(&first.after_routes, &mut held);
        prop_assert!(held.iter().eq(desired.iter()));
        prop_assert_eq!(plan(&desired, &held), Plan::default());
    }

    #[test]
    fn a_rules_demand_is_sorted_and_single(rule in any_rule(), interfaces in any_interfaces()) {
        let Demand { resources, pending, .. } = demand(&rule, &interfaces);
        prop_assert!(resources.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(pending.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
