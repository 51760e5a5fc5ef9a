//! All that the supervisor knows and holds, but for the worker processes.

use std::collections::{BTreeMap, BTreeSet};

use mcr_api::control::{ErrorBody, ErrorCode, RuleReference, RuleState, RuleStatus};
use mcr_core::ids::RuleId;
use mcr_core::interfaces::Interfaces;
use mcr_core::plan::{Demand, Desired, Resource};
use mcr_core::route::Via;
use mcr_core::rule_set::{DeclaredRule, RuleSet};

use crate::asked::Asked;
use crate::brakes::Brakes;
use crate::conditions::Conditions;
use crate::doubts::Doubts;
use crate::hands::Hands;
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
    /// The rules that the operator declared.
    pub(crate) rules: RuleSet,
    /// Those of them that the configuration file states.
    pub(crate) configured: BTreeSet<RuleId>,
    /// Those that clients have asked for, be they in the file as well or not.
    pub(crate) wanted_by_clients: BTreeSet<RuleId>,
    /// The interfaces of the host.
    pub(crate) interfaces: Interfaces,
    /// The needs of each rule there, as last counted in `desired`.
    pub(crate) demands: BTreeMap<RuleId, Demand>,
    pub(crate) desired: Desired,
    /// The resources that are held.
    pub(crate) held: BTreeSet<Resource>,
    /// The resources for which the kernel has not answered yet.
    pub(crate) asked: Asked,
    /// Rules whose last answer has come, since [`Self::take_answered`].
    pub(crate) answered: Vec<RuleId>,
    pub(crate) problems: Problems,
    pub(crate) devices: Devices,
    pub(crate) addresses: Addresses,
    pub(crate) exclusions: Exclusions,
    pub(crate) holdings: Holdings,
    pub(crate) hands: Hands,
    /// Counters that no ledger holds.
    pub(crate) retained: Retained,
    pub(crate) unreachable: UnreachableCounts,
    pub(crate) doubts: Doubts,
    pub(crate) brakes: Brakes,
    pub(crate) conditions: Conditions,
    pub(crate) stuck_rings: StuckRings,
    pub(crate) news: News,
}

impl State {
    /// No rule yet.
    pub(crate) fn new(
        interfaces: Interfaces,
        holdings: Holdings,
        doubts: Doubts,
        news: News,
        hands: Hands,
    ) -> Self {
        Self {
            rules: RuleSet::default(),
            configured: BTreeSet::new(),
            wanted_by_clients: BTreeSet::new(),
            interfaces,
            demands: BTreeMap::new(),
            desired: Desired::default(),
            held: BTreeSet::new(),
            asked: Asked::default(),
            answered: Vec::new(),
            problems: Problems::default(),
            devices: Devices::default(),
            addresses: Addresses::new(&hands),
            exclusions: Exclusions::new(&hands),
            holdings,
            hands,
            retained: Retained::default(),
            unreachable: UnreachableCounts::default(),
            doubts,
            brakes: Brakes::default(),
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
        let refused = refused.map(ToOwned::to_owned).chain(self.kept_out(id));
        let asked = demand.resources.iter().filter(|resource| self.asked.contains(resource));
        let asked =
            asked.map(|resource| format!("the kernel has not answered yet: {}", call(resource)));
        let told = pending.chain(refused).chain(asked).chain(self.brakes.problems(id));
        let told = told.chain(self.silent_neighbours(id));
        (state, told.collect())
    }

    /// Replies to the source port of a rule's output; outputs that share the port share them.
    pub(crate) fn replies(&self, id: RuleId, output: usize) -> u64 {
        let output = self.holdings.route(id).and_then(|route| route.outputs.get(output));
        match output.map(|output| output.via) {
            Some(Via::Egress(egress)) => self.holdings.egresses.replies(egress),
            _ => 0,
        }
    }

    /// Whether a rule can relay.
    pub(crate) fn is_active(&self, id: RuleId) -> bool {
        self.demands.get(&id).is_some_and(|demand| self.is_read(id, demand))
    }

    /// The same as a state.
    pub(crate) fn rule_state(&self, id: RuleId) -> RuleState {
        if self.is_active(id) { RuleState::Active } else { RuleState::Pending }
    }

    /// How many rules can relay.
    pub(crate) fn active_rules(&self) -> usize {
        self.demands.iter().filter(|(id, demand)| self.is_read(**id, demand)).count()
    }

    /// Whether the input's interface can deliver and is being read.
    fn is_read(&self, id: RuleId, demand: &Demand) -> bool {
        let mut resources = demand.resources.iter();
        let is_open = |r: &Resource| self.held.contains(r) && !self.asked.contains(r);
        demand.hears
            && resources.any(|r| matches!(r, Resource::Ingress(_)) && is_open(r))
            && self.kept_out(id).is_none()
    }

    /// Why the kernel's filter keeps out what the rule wants, where it does.
    fn kept_out(&self, id: RuleId) -> Option<String> {
        let key = self.holdings.route(id)?.key;
        self.holdings.ingresses.filter_refusal(key.ifindex, key.address, key.port)
    }
}

/// The call that makes a resource.
fn call(resource: &Resource) -> String {
    match resource {
        Resource::Membership(membership) => format!("joining {}", membership.group),
        Resource::Ingress(key) => format!("opening the rings of {}", key.interface),
        Resource::Exclusion(entry) => {
            format!("ending frames at the ingress of {}", entry.interface)
        }
        Resource::Egress(key) => format!("opening a socket on {}", key.interface),
    }
}
