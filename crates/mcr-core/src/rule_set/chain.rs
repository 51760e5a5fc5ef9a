//! Whether a rule takes what another one sends on the same interface: that can never work, because
//! a worker takes nothing that this host sent.

use super::{Chain, DeclaredRule, Refused, RuleSet};
use crate::endpoint::Endpoint;
use crate::ids::RuleId;
use crate::rule::Rule;

impl RuleSet {
    /// Refuses a rule that makes a chain with another.
    pub(super) fn check_chains(&self, rule: &Rule) -> Result<(), Refused> {
        let chain = |sender: Option<RuleId>, taker: Option<RuleId>, at: &Endpoint| {
            Refused::Chain(Box::new(Chain { sender, taker, at: at.clone() }))
        };
        for output in &rule.outputs {
            let at = &output.endpoint;
            if let Some(taker) = self.taking(at).find(|taker| is_chain(rule, &taker.rule)) {
                return Err(chain(None, Some(taker.id), at));
            }
        }
        let at = &rule.input.endpoint;
        match self.sending(at).find(|sender| is_chain(&sender.rule, rule)) {
            Some(sender) => Err(chain(Some(sender.id), None, at)),
            None => Ok(()),
        }
    }

    /// The rules with an output that is this endpoint.
    fn sending(&self, endpoint: &Endpoint) -> impl Iterator<Item = &DeclaredRule> {
        self.outputs
            .range((endpoint.clone(), RuleId(0))..)
            .take_while(move |(output, _)| output == endpoint)
            .filter_map(|(_, id)| self.get(*id))
    }
}

/// Whether a rule takes what another one sends for no other reason than to send it on.
///
/// A taker of one source takes another sender's datagrams. Several networks that share a group, or
/// two directions between two groups, name each other's endpoints as well, and there the takers
/// take what the hosts of each network send.
fn is_chain(sender: &Rule, taker: &Rule) -> bool {
    let (from, at) = (&sender.input.endpoint, &taker.input.endpoint);
    let shares_group = from.socket_address() == at.socket_address();
    let is_direction = || taker.outputs.iter().any(|output| output.endpoint == *from);
    taker.input.source.is_none() && !shares_group && !is_direction()
}
