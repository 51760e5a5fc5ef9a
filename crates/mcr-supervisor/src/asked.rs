//! Resources that were asked of the kernel and are not answered yet. Pure.
//!
//! They stand among what is held, so that no plan asks for them twice. An answer counts only with
//! the ticket of its order: what was given up meanwhile, and perhaps asked for again, has another.

use std::collections::BTreeMap;

use mcr_core::ids::{IfIndex, RuleId};
use mcr_core::plan::Resource;

/// The number of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// A step that waits until an interface's ring is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask for it, if its ticket still counts.
    Ask(Resource, Ticket),
    /// Give it up.
    GiveUp(Resource),
}

/// The orders.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    orders: BTreeMap<Resource, Order>,
    /// Of how many orders each rule waits for the answer.
    waiting: BTreeMap<RuleId, usize>,
    /// How many rings are being opened on each interface.
    opening: BTreeMap<IfIndex, usize>,
    deferred: BTreeMap<IfIndex, Vec<Step>>,
    tickets: u64,
}

#[derive(Debug)]
struct Order {
    ticket: Ticket,
    rules: Vec<RuleId>,
}

impl Asked {
    /// Begins an order for a resource that has none.
    pub(crate) fn begin(&mut self, resource: &Resource) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        if let Resource::Ingress(key) = resource {
            *self.opening.entry(key.ifindex).or_default() += 1;
        }
        let before = self.orders.insert(resource.clone(), Order { ticket, rules: Vec::new() });
        debug_assert!(before.is_none(), "{resource:?} was asked for already");
        ticket
    }

    /// An answer. Returns the rules that wait for no other; `None`: it does not count.
    pub(crate) fn end(&mut self, resource: &Resource, ticket: Ticket) -> Option<Vec<RuleId>> {
        self.counts(resource, ticket).then(|| self.withdraw(resource))
    }

    /// Whether an order's answer would count.
    pub(crate) fn counts(&self, resource: &Resource, ticket: Ticket) -> bool {
        self.orders.get(resource).is_some_and(|order| order.ticket == ticket)
    }

    /// The resource is given up. Returns the rules that wait for no other.
    pub(crate) fn withdraw(&mut self, resource: &Resource) -> Vec<RuleId> {
        let Some(order) = self.orders.remove(resource) else {
            return Vec::new();
        };
        if let Resource::Ingress(key) = resource {
            count_down(&mut self.opening, &key.ifindex);
        }
        let rules = order.rules.into_iter();
        rules.filter(|rule| count_down(&mut self.waiting, rule)).collect()
    }

    pub(crate) fn contains(&self, resource: &Resource) -> bool {
        self.orders.contains_key(resource)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// The rule waits for those of its resources that are on order.
    pub(crate) fn wait<'a>(
        &mut self,
        rule: RuleId,
        resources: impl IntoIterator<Item = &'a Resource>,
    ) {
        if self.orders.is_empty() {
            return;
        }
        for resource in resources {
            if let Some(order) = self.orders.get_mut(resource) {
                order.rules.push(rule);
                *self.waiting.entry(rule).or_default() += 1;
            }
        }
    }

    pub(crate) fn is_waiting(&self, rule: RuleId) -> bool {
        self.waiting.contains_key(&rule)
    }

    /// Whether a ring is being opened there. What comes by a group before is lost, so groups are
    /// joined when it is open; and what the group's other members need is left only then.
    pub(crate) fn is_opening_ring(&self, ifindex: IfIndex) -> bool {
        self.opening.contains_key(&ifindex)
    }

    pub(crate) fn defer(&mut self, ifindex: IfIndex, step: Step) {
        self.deferred.entry(ifindex).or_default().push(step);
    }

    /// The steps that need wait no longer, in their order.
    pub(crate) fn take_deferred(&mut self, ifindex: IfIndex) -> Vec<Step> {
        if self.is_opening_ring(ifindex) {
            return Vec::new();
        }
        self.deferred.remove(&ifindex).unwrap_or_default()
    }
}

/// Returns whether that was the last.
fn count_down<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else {
        return false;
    };
    *count -= 1;
    let is_last = *count == 0;
    if is_last {
        counts.remove(key);
    }
    is_last
}

#[cfg(test)]
mod tests {
    use mcr_core::interfaces::LinkLayer;
    use mcr_core::plan::{IngressKey, Membership, RingClass};

    use super::*;

    const RULE: RuleId = RuleId(7);

    fn membership(last: u8) -> Resource {
        Resource::Membership(Membership {
            ifindex: IfIndex(1),
            group: [239, 0, 0, last].into(),
            source: None,
        })
    }

    fn ring() -> Resource {
        Resource::Ingress(IngressKey {
            ifindex: IfIndex(1),
            interface: "eth0".parse().unwrap(),
            link: LinkLayer::Ethernet,
            class: RingClass::Small,
        })
    }

    #[test]
    fn a_rule_waits_for_its_last_order() {
        let mut asked = Asked::default();
        let (one, two) = (asked.begin(&membership(1)), asked.begin(&membership(2)));
        asked.wait(RULE, [&membership(1), &membership(2), &membership(3)]);
        assert!(asked.is_waiting(RULE));
        assert_eq!(asked.end(&membership(1), one), Some(vec![]));
        assert_eq!(asked.end(&membership(2), two), Some(vec![RULE]));
        assert!(!asked.is_waiting(RULE) && asked.is_empty());
    }

    #[test]
    fn an_old_ticket_does_not_count() {
        let mut asked = Asked::default();
        let old = asked.begin(&membership(1));
        asked.wait(RULE, [&membership(1)]);
        assert_eq!(asked.withdraw(&membership(1)), [RULE]);
        assert_eq!(asked.end(&membership(1), old), None);
        let new = asked.begin(&membership(1));
        assert_eq!(asked.end(&membership(1), old), None);
        assert_eq!(asked.end(&membership(1), new), Some(vec![]));
    }

    #[test]
    fn steps_wait_for_the_last_ring() {
        let mut asked = Asked::default();
        let step = Step::GiveUp(membership(1));
        assert!(!asked.is_opening_ring(IfIndex(1)));
        let ticket = asked.begin(&ring());
        asked.defer(IfIndex(1), step.clone());
        assert_eq!(asked.take_deferred(IfIndex(1)), []);
        assert!(asked.is_opening_ring(IfIndex(1)) && !asked.is_opening_ring(IfIndex(2)));
        asked.end(&ring(), ticket).unwrap();
        assert_eq!(asked.take_deferred(IfIndex(1)), [step]);
        assert_eq!(asked.take_deferred(IfIndex(1)), []);
    }
}
