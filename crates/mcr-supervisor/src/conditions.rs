//! How the rules are, as far as that has been told: what differs now is an event.

use std::collections::BTreeMap;

use mcr_api::control::{EventKind, RuleState};
use mcr_core::ids::{IfIndex, RuleId};
use mcr_core::rule_set::DeclaredRule;

use crate::limits;
use crate::news;
use crate::state::State;

/// Whether a rule can relay, and what it lacks.
type Condition = (RuleState, Vec<String>);

/// The condition of each rule as it was told last.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    told: BTreeMap<RuleId, Condition>,
    /// Interfaces on which something was gained, lost or refused that rules share. Their rules are
    /// looked at together, later: a thousand refusals are not to have every rule looked at a
    /// thousand times. And the last rule that was looked at.
    unsettled: BTreeMap<IfIndex, Option<RuleId>>,
}

impl Conditions {
    /// Something that rules share is otherwise on this interface.
    pub(crate) fn unsettle(&mut self, ifindex: IfIndex) {
        self.unsettled.insert(ifindex, None);
    }

    /// Takes down how a rule is now. Returns what there is to be told of it.
    fn take(&mut self, id: RuleId, now: Condition) -> Option<(EventKind, String)> {
        let before = self.told.get(&id);
        if before == Some(&now) {
            return None;
        }
        let news = describe(before, &now);
        self.told.insert(id, now);
        Some(news)
    }
}

fn describe(before: Option<&Condition>, now: &Condition) -> (EventKind, String) {
    let (state, problems) = now;
    let lacks = problems.join("; ");
    let same_state = before.is_some_and(|(before, _)| before == state);
    match (state, problems.is_empty()) {
        (_, true) if same_state => (EventKind::RuleProblemSolved, "has no problem left".into()),
        (_, false) if same_state => (EventKind::RuleProblem, lacks),
        (RuleState::Active, true) => (EventKind::RuleActive, "can relay".into()),
        (RuleState::Active, false) => (EventKind::RuleActive, format!("can relay, but: {lacks}")),
        (RuleState::Pending, true) => (EventKind::RulePending, "waits".into()),
        (RuleState::Pending, false) => (EventKind::RulePending, format!("waits: {lacks}")),
    }
}

impl State {
    /// Tells what is new of these rules.
    pub(crate) fn tell_conditions<'a>(&mut self, ids: impl IntoIterator<Item = &'a RuleId>) {
        for &id in ids {
            let Some(declared) = self.rules.get(id) else {
                self.conditions.told.remove(&id);
                continue;
            };
            // It is told when the kernel has answered.
            if self.asked.is_waiting(id) {
                continue;
            }
            let now = self.condition(id);
            if let Some((kind, what)) = self.conditions.take(id, now) {
                let message = format!("{} {what}", title(declared));
                self.news.tell(kind, news::rule(id, &declared.rule), message);
            }
        }
    }

    /// Tells what is new of rules that share something with others, of so many at a time.
    pub(crate) fn settle_conditions(&mut self) {
        for ifindex in self.holdings.ingresses.take_refitted() {
            self.conditions.unsettle(ifindex);
        }
        let mut room = limits::SETTLED_AT_ONCE;
        while let Some((ifindex, after)) = self.conditions.unsettled.pop_first() {
            // Where there is none, its rules were looked at when it went.
            let Some(interface) = self.interfaces.numbered(ifindex) else {
                continue;
            };
            let rules = self.rules.on_interface(&interface.name);
            let rules = rules.filter(|id| after.is_none_or(|after| *id > after));
            let rules: Vec<RuleId> = rules.take(room).collect();
            self.tell_conditions(&rules);
            room -= rules.len();
            if room == 0 {
                self.conditions.unsettled.insert(ifindex, rules.last().copied());
                return;
            }
        }
    }
}

/// `rule 3 (video, 239.1.1.1:5000@eth0)`.
pub(crate) fn title(declared: &DeclaredRule) -> String {
    let (id, input) = (declared.id, &declared.rule.input);
    match &declared.rule.name {
        Some(name) => format!("rule {id} ({name}, {input})"),
        None => format!("rule {id} ({input})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once() {
        use RuleState::{Active, Pending};
        let mut conditions = Conditions::default();
        let mut kind = |state, problems: &[&str]| {
            let problems = problems.iter().map(|&problem| problem.to_owned()).collect();
            conditions.take(RuleId(1), (state, problems)).map(|(kind, _)| kind)
        };
        assert_eq!(kind(Pending, &["eth0 is down"]), Some(EventKind::RulePending));
        assert_eq!(kind(Pending, &["eth0 is down"]), None);
        assert_eq!(kind(Pending, &["eth0 does not exist"]), Some(EventKind::RuleProblem));
        assert_eq!(kind(Active, &["eth1 is down"]), Some(EventKind::RuleActive));
        assert_eq!(kind(Active, &[]), Some(EventKind::RuleProblemSolved));
        assert_eq!(kind(Active, &[]), None);
        assert_eq!(kind(Active, &["eth1 is down"]), Some(EventKind::RuleProblem));
        assert_eq!(kind(Pending, &[]), Some(EventKind::RulePending));
        assert_eq!(kind(Active, &[]), Some(EventKind::RuleActive));
    }

    #[test]
    fn what_a_rule_lacks_is_named() {
        let lacks = vec!["eth1 is down".to_owned(), "eth2 has no address".to_owned()];
        let (_, message) = describe(None, &(RuleState::Active, lacks));
        assert_eq!(message, "can relay, but: eth1 is down; eth2 has no address");
    }
}
