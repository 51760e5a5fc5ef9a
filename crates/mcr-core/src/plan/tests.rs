use std::collections::BTreeMap;

use super::*;
use crate::ids::{EgressId, IfIndex, OutputSlot, RuleId, RuleSlot};
use crate::interfaces::{Interface, Interfaces, LinkLayer};
use crate::route::{Route, Via};
use crate::rule::{InputKey, OutputOptions, Rule};
use crate::rule_set::DeclaredRule;
use crate::verdict::EgressError;

mod events;

fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
    Interface {
        index: IfIndex(index),
        name: name.parse().unwrap(),
        link: Some(LinkLayer::Ethernet),
        alternatives: Vec::new(),
        networks: Vec::new(),
        hardware: None,
        mtu: 1500,
        up: true,
        carrier: true,
        controller: None,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    }
}

fn rule(input: &str, outputs: &[&str]) -> Rule {
    let output = |text: &&str| text.parse::<crate::endpoint::Endpoint>().unwrap().into();
    Rule {
        name: None,
        input: InputKey { endpoint: input.parse().unwrap(), source: None },
        outputs: outputs.iter().map(output).collect(),
        exclusive: false,
    }
}

fn declared(rule: Rule) -> DeclaredRule {
    DeclaredRule {
        id: RuleId(7),
        slot: RuleSlot(3),
        outputs: 20..20 + rule.outputs.len() as u32,
        rule,
    }
}

/// One set of egress sockets that serves every key, for tests that do not look at keys.
const ANY_EGRESS: fn(&EgressKey) -> Option<EgressId> = |_| Some(EgressId(5));

fn vias(route: &Route) -> Vec<Via> {
    route.outputs.iter().map(|output| output.via).collect()
}

/// Carries a plan's steps out, and holds each against what no step may do.
fn execute(actions: &[Action], held: &mut BTreeSet<Resource>) {
    for action in actions {
        match action {
            Action::Release(resource) => assert!(held.remove(resource), "released twice"),
            Action::Acquire(resource) => {
                assert!(held.insert(resource.clone()), "acquired twice");
                match resource {
                    Resource::Ingress(key) => {
                        assert_eq!(rings(held).get(&key.ifindex), Some(&1), "frames seen twice");
                    }
                    Resource::Exclusion(new) => check_exclusion(new, held),
                    _ => {}
                }
            }
        }
    }
}

/// The kernel has one place for what a rule takes, and nothing may end that no ring takes.
fn check_exclusion(new: &Exclusion, held: &BTreeSet<Resource>) {
    let place = |e: &Exclusion| (e.ifindex, e.address, e.port, e.source);
    let exclusions = held.iter().filter_map(|resource| match resource {
        Resource::Exclusion(entry) => Some(entry),
        _ => None,
    });
    let there = exclusions.filter(|entry| place(entry) == place(new)).count();
    assert_eq!(there, 1, "{new:?} is in another's place");
    assert_eq!(rings(held).get(&new.ifindex), Some(&1), "{new:?} ends what no ring takes");
}

/// How many ingress resources each interface number has.
fn rings(held: &BTreeSet<Resource>) -> BTreeMap<IfIndex, usize> {
    let mut rings = BTreeMap::new();
    for resource in held {
        if let Resource::Ingress(key) = resource {
            *rings.entry(key.ifindex).or_insert(0) += 1;
        }
    }
    rings
}

#[test]
fn a_rule_needs_membership_ring_and_sockets() {
    let interfaces: Interfaces =
        [interface(2, "in", &[]), interface(3, "out", &["10.0.0.1"])].into_iter().collect();
    let mut rule = rule("239.1.1.1:5000@in", &["239.2.2.2:6000@out", "10.0.0.9:7000@out"]);
    rule.input.source = Some([10, 9, 9, 9].into());
    let egress = EgressKey {
        ifindex: IfIndex(3),
        interface: "out".parse().unwrap(),
        source: [10, 0, 0, 1].into(),
        source_port: None,
        ttl: 64,
        dscp: 0,
        multicast_loop: false,
        hardware: None,
        mtu: 1500,
    };
    let expected = [
        Resource::Membership(Membership {
            ifindex: IfIndex(2),
            group: [239, 1, 1, 1].into(),
            source: rule.input.source,
        }),
        Resource::Ingress(IngressKey {
            ifindex: IfIndex(2),
            interface: "in".parse().unwrap(),
            link: LinkLayer::Ethernet,
            class: RingClass::Small,
        }),
        Resource::Egress(egress.clone()),
        // The exception, should another rule take the group from any source, and exclusively.
        Resource::Exclusion(Exclusion {
            ifindex: IfIndex(2),
            interface: "in".parse().unwrap(),
            link: LinkLayer::Ethernet,
            address: [239, 1, 1, 1].into(),
            port: 5000,
            source: rule.input.source,
            fate: Fate::GoesOn,
        }),
    ];
    let demand = demand(&rule, &interfaces);
    assert_eq!((&demand.resources[..], &demand.pending[..]), (&expected[..], &[][..]));

    let held = |key: &EgressKey| (*key == egress).then_some(EgressId(5));
    let route = route(&declared(rule.clone()), &interfaces, held).unwrap();
    assert_eq!((route.id, route.slot, route.source), (RuleId(7), RuleSlot(3), rule.input.source));
    assert_eq!((route.key.ifindex, route.key.port), (IfIndex(2), 5000));
    assert_eq!(route.outputs[1].slot, OutputSlot(21));
    assert_eq!(route.outputs[1].destination, "10.0.0.9:7000".parse().unwrap());
    assert_eq!(vias(&route), [Via::Egress(EgressId(5)); 2]);
}

#[test]
fn a_unicast_input_takes_no_port() {
    let rule = rule("10.0.0.1:5000@in", &["239.2.2.2:6000@in"]);
    let up = interface(2, "in", &["10.0.0.1"]);
    let down = Interface { up: false, ..up.clone() };
    let demand = |interface| demand(&rule, &[interface].into_iter().collect());
    let of_input = |r: &Resource| !matches!(r, Resource::Egress(_) | Resource::Ingress(_));
    assert!(!demand(up).resources.iter().any(of_input));
    assert!(!demand(down).is_pending, "its outputs' sockets stay");
}

/// The entries that a rule asks for, as source and fate.
fn exclusions(rule: &Rule, interfaces: &Interfaces) -> Vec<(bool, Fate)> {
    let resources = demand(rule, interfaces).resources;
    let exclusions = resources.iter().filter_map(|resource| match resource {
        Resource::Exclusion(entry) => Some((entry.source.is_some(), entry.fate)),
        _ => None,
    });
    exclusions.collect()
}

#[test]
fn only_an_exclusive_rule_ends_what_it_takes() {
    let up = interface(2, "in", &["10.0.0.1"]);
    let down = Interface { up: false, ..up.clone() };
    let (up, down) = ([up].into_iter().collect(), [down].into_iter().collect());
    let mut rule = rule("239.1.1.1:5000@in", &["239.2.2.2:6000@in"]);
    assert_eq!(exclusions(&rule, &up), []);
    rule.exclusive = true;
    assert_eq!(exclusions(&rule, &up), [(false, Fate::Ends)]);
    assert_eq!(exclusions(&rule, &down), [], "nothing is taken there");
    assert_eq!(exclusions(&rule, &Interfaces::default()), []);
    rule.input.source = Some([10, 9, 9, 9].into());
    assert_eq!(exclusions(&rule, &up), [(true, Fate::Ends)]);
    rule.exclusive = false;
    assert_eq!(exclusions(&rule, &up), [(true, Fate::GoesOn)]);
}

#[test]
fn a_rule_without_its_input_interface_waits() {
    let missing = [interface(3, "out", &[])].into_iter().collect();
    let rule = rule("239.1.1.1:5000@in", &["239.2.2.2:6000@out"]);
    let found = demand(&rule, &missing);
    assert!(found.is_pending && found.resources.is_empty());
    let text: Vec<String> = found.pending.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "interface in does not exist",
            "interface out has no IPv4 address to send to 239.2.2.2:6000 from"
        ]
    );
    assert_eq!(route(&declared(rule.clone()), &missing, ANY_EGRESS), None);

    let unreadable = Interface { link: None, ..interface(2, "in", &[]) };
    let unreadable = [unreadable].into_iter().collect();
    let found = demand(&rule, &unreadable);
    assert!(found.is_pending);
    assert!(found.pending.contains(&Pending::UnreadableLink("in".parse().unwrap())));
    assert_eq!(route(&declared(rule), &unreadable, ANY_EGRESS), None);
}

#[test]
fn an_interface_that_is_down_keeps_all_but_its_ring() {
    let down = Interface { up: false, ..interface(2, "in", &["10.0.0.1"]) };
    let interfaces = [down].into_iter().collect();
    let rule = rule("239.1.1.1:5000@in", &["239.2.2.2:6000@in"]);
    let demand = demand(&rule, &interfaces);
    assert_eq!(demand.pending, [Pending::InterfaceDown("in".parse().unwrap())]);
    assert!(!demand.is_pending);
    assert!(matches!(demand.resources[..], [Resource::Membership(_), Resource::Egress(_)]));
    let made = route(&declared(rule.clone()), &interfaces, ANY_EGRESS).unwrap();
    assert_eq!(vias(&made), [Via::Nothing(EgressError::InterfaceDown)]);

    let bare = Interface { up: false, ..interface(2, "in", &[]) };
    let interfaces = [bare].into_iter().collect();
    let demand = super::demand(&rule, &interfaces);
    assert_eq!(demand.pending, [Pending::InterfaceDown("in".parse().unwrap())]);
    let made = route(&declared(rule), &interfaces, ANY_EGRESS).unwrap();
    assert_eq!(vias(&made), [Via::Nothing(EgressError::InterfaceDown)]);
}

#[test]
fn without_a_carrier_nothing_is_given_up_and_nothing_sent() {
    let with = |carrier| {
        let eth0 = Interface { carrier, ..interface(2, "eth0", &["10.0.0.1"]) };
        [eth0].into_iter().collect::<Interfaces>()
    };
    let rule = rule("239.1.1.1:5000@eth0", &["239.2.2.2:6000@eth0"]);
    let (found, whole) = (demand(&rule, &with(false)), demand(&rule, &with(true)));
    assert_eq!(found.resources, whole.resources, "a flap costs no socket");
    assert_eq!(found.pending, [Pending::NoCarrier("eth0".parse().unwrap())]);
    assert!(!found.hears && whole.hears && whole.pending.is_empty());
    let via = |interfaces| vias(&route(&declared(rule.clone()), &interfaces, ANY_EGRESS).unwrap());
    assert_eq!(via(with(false)), [Via::Nothing(EgressError::NoCarrier)]);
    assert_eq!(via(with(true)), [Via::Egress(EgressId(5))]);
}

#[test]
fn an_output_that_waits_holds_up_no_other() {
    let interfaces: Interfaces =
        [interface(2, "in", &["10.0.0.1"]), interface(3, "bare", &["fd00::1"])]
            .into_iter()
            .collect();
    let outputs = ["10.0.0.9:1@gone", "10.0.0.9:1@bare", "10.0.0.9:1@in"];
    let rule = rule("239.1.1.1:5000@in", &outputs);
    let demand = demand(&rule, &interfaces);
    assert_eq!(demand.resources.len(), 3, "membership, ring, one egress: {demand:?}");
    assert_eq!(demand.pending.len(), 2);
    let made = route(&declared(rule.clone()), &interfaces, ANY_EGRESS).unwrap();
    assert_eq!(
        vias(&made),
        [
            Via::Nothing(EgressError::NoInterface),
            Via::Nothing(EgressError::NoAddress),
            Via::Egress(EgressId(5))
        ]
    );
    let without = route(&declared(rule), &interfaces, |_| None).unwrap();
    assert_eq!(vias(&without)[2], Via::Nothing(EgressError::NoSocket));
}

#[test]
fn a_port_is_joined_by_its_controller_too() {
    let port = Interface { controller: Some(IfIndex(9)), ..interface(2, "in", &["10.0.0.1"]) };
    let interfaces = [port, interface(9, "br", &[])].into_iter().collect();
    let found = demand(&rule("239.1.1.1:5000@in", &["239.2.2.2:6000@in"]), &interfaces);
    let joined: Vec<IfIndex> = found
        .resources
        .iter()
        .filter_map(|resource| match resource {
            Resource::Membership(membership) => Some(membership.ifindex),
            _ => None,
        })
        .collect();
    assert_eq!(joined, [IfIndex(2), IfIndex(9)]);
    assert_eq!(found.pending, [], "a group needs no answer from the network");

    let found = demand(&rule("239.1.1.1:5000@in", &["10.0.0.9:6000@in"]), &interfaces);
    let text: Vec<String> = found.pending.iter().map(ToString::to_string).collect();
    assert!(text.len() == 1 && text[0].contains("in is a port of br"), "{text:?}");
}

#[test]
fn the_source_given_needs_no_address_on_the_interface() {
    let interfaces = [interface(2, "in", &[])].into_iter().collect();
    let mut rule = rule("239.1.1.1:5000@in", &["10.0.0.9:1@in"]);
    rule.outputs[0].options.source = Some([192, 0, 2, 1].into());
    let demand = demand(&rule, &interfaces);
    assert_eq!(demand.pending, []);
    let sources: Vec<_> = demand
        .resources
        .iter()
        .filter_map(|resource| match resource {
            Resource::Egress(key) => Some(key.source.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(sources, ["192.0.2.1"]);
}

#[test]
fn keys_hold_all_that_sockets_depend_on() {
    let large =
        Interface { link: Some(LinkLayer::Ip), mtu: 9000, ..interface(2, "in", &["10.0.0.1"]) };
    let mut rule = rule("239.1.1.1:5000@in", &["239.2.2.2:6000@in"]);
    rule.outputs[0].options = OutputOptions {
        source: Some([10, 0, 0, 8].into()),
        source_port: Some(4000),
        ttl: 3,
        dscp: 46,
        multicast_loop: true,
    };
    let demand = demand(&rule, &[large].into_iter().collect());
    let ingress = Resource::Ingress(IngressKey {
        ifindex: IfIndex(2),
        interface: "in".parse().unwrap(),
        link: LinkLayer::Ip,
        class: RingClass::Jumbo,
    });
    let egress = Resource::Egress(EgressKey {
        ifindex: IfIndex(2),
        interface: "in".parse().unwrap(),
        hardware: None,
        source: [10, 0, 0, 8].into(),
        source_port: Some(4000),
        ttl: 3,
        dscp: 46,
        multicast_loop: true,
        mtu: 9000,
    });
    assert_eq!(demand.resources[1..], [ingress, egress]);
}

#[test]
fn steps_stand_in_the_order_that_loses_nothing() {
    let shared = rule("239.1.1.1:5000@in", &["10.0.0.9:1@in"]);
    let rule = Rule { exclusive: true, ..shared };
    let before = interface(2, "in", &["10.0.0.1"]);
    let after = Interface { mtu: 9000, index: IfIndex(4), ..before.clone() };
    let old = demand(&rule, &[before].into_iter().collect());
    let new = demand(&rule, &[after].into_iter().collect());
    let mut desired = Desired::default();
    desired.shift(&Demand::default(), &new);
    let held = old.resources.iter().cloned().collect();
    // In the order of resources, what is held stands before what takes its place.
    let changed = old.resources.iter().chain(&new.resources).cloned().collect();
    let plan = plan_for(&changed, &desired, &held);
    assert_eq!(plan, super::plan(&desired, &held));
    let place = |resources: &[Resource], kind: fn(&Resource) -> bool| {
        resources.iter().find(|resource| kind(resource)).unwrap().clone()
    };
    let ring = |resource: &Resource| matches!(resource, Resource::Ingress(_));
    let group = |resource: &Resource| matches!(resource, Resource::Membership(_));
    let sockets = |resource: &Resource| matches!(resource, Resource::Egress(_));
    let entry = |resource: &Resource| matches!(resource, Resource::Exclusion(_));
    assert_eq!(plan.before_routes, [Action::Acquire(place(&new.resources, sockets))]);
    assert_eq!(
        plan.after_routes,
        [
            Action::Release(place(&old.resources, entry)),
            Action::Release(place(&old.resources, ring)),
            Action::Acquire(place(&new.resources, ring)),
            Action::Acquire(place(&new.resources, group)),
            Action::Release(place(&old.resources, group)),
            Action::Acquire(place(&new.resources, entry)),
            Action::Release(place(&old.resources, sockets)),
        ]
    );
}
