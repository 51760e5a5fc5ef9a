use super::*;
use crate::rule::{InvalidRule, Output};

mod model;

fn rule(input: &str, outputs: &[&str]) -> Rule {
    let output = |text: &&str| Output::from(text.parse::<Endpoint>().unwrap());
    Rule {
        name: None,
        input: InputKey { endpoint: input.parse().unwrap(), source: None },
        outputs: outputs.iter().map(output).collect(),
        exclusive: false,
    }
}

fn named(name: &str, rule: Rule) -> Rule {
    Rule { name: Some(name.parse().unwrap()), ..rule }
}

fn from(source: &str, mut rule: Rule) -> Rule {
    rule.input.source = Some(source.parse().unwrap());
    rule
}

/// A rule for the group 239.0.x.y with so many outputs.
fn wide(number: u16, outputs: u16) -> Rule {
    let [high, low] = number.to_be_bytes();
    let mut rule = rule(&format!("239.0.{high}.{low}:5000@in"), &[]);
    rule.outputs = (1..=outputs)
        .map(|port| Endpoint {
            address: [10, 0, 0, 1].into(),
            port,
            interface: "out".parse().unwrap(),
        })
        .map(Output::from)
        .collect();
    rule
}

#[test]
fn a_rule_is_found_until_it_is_removed() {
    let mut rules = RuleSet::default();
    let video =
        named("video", rule("239.1.1.1:5000@eth0", &["10.0.0.1:1@eth1", "10.0.0.2:1@eth1"]));
    let first = rules.add(video.clone()).unwrap();
    assert_eq!(first, Added { id: RuleId(1), created: true });
    let declared = rules.by_name(&"video".parse().unwrap()).unwrap().clone();
    assert_eq!(Some(&declared), rules.get(RuleId(1)));
    assert_eq!((declared.slot, declared.outputs.clone()), (RuleSlot(0), 0..2));
    assert_eq!(declared.output_slots().last(), Some(OutputSlot(1)));
    assert_eq!(rules.len(), 1);

    assert_eq!(rules.remove(RuleId(1)), Some(declared));
    assert_eq!(rules.remove(RuleId(1)), None);
    assert!(rules.is_empty() && rules.by_name(&"video".parse().unwrap()).is_none());
    let again = rules.add(video).unwrap();
    assert_eq!(again, Added { id: RuleId(2), created: true }, "ids are never used again");
    assert_eq!(rules.get(RuleId(2)).unwrap().slot, RuleSlot(0), "slots are");
}

#[test]
fn the_identical_rule_is_the_same_rule() {
    let mut rules = RuleSet::default();
    let added = rules.add(rule("239.1.1.1:5000@eth0", &["10.0.0.1:1@eth1", "10.0.0.2:1@eth1"]));
    let again = rules.add(rule("239.1.1.1:5000@eth0", &["10.0.0.2:1@eth1", "10.0.0.1:1@eth1"]));
    assert_eq!(again.unwrap(), Added { id: added.unwrap().id, created: false });
    assert_eq!(rules.len(), 1);
}

#[test]
fn conflicts_name_the_other_rule() {
    let mut rules = RuleSet::default();
    let input = "239.1.1.1:5000@eth0";
    rules.add(named("video", rule(input, &["10.0.0.1:1@eth1"]))).unwrap();
    let refused = rules.add(rule(input, &["10.0.0.2:1@eth1"])).unwrap_err();
    assert_eq!(refused.code(), "conflict");
    assert_eq!(refused.to_string(), "rule 1 (video) already takes 239.1.1.1:5000@eth0");

    rules.add(from("10.0.0.7", rule(input, &["10.0.0.2:1@eth1"]))).unwrap();
    let refused = rules.add(from("10.0.0.7", rule(input, &["10.0.0.3:1@eth1"]))).unwrap_err();
    assert_eq!(refused.to_string(), "rule 2 already takes 239.1.1.1:5000@eth0 from 10.0.0.7");

    let elsewhere = named("video", rule("239.1.1.1:5000@eth9", &["10.0.0.1:1@eth1"]));
    let refused = rules.add(elsewhere).unwrap_err();
    assert_eq!(refused.code(), "conflict");
    assert_eq!(refused.to_string(), "rule 1 already has the name video");
}

#[test]
fn an_invalid_rule_is_refused_before_all_else() {
    let refused = RuleSet::default().add(rule("239.1.1.1:5000@eth0", &[])).unwrap_err();
    assert_eq!(refused, Refused::Invalid(InvalidRule::NoOutput));
    assert_eq!(refused.code(), "invalid");
}

#[test]
fn a_chain_is_refused_from_both_ends() {
    let (a, b, c) = ("239.0.0.1:1@eth0", "239.0.0.2:2@eth1", "239.0.0.3:3@eth2");
    let mut rules = RuleSet::default();
    rules.add(rule(b, &[c])).unwrap();
    let refused = rules.add(rule(a, &["10.9.9.9:9@eth0", b])).unwrap_err();
    assert_eq!(refused.code(), "chain");
    let text = refused.to_string();
    assert!(text.starts_with(&format!("this rule sends to {b}, and rule 1 takes it")), "{text}");
    let text = rules.add(rule(c, &["239.0.0.4:4@eth1"])).unwrap_err().to_string();
    assert!(text.starts_with(&format!("rule 1 sends to {c}, and this rule takes it")), "{text}");
    rules.add(from("10.0.0.7", rule(c, &["239.0.0.4:4@eth1"]))).expect("another sender's");
    rules.add(rule(a, &["239.0.0.2:2@eth7"])).expect("another interface");
    rules.remove(RuleId(1)).unwrap();
    rules.add(rule("239.0.0.5:1@eth0", &[b])).expect("nobody takes it now");
}

/// mDNS, SSDP, PTP, DDS: each network's hosts send to the group.
#[test]
fn a_group_goes_both_ways_and_round() {
    let group = |interface: &str| format!("224.0.0.251:5353@{interface}");
    let [a, b, c] = ["eth0", "eth1", "eth2"].map(group);
    let mut rules = RuleSet::default();
    for (input, outputs) in [(&a, [&b, &c]), (&b, [&a, &c]), (&c, [&a, &b])] {
        rules.add(rule(input, &outputs.map(String::as_str))).unwrap();
    }
    let (near, far) = ("239.0.0.1:1@eth0", "239.0.0.2:2@eth1");
    rules.add(rule(near, &[far])).unwrap();
    rules.add(rule(far, &[near])).expect("two directions between two groups");
}

#[test]
fn no_more_rules_than_the_limit() {
    let mut rules = RuleSet::default();
    for number in 0..limits::RULES {
        let one = rule("239.0.0.1:1@in", &["10.0.0.1:1@out"]);
        let bits = 0xef00_0000 + number as u32;
        let mut next = one.clone();
        next.input.endpoint.address = std::net::Ipv4Addr::from_bits(bits).into();
        rules.add(next).unwrap();
    }
    let refused = rules.add(rule("239.255.0.1:1@in", &["10.0.0.1:1@out"])).unwrap_err();
    assert_eq!((&refused, refused.code()), (&Refused::TooManyRules, "limit"));
    let present = rule("239.0.0.0:1@in", &["10.0.0.1:1@out"]);
    assert!(!rules.add(present).unwrap().created, "what is there is not refused");
    rules.remove(RuleId(7)).unwrap();
    rules.add(rule("239.255.0.1:1@in", &["10.0.0.1:1@out"])).unwrap();
}

#[test]
fn no_more_outputs_than_the_limit() {
    const HALF: u16 = limits::OUTPUTS_PER_RULE as u16 / 2;
    let mut rules = RuleSet::default();
    for number in 0..(limits::OUTPUTS / usize::from(HALF)) as u16 {
        rules.add(wide(number, HALF)).unwrap();
    }
    let refused = rules.add(wide(9999, 1)).unwrap_err();
    assert_eq!(refused.code(), "limit");
    assert!(refused.to_string().ends_with("0 of 262144 are free, too few"), "{refused}");

    rules.remove(RuleId(1)).unwrap();
    rules.remove(RuleId(3)).unwrap();
    let refused = rules.add(wide(9999, 2 * HALF)).unwrap_err();
    assert!(refused.to_string().ends_with("1024 of 262144 are free, but scattered"), "{refused}");
    rules.remove(RuleId(2)).unwrap();
    let added = rules.add(wide(9999, 2 * HALF)).unwrap();
    assert_eq!(rules.get(added.id).unwrap().outputs, 0..1024);
}

#[test]
fn a_walk_can_stop_and_go_on() {
    let mut rules = RuleSet::default();
    (0..5).for_each(|number| assert!(rules.add(wide(number, 1)).unwrap().created));
    let ids = |rules: &RuleSet, from: u64| -> Vec<u64> {
        rules.range(RuleId(from)..).map(|declared| declared.id.0).collect()
    };
    assert_eq!(ids(&rules, 0), [1, 2, 3, 4, 5]);
    rules.remove(RuleId(3)).unwrap();
    assert_eq!(ids(&rules, 3), [4, 5]);
}
