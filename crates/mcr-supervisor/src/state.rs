//! All that the supervisor knows and holds, but for the worker processes.

use std::collections::{BTreeMap, BTreeSet};

use mcr_api::control::{ErrorBody, ErrorCode, RuleReference, RuleState, RuleStatus};
use mcr_core::ids::RuleId;
use mcr_core::interfaces::Interfaces;
use mcr_core::plan::{Demand, Desired, Resource};
use mcr_core::rule_set::{DeclaredRule, RuleSet};
use mcr_core::steering::Steering;

use crate::conditions::Conditions;
use crate::holdings::Holdings;
use crate::news::News;
use crate::resources::Addresses;
use crate::resources::devices::Devices;
use crate::resources::exclusion::Exclusions;
use crate::resources::problems::Problems;
use crate::stats::retained::Retained;
use crate::stuck::StuckRings;
use crate::unreachable::UnreachableCounts;

/// The state; [`crate::reconcile`] changes it.
#[derive(Debug)]
pub(crate) struct State {
    /// What the operator declared.
    pub(crate) rules: RuleSet,
    /// Those of them that the configuration file states.
    pub(crate) configured: BTreeSet<RuleId>,
    /// What the network is like.
    pub(crate) interfaces: Interfaces,
    /// What each rule needs there, as last counted in `desired`.
    pub(crate) demands: BTreeMap<RuleId, Demand>,
    pub(crate) desired: Desired,
    /// What of it there is, and what could not be had.
    pub(crate) held: BTreeSet<Resource>,
    pub(crate) problems: Problems,
    pub(crate) devices: Devices,
    pub(crate) addresses: Addresses,
    pub(crate) exclusions: Exclusions,
    pub(crate) holdings: Holdings,
    /// Counters that no ledger holds.
    pub(crate) retained: Retained,
    pub(crate) unreachable: UnreachableCounts,
    pub(crate) conditions: Conditions,
    pub(crate) stuck_rings: StuckRings,
    pub(crate) news: News,
}

impl State {
    /// No rule yet, for workers on these cores.
    pub(crate) fn new(
        interfaces: Interfaces,
        steering: Steering,
        cores: &[usize],
        news: News,
    ) -> Self {
        Self {
            rules: RuleSet::default(),
            configured: BTreeSet::new(),
            interfaces,
            demands: BTreeMap::new(),
            desired: Desired::default(),
            held: BTreeSet::new(),
            problems: Problems::default(),
            devices: Devices::default(),
            addresses: Addresses::default(),
            exclusions: Exclusions::default(),
            holdings: Holdings::new(steering, cores),
            retained: Retained::default(),
            unreachable: UnreachableCounts::default(),
            conditions: Conditions::default(),
            stuck_rings: StuckRings::default(),
            news,
        }
    }

    /// The rule that a client means.
    pub(crate) fn rule(&self, reference: &RuleReference) -> Result<&DeclaredRule, ErrorBody> {
        let rule = match reference {
            RuleReference::Id(id) => self.rules.get(RuleId(*id)),
            RuleReference::Name(name) => {
                name.parse().ok().and_then(|name| self.rules.by_name(&name))
            }
        };
        let cause = || format!("there is no rule {reference}");
        rule.ok_or_else(|| ErrorBody::new(ErrorCode::NotFound, cause()))
    }

    /// A rule and how it is, for `ListRules`.
    pub(crate) fn rule_status(&self, declared: &DeclaredRule) -> RuleStatus {
        let (state, problems) = self.condition(declared.id);
        RuleStatus { id: declared.id.0, rule: (&declared.rule).into(), state, problems }
    }

    /// Whether a rule can relay, and what it or an output of it lacks.
    pub(crate) fn condition(&self, id: RuleId) -> (RuleState, Vec<String>) {
        let state = self.rule_state(id);
        let Some(demand) = self.demands.get(&id) else {
            return (state, Vec::new());
        };
        let pending = demand.pending.iter().map(ToString::to_string);
        let refused = demand.resources.iter().filter_map(|resource| self.problems.of(resource));
        (state, pending.chain(refused.map(ToOwned::to_owned)).collect())
    }

    /// Whether a rule can relay.
    pub(crate) fn is_active(&self, id: RuleId) -> bool {
        self.demands.get(&id).is_some_and(|demand| self.is_read(demand))
    }

    /// The same as a state.
    pub(crate) fn rule_state(&self, id: RuleId) -> RuleState {
        if self.is_active(id) { RuleState::Active } else { RuleState::Pending }
    }

    /// How many rules can relay.
    pub(crate) fn active_rules(&self) -> usize {
        self.demands.values().filter(|demand| self.is_read(demand)).count()
    }

    /// Whether the input's interface can deliver and is being read.
    fn is_read(&self, demand: &Demand) -> bool {
        let mut resources = demand.resources.iter();
        demand.hears
            && resources.any(|r| matches!(r, Resource::Ingress(_)) && self.held.contains(r))
    }
}
