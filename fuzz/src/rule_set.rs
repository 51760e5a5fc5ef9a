//! Sequences of changes: rules that come, go and are read again from a file, and a network that
//! changes under them, against a list of rules and plain scans of it.

mod host;

use std::collections::BTreeSet;

use arbitrary::{Result, Unstructured};
use mcr_core::ids::RuleId;
use mcr_core::rule::Rule;
use mcr_core::rule_set::{Added, DeclaredRule, Refused, RuleSet};

use crate::sample;
use host::Host;

/// A sequence of changes; after each all that follows from the rules is checked.
pub fn rule_set(data: &[u8]) {
    let mut model = Model::default();
    // Bytes that run out end the sequence.
    let _ = model.run(&mut Unstructured::new(data));
}

#[derive(Default)]
struct Model {
    rules: RuleSet,
    /// What the set must hold, in the order of ids.
    present: Vec<DeclaredRule>,
    /// Those of the configuration file.
    configured: BTreeSet<RuleId>,
    last_id: u64,
    host: Host,
}

impl Model {
    fn run(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        while !u.is_empty() {
            match u.int_in_range(0..=7)? {
                0..=2 => {
                    self.add(&sample::rule(u)?);
                }
                3 => self.remove(u)?,
                4 => {
                    let wanted = (0..u.int_in_range(0..=5)?).map(|_| sample::rule(u));
                    let wanted = wanted.collect::<Result<Vec<_>>>()?;
                    self.reload(&wanted);
                }
                5 | 6 => self.host.change_network(u)?,
                _ => self.host.replace_worker(u)?,
            }
            assert!(self.rules.iter().eq(&self.present));
            self.check_slots();
            self.host.follow(&self.rules);
        }
        Ok(())
    }

    fn add(&mut self, rule: &Rule) -> Option<RuleId> {
        let expected = expectation(&self.present, rule);
        let before = self.rules.len();
        let added = self.rules.add(rule.clone());
        let found = added.as_ref().map_err(Refused::code);
        assert_eq!(found.map(|added| (!added.created).then_some(added.id)), expected);
        let Ok(Added { id, created }) = added else {
            assert_eq!(self.rules.len(), before, "a refusal changes nothing");
            return None;
        };
        if created {
            assert!(id.0 > self.last_id, "ids are never used again");
            self.last_id = id.0;
            let declared = self.rules.get(id).expect("it was just added").clone();
            assert_eq!(declared.rule, *rule);
            self.present.push(declared);
        }
        Some(id)
    }

    fn remove(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        assert_eq!(self.rules.remove(RuleId(self.last_id + 1)), None);
        if !self.present.is_empty() {
            let declared = self.present.remove(u.choose_index(self.present.len())?);
            self.configured.remove(&declared.id);
            assert_eq!(self.rules.remove(declared.id), Some(declared));
        }
        Ok(())
    }

    /// The file is read again: all of it is taken over, or nothing.
    fn reload(&mut self, wanted: &[Rule]) {
        let Ok(difference) = self.rules.difference(&self.configured, wanted) else {
            self.check_refusal(wanted);
            return;
        };
        assert!(difference.kept.iter().all(|id| self.rules.get(*id).is_some()));
        for id in &difference.gone {
            assert!(self.configured.contains(id), "what clients added stays");
            assert!(self.rules.remove(*id).is_some());
        }
        self.present.retain(|declared| !difference.gone.contains(&declared.id));
        self.configured = difference.kept;
        for rule in &difference.new {
            let id = self.add(rule).expect("it was tried out");
            self.configured.insert(id);
        }
        let again = self.rules.difference(&self.configured, wanted).expect("it is there already");
        assert!(again.gone.is_empty() && again.new.is_empty());
        assert_eq!(again.kept, self.configured);
    }

    /// A file is refused only where its rules do not go with each other and with those that stay.
    fn check_refusal(&self, wanted: &[Rule]) {
        let mut fresh = RuleSet::default();
        let stays = |declared: &&DeclaredRule| {
            let is_wanted = |rule| declared.rule.is_identical(rule);
            !self.configured.contains(&declared.id) || wanted.iter().any(is_wanted)
        };
        for declared in self.present.iter().filter(stays) {
            fresh.add(declared.rule.clone()).expect("they go together now");
        }
        assert!(wanted.iter().any(|rule| fresh.add(rule.clone()).is_err()));
    }

    fn check_slots(&self) {
        let slots: BTreeSet<_> = self.present.iter().map(|declared| declared.slot).collect();
        assert_eq!(slots.len(), self.present.len());
        let mut outputs: Vec<_> = self.present.iter().map(|d| d.outputs.clone()).collect();
        outputs.sort_unstable_by_key(|range| range.start);
        assert!(outputs.windows(2).all(|pair| pair[0].end <= pair[1].start));
        assert!(self.present.iter().all(|d| d.outputs.len() == d.rule.outputs.len()));
        for name in sample::INTERFACES.map(|name| name.parse().expect("they are names")) {
            let scanned = self.present.iter().filter(|d| d.rule.interfaces().any(|i| *i == name));
            assert!(self.rules.on_interface(&name).eq(scanned.map(|declared| declared.id)));
        }
    }
}

/// What must become of a rule: the id of the identical one, the code of its refusal, or nothing,
/// when it is to be added.
fn expectation(
    present: &[DeclaredRule],
    rule: &Rule,
) -> std::result::Result<Option<RuleId>, &'static str> {
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
    let all = present.iter().map(|declared| declared.rule.clone()).chain([rule.clone()]);
    if has_chain(&all.collect::<Vec<_>>()) { Err("chain") } else { Ok(None) }
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
