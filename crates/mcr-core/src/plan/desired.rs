//! The needs of all rules together.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Demand, Resource};

/// The resources that the rules need, each with the number of rules that do.
///
/// While the rules are moved one by one from an old state of an interface to its new one, both
/// states' resources are desired: plan when all have been moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired(BTreeMap<Resource, u32>);

impl Desired {
    /// Replaces one rule's demand by another; [`Demand::default`] stands for a rule that was not
    /// there before or is not there any more. Returns the resources that were needed by no other
    /// rule: those that begin or cease to be desired.
    ///
    /// `old` is what was last shifted in for this rule.
    pub fn shift(&mut self, old: &Demand, new: &Demand) -> Vec<Resource> {
        let mut changed = Vec::new();
        let mut olds = old.resources.iter().peekable();
        let mut news = new.resources.iter().peekable();
        // Both are sorted, so one pass tells what stays.
        loop {
            let order = match (olds.peek(), news.peek()) {
                (Some(old), Some(new)) => old.cmp(new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return changed,
            };
            let gone = olds.next_if(|_| order.is_le());
            let come = news.next_if(|_| order.is_ge());
            match (gone, come) {
                (Some(resource), None) => changed.extend(self.discount(resource)),
                (None, Some(resource)) => changed.extend(self.count(resource)),
                _ => {}
            }
        }
    }

    /// Whether a rule needs the resource.
    pub fn contains(&self, resource: &Resource) -> bool {
        self.0.contains_key(resource)
    }

    /// How many rules need the resource.
    pub fn rules(&self, resource: &Resource) -> u32 {
        self.0.get(resource).copied().unwrap_or(0)
    }

    /// Every resource that a rule needs, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.keys()
    }

    /// Adds a rule to those that need it; returns it if that is the first.
    fn count(&mut self, resource: &Resource) -> Option<Resource> {
        if let Some(rules) = self.0.get_mut(resource) {
            *rules += 1;
            return None;
        }
        self.0.insert(resource.clone(), 1);
        Some(resource.clone())
    }

    /// Takes a rule from those that need it; returns it if that was the last.
    fn discount(&mut self, resource: &Resource) -> Option<Resource> {
        let rules = self.0.get_mut(resource);
        let rules = rules.expect("a rule's old demand is what was last shifted in for it");
        *rules -= 1;
        if *rules > 0 {
            return None;
        }
        self.0.remove_entry(resource).map(|(resource, _)| resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IfIndex;
    use crate::plan::Membership;

    fn demand(groups: &[u8]) -> Demand {
        let membership = |&last: &u8| {
            Resource::Membership(Membership {
                ifindex: IfIndex(1),
                group: [239, 0, 0, last].into(),
                source: None,
            })
        };
        Demand { resources: groups.iter().map(membership).collect(), ..Demand::default() }
    }

    #[test]
    fn only_the_first_and_the_last_need_count() {
        let nothing = Demand::default();
        let mut desired = Desired::default();
        let shifted = desired.shift(&nothing, &demand(&[1, 2]));
        assert_eq!(shifted, demand(&[1, 2]).resources);
        let shifted = desired.shift(&nothing, &demand(&[2, 3]));
        assert_eq!(shifted, demand(&[3]).resources);
        assert_eq!(desired.rules(&demand(&[2]).resources[0]), 2);
        let shifted = desired.shift(&demand(&[1, 2]), &demand(&[2, 4]));
        assert_eq!(shifted, demand(&[1, 4]).resources);
        assert!(desired.shift(&demand(&[2, 4]), &demand(&[2, 4])).is_empty());
        let shifted = desired.shift(&demand(&[2, 3]), &nothing);
        assert_eq!(shifted, demand(&[3]).resources);
        let shifted = desired.shift(&demand(&[2, 4]), &nothing);
        assert_eq!(shifted, demand(&[2, 4]).resources);
        assert_eq!(desired, Desired::default());
    }
}
