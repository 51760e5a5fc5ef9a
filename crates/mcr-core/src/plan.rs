//! What the rules need of the kernel on this host at this moment, and the steps from what is held
//! to that.
//!
//! A rule and the observed interfaces make a [`Demand`] and a [`Route`](crate::route::Route); the
//! demands of all rules make what is [`Desired`]; and what is desired and what is held make a
//! [`Plan`]. Each is a pure function, so that whatever events led here, the same state follows.

mod demand;
mod desired;
mod resource;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::ids::IfIndex;

pub use demand::{Demand, Pending, demand, route};
pub use desired::Desired;
pub use resource::{EgressKey, Exclusion, Fate, IngressKey, Membership, Resource, RingClass};

/// One step towards what is desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the sockets of it.
    Acquire(Resource),
    /// Close the sockets of it.
    Release(Resource),
}

/// The steps that make what is held what is desired, in the order in which to take them.
///
/// An acquisition that fails leaves the resource desired and not held; the next plan tries again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be done before the workers are given the routes that go with what is desired.
    pub before_routes: Vec<Action>,
    /// To be done when the workers have them.
    pub after_routes: Vec<Action>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.before_routes.is_empty() && self.after_routes.is_empty()
    }
}

/// The steps from all that is held to all that is desired.
pub fn plan(desired: &Desired, held: &BTreeSet<Resource>) -> Plan {
    // Only what is in one and not in the other needs a step.
    let missing = desired.iter().filter(|resource| !held.contains(resource));
    let stale = held.iter().filter(|resource| !desired.contains(resource));
    arrange(missing.chain(stale), desired)
}

/// What has befallen interfaces between two observations, though both may look alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incidents {
    /// These are gone; another one may be there with the same number.
    pub gone: BTreeSet<IfIndex>,
    /// These went down and up, and their rings are not in the order of the workers any more.
    pub disordered: BTreeSet<IfIndex>,
    /// A ring of these takes nothing any more.
    pub stuck: BTreeSet<IfIndex>,
}

/// What is held in the books alone after incidents: to be released before anything else, so that
/// the next [`plan`] finds it missing.
pub fn lost(incidents: &Incidents, held: &BTreeSet<Resource>) -> Vec<Action> {
    let Incidents { gone, disordered, stuck } = incidents;
    if gone.is_empty() && disordered.is_empty() && stuck.is_empty() {
        return Vec::new();
    }
    let is_lost = |resource: &Resource| {
        let ended = resource.ends_with().is_some_and(|ifindex| gone.contains(&ifindex));
        let ring = |IngressKey { ifindex, .. }: &IngressKey| {
            disordered.contains(ifindex) || stuck.contains(ifindex)
        };
        ended || matches!(resource, Resource::Ingress(key) if ring(key))
    };
    let lost = held.iter().filter(|resource| is_lost(resource));
    let Plan { after_routes, .. } = arrange(lost, &Desired::default());
    after_routes
}

/// The steps for these resources alone: after a change, for what [`Desired::shift`] named. With
/// everything else held as desired, the result is that of [`plan`].
pub fn plan_for(
    changed: &BTreeSet<Resource>,
    desired: &Desired,
    held: &BTreeSet<Resource>,
) -> Plan {
    let differing =
        changed.iter().filter(|resource| desired.contains(resource) != held.contains(resource));
    arrange(differing, desired)
}

/// Puts one step for each resource that is either desired or held, not both, into its order.
fn arrange<'a>(differing: impl Iterator<Item = &'a Resource>, desired: &Desired) -> Plan {
    let mut steps: Vec<(Phase, Action)> = differing
        .map(|resource| {
            let wanted = desired.contains(resource);
            let action = if wanted { Action::Acquire } else { Action::Release };
            (Phase::of(resource, wanted), action(resource.clone()))
        })
        .collect();
    steps.sort_by_key(|(phase, _)| *phase);
    let routes_change = steps.partition_point(|(phase, _)| *phase <= Phase::OpenEgress);
    let mut actions = steps.into_iter().map(|(_, action)| action);
    Plan {
        before_routes: actions.by_ref().take(routes_change).collect(),
        after_routes: actions.collect(),
    }
}

/// When a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Before the routes change, so that none names sockets that are not there.
    OpenEgress,
    /// Before the rings go that took what came to nobody else.
    Include,
    /// Before its successor opens: two rings on one interface would deliver each frame twice.
    CloseIngress,
    /// Before the groups are joined, so that their first datagrams find a ring.
    OpenIngress,
    /// Before other memberships of the same group are left, so that the group stays joined and no
    /// router or switch prunes it.
    Join,
    /// When whatever takes its place has joined.
    Leave,
    /// When the rings are there that take what then comes to nobody else, and when no other entry
    /// is left in its place: that of an interface's old name may be.
    Exclude,
    /// Last: the routes that named these sockets are gone.
    CloseEgress,
}

impl Phase {
    fn of(resource: &Resource, wanted: bool) -> Self {
        match (resource, wanted) {
            (Resource::Egress(_), true) => Self::OpenEgress,
            (Resource::Egress(_), false) => Self::CloseEgress,
            (Resource::Ingress(_), true) => Self::OpenIngress,
            (Resource::Ingress(_), false) => Self::CloseIngress,
            (Resource::Membership(_), true) => Self::Join,
            (Resource::Membership(_), false) => Self::Leave,
            (Resource::Exclusion(_), true) => Self::Exclude,
            (Resource::Exclusion(_), false) => Self::Include,
        }
    }
}
