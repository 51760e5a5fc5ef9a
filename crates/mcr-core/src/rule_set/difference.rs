//! From some of the rules of a set to others, without touching what both have.

use std::collections::BTreeSet;

use super::{Refused, RuleSet};
use crate::ids::RuleId;
use crate::rule::Rule;

/// Changes of a set so that some of its rules become others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rules to take out, before any is added.
    pub gone: Vec<RuleId>,
    /// Rules to add, in this order.
    pub new: Vec<Rule>,
    /// Rules that are wanted and there already.
    pub kept: BTreeSet<RuleId>,
}

/// A wanted rule that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct RefusedAt {
    /// Its place among those wanted.
    pub place: usize,
    /// Why.
    pub cause: Refused,
}

impl RuleSet {
    /// How the set comes to hold `wanted` in place of `replaced`; its other rules stay. Taking the
    /// steps cannot be refused. A wanted rule that is there already, among `replaced` or not, is
    /// kept as it is.
    ///
    /// # Errors
    /// The first wanted rule that does not go with the other rules, those that stay included.
    pub fn difference<'a>(
        &self,
        replaced: &BTreeSet<RuleId>,
        wanted: impl IntoIterator<Item = &'a Rule> + Clone,
    ) -> Result<Difference, RefusedAt> {
        let kept: BTreeSet<_> =
            wanted.clone().into_iter().filter_map(|rule| self.identical(rule)).collect();
        let gone: Vec<_> = replaced.difference(&kept).copied().collect();
        let mut new = Vec::new();
        // Tried out on a copy: only so every check is of what will be there then.
        let mut trial = self.clone();
        for id in &gone {
            trial.remove(*id);
        }
        for (place, rule) in wanted.into_iter().enumerate() {
            match trial.add(rule.clone()) {
                Ok(added) if added.created => new.push(rule.clone()),
                Ok(_) => {}
                Err(cause) => return Err(RefusedAt { place, cause }),
            }
        }
        Ok(Difference { gone, new, kept })
    }
}
