//! Whether a new rule would close a circle through the rules that are there.

use std::collections::{BTreeMap, VecDeque};

use super::{Cycle, DeclaredRule, Refused, RuleSet};
use crate::endpoint::Endpoint;
use crate::ids::RuleId;
use crate::rule::Rule;

impl RuleSet {
    /// Refuses a rule whose outputs lead back to its input: an output on the same address, port
    /// and interface as another rule's input goes on to that rule's outputs.
    ///
    /// The sources of (S,G) rules are not looked at. What a relay sends comes from an address of
    /// its own, which may be the S or become it with the next change of address: a rule must not
    /// be sound today and a storm tomorrow.
    pub(super) fn check_acyclic(&self, rule: &Rule) -> Result<(), Refused> {
        // Breadth first, so that the refusal shows the shortest way. The set itself has no cycle,
        // so the only one that there can be passes the new rule.
        let mut reached_from = BTreeMap::new();
        let mut waiting: VecDeque<&DeclaredRule> = VecDeque::new();
        for next in self.fed_by(rule) {
            reached_from.insert(next.id, None);
            waiting.push_back(next);
        }
        while let Some(declared) = waiting.pop_front() {
            if sends_to(&declared.rule, &rule.input.endpoint) {
                return Err(Refused::Cycle(self.way(rule, declared.id, &reached_from)));
            }
            for next in self.fed_by(&declared.rule) {
                reached_from.entry(next.id).or_insert_with(|| {
                    waiting.push_back(next);
                    Some(declared.id)
                });
            }
        }
        Ok(())
    }

    /// The rules that take what this one sends.
    fn fed_by(&self, rule: &Rule) -> impl Iterator<Item = &DeclaredRule> {
        rule.outputs.iter().flat_map(|output| self.taking(&output.endpoint))
    }

    /// The way from the rule to the last one found, followed backwards.
    fn way(
        &self,
        rule: &Rule,
        last: RuleId,
        reached_from: &BTreeMap<RuleId, Option<RuleId>>,
    ) -> Cycle {
        let before = |id: &RuleId| reached_from.get(id).copied().flatten();
        let mut through: Vec<(Endpoint, RuleId)> = std::iter::successors(Some(last), before)
            .filter_map(|id| self.get(id))
            .map(|declared| (declared.rule.input.endpoint.clone(), declared.id))
            .collect();
        through.reverse();
        Cycle { input: rule.input.endpoint.clone(), through }
    }
}

fn sends_to(rule: &Rule, endpoint: &Endpoint) -> bool {
    rule.outputs.iter().any(|output| output.endpoint == *endpoint)
}
