//! Refused resources: shown on the rules, logged once, and asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use mcr_core::endpoint::InterfaceName;
use mcr_core::ids::IfIndex;
use mcr_core::plan::Resource;
use tracing::{info, warn};

use super::Refusal;
use super::pause::Pause;
use crate::limits;

/// The refused resources.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    refused: BTreeMap<Resource, Problem>,
    /// The end of the last round of retries.
    retried_to: Option<Resource>,
}

/// One of them.
#[derive(Debug)]
struct Problem {
    text: String,
    /// Before the next attempt.
    pause: Pause,
}

impl Problems {
    /// The resource was refused. Said once, until the reason changes; returns whether it has.
    pub(crate) fn note(&mut self, resource: Resource, refusal: &Refusal) -> bool {
        let text = refusal.to_string();
        let mut pause = Pause::default();
        if let Some(known) = self.refused.get_mut(&resource) {
            known.pause.lengthen();
            if known.text == text {
                return false;
            }
            pause = known.pause;
        }
        let interface = resource.interface().map(InterfaceName::as_str);
        warn!(interface, "{}{text}; trying again", on(&resource));
        self.refused.insert(resource, Problem { text, pause });
        true
    }

    /// The resource is held now. Returns whether it was refused before.
    pub(crate) fn solved(&mut self, resource: &Resource) -> bool {
        let refused = self.refused.remove(resource);
        if let Some(Problem { text, .. }) = &refused {
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
        self.refused.get(resource).map(|problem| problem.text.as_str())
    }

    /// Whether the resource is to be left alone for a while: each attempt at an ingress costs
    /// grace periods of the kernel's.
    pub(crate) fn rests(&self, resource: &Resource) -> bool {
        let problem = self.refused.get(resource).filter(|_| is_costly(resource));
        problem.is_some_and(|problem| !problem.pause.has_ended())
    }

    /// The interface has changed: resources refused on it are asked for again at once.
    pub(crate) fn hurry(&mut self, ifindex: IfIndex) {
        let here = self.refused.iter_mut().filter(|(resource, _)| resource.ifindex() == ifindex);
        here.for_each(|(_, problem)| problem.pause = Pause::over());
    }

    /// The next few to be asked for again, in turn.
    pub(crate) fn take_due(&mut self) -> BTreeSet<Resource> {
        let after = match self.retried_to.take() {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let mut due = BTreeSet::new();
        let refused = self.refused.range_mut((after, Bound::Unbounded));
        // Where the end is reached, the next round begins at the first again.
        for (resource, problem) in refused {
            if is_costly(resource) && !problem.pause.is_over() {
                continue;
            }
            due.insert(resource.clone());
            if due.len() == limits::RETRIES_PER_TICK {
                self.retried_to = Some(resource.clone());
                break;
            }
        }
        due
    }
}

fn is_costly(resource: &Resource) -> bool {
    matches!(resource, Resource::Ingress(_))
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
    use mcr_core::interfaces::LinkLayer;
    use mcr_core::plan::{IngressKey, Membership, RingClass};

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
    fn a_refused_ingress_is_asked_for_ever_more_seldom() {
        let ingress = Resource::Ingress(IngressKey {
            ifindex: IfIndex(1),
            interface: "eth0".parse().unwrap(),
            link: LinkLayer::Ethernet,
            class: RingClass::Small,
        });
        let mut problems = Problems::default();
        problems.note(ingress.clone(), &refusal());
        let mut attempts = 0;
        let ten_minutes = 10 * 60 * 4;
        for _ in 0..ten_minutes {
            for resource in problems.take_due() {
                problems.note(resource, &refusal());
                attempts += 1;
            }
        }
        assert_eq!(attempts, 64, "of {ten_minutes} before");
        assert!(problems.rests(&ingress));
        problems.hurry(IfIndex(2));
        assert!(problems.take_due().is_empty());
        problems.hurry(IfIndex(1));
        assert!(!problems.rests(&ingress));
        assert_eq!(problems.take_due().len(), 1, "its interface has changed");
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
