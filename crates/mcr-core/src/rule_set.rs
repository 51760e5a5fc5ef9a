//! The desired rules together: what each says of the others, its id and its counter slots.

mod chain;
mod difference;
mod refused;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeBounds};

use crate::endpoint::{Endpoint, InterfaceName};
use crate::ids::{OutputSlot, RuleId, RuleSlot};
use crate::limits;
use crate::rule::{InputKey, Rule, RuleName};
use crate::slots::Slots;

pub use difference::{Difference, RefusedAt};
pub use refused::{Chain, Refused};

/// A rule that the set took in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredRule {
    /// Its identity.
    pub id: RuleId,
    /// The declared rule.
    pub rule: Rule,
    /// The place of its counters.
    pub slot: RuleSlot,
    /// The places of its outputs' counters: [`OutputSlot`]s, one for each output in their order.
    pub outputs: Range<u32>,
}

impl DeclaredRule {
    /// The places of each output's counters, in the order of the outputs.
    pub fn output_slots(&self) -> impl Iterator<Item = OutputSlot> {
        self.outputs.clone().map(OutputSlot)
    }
}

/// The outcome of a rule that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The rule's id.
    pub id: RuleId,
    /// Whether the rule is new; otherwise the identical rule was there already.
    pub created: bool,
}

/// The desired rules.
///
/// Every change and look-up costs the logarithm of the number of rules, and an addition also a
/// step for each rule that it shares an endpoint with.
#[derive(Clone, Debug)]
pub struct RuleSet {
    rules: BTreeMap<RuleId, DeclaredRule>,
    inputs: BTreeMap<InputKey, RuleId>,
    /// Every output with its rule.
    outputs: BTreeSet<(Endpoint, RuleId)>,
    names: BTreeMap<RuleName, RuleId>,
    interfaces: BTreeMap<InterfaceName, BTreeSet<RuleId>>,
    rule_slots: Slots,
    output_slots: Slots,
    next_id: u64,
}

impl Default for RuleSet {
    fn default() -> Self {
        Self {
            rules: BTreeMap::new(),
            inputs: BTreeMap::new(),
            outputs: BTreeSet::new(),
            names: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            rule_slots: Slots::new(limits::RULES as u32),
            output_slots: Slots::new(limits::OUTPUTS as u32),
            // 0 is the ledger's tag of a free record.
            next_id: 1,
        }
    }
}

impl RuleSet {
    /// Takes a rule in. A refusal changes nothing.
    pub fn add(&mut self, rule: Rule) -> Result<Added, Refused> {
        rule.check()?;
        if let Some(id) = self.identical(&rule) {
            return Ok(Added { id, created: false });
        }
        self.check_unclaimed(&rule)?;
        self.check_room(&rule)?;
        self.check_chains(&rule)?;
        Ok(Added { id: self.insert(rule), created: true })
    }

    /// Takes a rule out; nothing when there is no such rule.
    pub fn remove(&mut self, id: RuleId) -> Option<DeclaredRule> {
        let removed = self.rules.remove(&id)?;
        self.inputs.remove(&removed.rule.input);
        for output in &removed.rule.outputs {
            self.outputs.remove(&(output.endpoint.clone(), id));
        }
        if let Some(name) = &removed.rule.name {
            self.names.remove(name);
        }
        for interface in removed.rule.interfaces() {
            // An interface that the rule names twice is gone from the index at the second.
            if let Some(ids) = self.interfaces.get_mut(interface) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.interfaces.remove(interface);
                }
            }
        }
        self.rule_slots.give_back(removed.slot.0..removed.slot.0 + 1);
        self.output_slots.give_back(removed.outputs.clone());
        Some(removed)
    }

    /// The rule of that id.
    pub fn get(&self, id: RuleId) -> Option<&DeclaredRule> {
        self.rules.get(&id)
    }

    /// The rule of that name.
    pub fn by_name(&self, name: &RuleName) -> Option<&DeclaredRule> {
        self.names.get(name).and_then(|id| self.get(*id))
    }

    /// Every rule in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = &DeclaredRule> {
        self.rules.values()
    }

    /// The rules of a range of ids in their order: a long walk can stop after any rule and go on
    /// behind it later, whatever was added or removed meanwhile.
    pub fn range(&self, ids: impl RangeBounds<RuleId>) -> impl Iterator<Item = &DeclaredRule> {
        self.rules.range(ids).map(|(_, declared)| declared)
    }

    /// The rules whose input or an output is on the interface, in the order of ids.
    pub fn on_interface(&self, interface: &InterfaceName) -> impl Iterator<Item = RuleId> {
        self.interfaces.get(interface).into_iter().flatten().copied()
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules that take what arrives for an endpoint, from whatever source.
    fn taking(&self, endpoint: &Endpoint) -> impl Iterator<Item = &DeclaredRule> {
        let any_source = InputKey { endpoint: endpoint.clone(), source: None };
        // `None` is the least of all sources, so the endpoint's keys start here.
        self.inputs
            .range(any_source..)
            .take_while(move |(key, _)| key.endpoint == *endpoint)
            .filter_map(|(_, id)| self.get(*id))
    }

    fn identical(&self, rule: &Rule) -> Option<RuleId> {
        let id = *self.inputs.get(&rule.input)?;
        let other = self.get(id)?;
        other.rule.is_identical(rule).then_some(id)
    }

    /// Refuses an input or a name that another rule has.
    fn check_unclaimed(&self, rule: &Rule) -> Result<(), Refused> {
        if let Some(id) = self.inputs.get(&rule.input) {
            return Err(Refused::InputTaken {
                input: rule.input.clone(),
                id: *id,
                name: self.get(*id).and_then(|other| other.rule.name.clone()),
            });
        }
        match rule.name.as_ref().and_then(|name| self.names.get_key_value(name)) {
            Some((name, id)) => Err(Refused::NameTaken { name: name.clone(), id: *id }),
            None => Ok(()),
        }
    }

    /// Refuses a rule that would pass the limits.
    fn check_room(&self, rule: &Rule) -> Result<(), Refused> {
        if self.rules.len() >= limits::RULES {
            return Err(Refused::TooManyRules);
        }
        if self.output_slots.fits(rule.outputs.len() as u32) {
            return Ok(());
        }
        Err(Refused::TooManyOutputs {
            wanted: rule.outputs.len(),
            free: self.output_slots.free_count() as usize,
        })
    }

    /// Stores a rule that passed every check.
    fn insert(&mut self, rule: Rule) -> RuleId {
        let id = RuleId(self.next_id);
        self.next_id += 1;
        let slot = self.rule_slots.take(1);
        let slot = slot.expect("there are as many slots as rules, and room was checked");
        let outputs = self.output_slots.take(rule.outputs.len() as u32);
        let outputs = outputs.expect("a run of this length was just seen to be free");
        self.inputs.insert(rule.input.clone(), id);
        self.outputs.extend(rule.outputs.iter().map(|output| (output.endpoint.clone(), id)));
        if let Some(name) = &rule.name {
            self.names.insert(name.clone(), id);
        }
        for interface in rule.interfaces() {
            self.interfaces.entry(interface.clone()).or_default().insert(id);
        }
        let declared = DeclaredRule { id, rule, slot: RuleSlot(slot.start), outputs };
        self.rules.insert(id, declared);
        id
    }
}
