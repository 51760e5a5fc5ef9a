//! The rule set against a list of rules and plain scans of it.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Add(Rule),
    Remove(prop::sample::Index),
}

/// So few endpoints that rules often meet: as conflicts and chains.
fn endpoint() -> impl Strategy<Value = Endpoint> {
    (0..3_u8, 0..3_u8).prop_map(|(group, interface)| Endpoint {
        address: [239, 0, 0, group].into(),
        port: 5000,
        interface: format!("eth{interface}").parse().unwrap(),
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let source = prop::option::weighted(0.3, 1..3_u8);
    let name = prop::option::weighted(0.3, "[a-c]");
    let outputs = prop::collection::vec(endpoint().prop_map(Output::from), 0..4);
    let rule = (name, endpoint(), source, outputs, any::<bool>());
    rule.prop_map(|(name, endpoint, source, outputs, exclusive)| Rule {
        name: name.map(|name| name.parse().unwrap()),
        input: InputKey { endpoint, source: source.map(|last| [10, 0, 0, last].into()) },
        outputs,
        exclusive,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_rule().prop_map(Step::Add),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
    ]
}

/// Whether some rule of any source takes what another one sends, not for hosts of a network that
/// shares the group or for the other direction.
fn has_chain(rules: &[Rule]) -> bool {
    rules.iter().any(|sender| {
        let input = &sender.input.endpoint;
        let ends =
            |taker: &&Rule| sender.outputs.iter().any(|o| o.endpoint == taker.input.endpoint);
        let only_chained = |taker: &Rule| {
            let at = &taker.input.endpoint;
            let same_group = (at.address, at.port) == (input.address, input.port);
            let back = taker.outputs.iter().any(|o| o.endpoint == *input);
            taker.input.source.is_none() && !same_group && !back
        };
        rules.iter().filter(ends).any(only_chained)
    })
}

/// What must become of a rule: the id of the identical one, the code of its refusal, or nothing,
/// when it is to be added.
fn expectation(present: &[DeclaredRule], rule: &Rule) -> Result<Option<RuleId>, &'static str> {
    if rule.check().is_err() {
        return Err("invalid");
    }
    if let Some(same) = present.iter().find(|other| other.rule.is_identical(rule)) {
        return Ok(Some(same.id));
    }
    let clashes = |other: &DeclaredRule| {
        other.rule.input == rule.input || (rule.name.is_some() && other.rule.name == rule.name)
    };
    if present.iter().any(clashes) {
        return Err("conflict");
    }
    let mut all: Vec<Rule> = present.iter().map(|declared| declared.rule.clone()).collect();
    all.push(rule.clone());
    if has_chain(&all) { Err("chain") } else { Ok(None) }
}

/// Every index says what a scan of the rules says.
fn check_indices(rules: &RuleSet, present: &[DeclaredRule]) {
    assert!(rules.iter().eq(present));
    for interface in ["eth0", "eth1", "eth2"].map(|name| name.parse().unwrap()) {
        let scanned = present.iter().filter(|d| d.rule.interfaces().any(|i| *i == interface));
        assert!(rules.on_interface(&interface).eq(scanned.map(|declared| declared.id)));
    }
    for name in ["a", "b", "c"].map(|name| name.parse::<RuleName>().unwrap()) {
        let scanned = present.iter().find(|declared| declared.rule.name.as_ref() == Some(&name));
        assert_eq!(rules.by_name(&name), scanned);
    }
    let mut slots: Vec<RuleSlot> = present.iter().map(|declared| declared.slot).collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), present.len());
    let mut outputs: Vec<Range<u32>> = present.iter().map(|d| d.outputs.clone()).collect();
    outputs.sort_unstable_by_key(|range| range.start);
    assert!(outputs.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert!(present.iter().all(|d| d.outputs.len() == d.rule.outputs.len()));
}

proptest! {
    #[test]
    fn it_is_a_list_of_rules(steps in prop::collection::vec(step(), 1..60)) {
        let mut rules = RuleSet::default();
        let mut present: Vec<DeclaredRule> = Vec::new();
        let mut last_id = RuleId(0);
        for step in steps {
            match step {
                Step::Add(rule) => {
                    let expected = expectation(&present, &rule);
                    let added = rules.add(rule.clone());
                    let found = added.as_ref().map_err(Refused::code);
                    let found = found.map(|added| (!added.created).then_some(added.id));
                    prop_assert_eq!(found, expected, "{:?}", added);
                    if let Ok(Added { id, created: true }) = added {
                        prop_assert!(id > last_id);
                        last_id = id;
                        present.push(rules.get(id).unwrap().clone());
                        prop_assert_eq!(&present.last().unwrap().rule, &rule);
                    }
                }
                Step::Remove(_) if present.is_empty() => {}
                Step::Remove(which) => {
                    let removed = present.remove(which.index(present.len()));
                    prop_assert_eq!(rules.remove(removed.id), Some(removed));
                }
            }
            check_indices(&rules, &present);
        }
        for declared in present {
            rules.remove(declared.id);
        }
        let RuleSet { next_id, .. } = rules;
        let emptied = format!("{rules:?}");
        prop_assert_eq!(emptied, format!("{:?}", RuleSet { next_id, ..RuleSet::default() }));
    }
}

/// The rules of a set without their ids.
fn declared(set: &RuleSet) -> BTreeSet<String> {
    set.iter().map(|declared| format!("{:?}", declared.rule)).collect()
}

fn take(set: &mut RuleSet, difference: &Difference) -> BTreeSet<RuleId> {
    for id in &difference.gone {
        assert!(set.remove(*id).is_some());
    }
    let new = difference.new.iter().map(|rule| {
        let added = set.add(rule.clone()).expect("it was tried out");
        assert!(added.created);
        added.id
    });
    new.chain(difference.kept.iter().copied()).collect()
}

proptest! {
    /// A file read anew leads to where a fresh start with it, and with the rules of other origin,
    /// would lead; what both files have is not touched; a second reading changes nothing.
    #[test]
    fn a_difference_leads_to_what_is_wanted(
        first in prop::collection::vec(any_rule(), 0..8),
        others in prop::collection::vec(any_rule(), 0..4),
        wanted in prop::collection::vec(any_rule(), 0..8),
    ) {
        let mut set = RuleSet::default();
        let ids = |set: &mut RuleSet, rules: Vec<Rule>| -> BTreeSet<RuleId> {
            rules.into_iter().filter_map(|rule| set.add(rule).ok()).map(|added| added.id).collect()
        };
        let replaced = ids(&mut set, first);
        let kept_anyway: Vec<_> = {
            let others = ids(&mut set, others);
            let stays = |id| others.contains(id) && !replaced.contains(id);
            set.iter().filter(|declared| stays(&declared.id)).cloned().collect()
        };
        let before = set.clone();
        let mut fresh = RuleSet::default();
        for other in &kept_anyway {
            prop_assert!(fresh.add(other.rule.clone()).is_ok());
        }
        let refused = wanted.iter().find(|rule| fresh.add((*rule).clone()).is_err());
        match set.difference(&replaced, &wanted) {
            // Of two rules that do not go together either may be named.
            Err(error) => {
                prop_assert!(refused.is_some() && error.place < wanted.len());
            }
            Ok(difference) => {
                prop_assert_eq!(refused, None);
                let now = take(&mut set, &difference);
                prop_assert_eq!(declared(&set), declared(&fresh));
                for id in difference.kept.iter().chain(kept_anyway.iter().map(|other| &other.id)) {
                    prop_assert_eq!(set.get(*id), before.get(*id));
                }
                let again = set.difference(&now, &wanted).expect("it is there already");
                prop_assert!(again.gone.is_empty() && again.new.is_empty());
                prop_assert_eq!(again.kept, now);
            }
        }
    }
}
