//! What could not be had, so that it is shown on the rules, logged once, and asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use mcr_core::endpoint::InterfaceName;
use mcr_core::plan::Resource;
use tracing::{info, warn};

use super::Refusal;
use crate::limits;

/// The refused resources.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    refused: BTreeMap<Resource, String>,
    /// Where the last round of retries ended.
    retried_to: Option<Resource>,
}

impl Problems {
    /// The resource was refused. Said once, until the reason changes; returns whether it has.
    pub(crate) fn note(&mut self, resource: Resource, refusal: &Refusal) -> bool {
        let text = refusal.to_string();
        if self.refused.get(&resource) == Some(&text) {
            return false;
        }
        let interface = resource.interface().map(InterfaceName::as_str);
        warn!(interface, "{}{text}; trying again", on(&resource));
        self.refused.insert(resource, text);
        true
    }

    /// The resource is held now. Returns whether it was refused before.
    pub(crate) fn solved(&mut self, resource: &Resource) -> bool {
        let refused = self.refused.remove(resource);
        if let Some(text) = &refused {
            let interface = resource.interface().map(InterfaceName::as_str);
            info!(interface, "{}works now: {text}", on(resource));
        }
        refused.is_some()
    }

    /// The resource is not wanted any more.
    pub(crate) fn forget(&mut self, resource: &Resource) {
        self.refused.remove(resource);
    }

    /// Why the resource could not be had.
    pub(crate) fn of(&self, resource: &Resource) -> Option<&str> {
        // Nearly always there is none, and rules are many.
        if self.refused.is_empty() {
            return None;
        }
        self.refused.get(resource).map(String::as_str)
    }

    /// The next few to be asked for again, in turn.
    pub(crate) fn take_due(&mut self) -> BTreeSet<Resource> {
        let after = match self.retried_to.take() {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let due = self.refused.range((after, Bound::Unbounded));
        let due: BTreeSet<Resource> =
            due.take(limits::RETRIES_PER_TICK).map(|(resource, _)| resource.clone()).collect();
        // A short round has reached the end, so the next begins at the first again.
        if due.len() == limits::RETRIES_PER_TICK {
            self.retried_to = due.last().cloned();
        }
        due
    }
}

/// The interface that a message is about, where the kernel's own words do not name it.
fn on(resource: &Resource) -> String {
    match resource {
        Resource::Ingress(key) => format!("receiving on {}: ", key.interface),
        Resource::Egress(key) => format!("sending on {}: ", key.interface),
        Resource::Membership(_) | Resource::Exclusion(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use mcr_core::ids::IfIndex;
    use mcr_core::plan::Membership;

    use super::*;

    fn membership(number: u32) -> Resource {
        Resource::Membership(Membership {
            ifindex: IfIndex(1),
            group: std::net::Ipv4Addr::from_bits(0xef00_0000 + number).into(),
            source: None,
        })
    }

    fn refusal() -> Refusal {
        Refusal::Full("2 groups".into())
    }

    #[test]
    fn retries_come_in_turn() {
        let mut problems = Problems::default();
        let many = limits::RETRIES_PER_TICK as u32 + 3;
        assert!((0..many).all(|number| problems.note(membership(number), &refusal())));
        assert!(!problems.note(membership(0), &refusal()), "known already");
        let first = problems.take_due();
        assert_eq!(first.len(), limits::RETRIES_PER_TICK);
        let rest = problems.take_due();
        assert_eq!(rest.len(), 3);
        assert!(first.is_disjoint(&rest));
        assert_eq!(problems.take_due(), first);
    }

    #[test]
    fn a_solved_problem_is_gone() {
        let mut problems = Problems::default();
        problems.note(membership(1), &refusal());
        assert!(problems.of(&membership(1)).unwrap().contains("2 groups"));
        assert_eq!(problems.of(&membership(2)), None);
        assert!(problems.solved(&membership(1)) && !problems.solved(&membership(1)));
        assert_eq!(problems.of(&membership(1)), None);
        assert!(problems.take_due().is_empty());
    }
}
