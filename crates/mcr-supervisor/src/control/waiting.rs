//! Clients whose change waits for the kernel: they are answered when it has answered, or late.

use std::collections::BTreeSet;
use std::time::Instant;

use mcr_api::control::{Added, Answer, Reloaded};
use mcr_core::ids::RuleId;

use super::commands::applying;
use super::{Asker, Reply};
use crate::limits;
use crate::supervisor::Supervisor;

/// The clients.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Vec<Client>);

#[derive(Debug)]
struct Client {
    asker: Asker,
    change: Done,
    /// The rules that have resources on order.
    rules: BTreeSet<RuleId>,
    since: Instant,
}

/// A change that was made, but for the kernel's part.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    Added { rule: RuleId, created: bool },
    Reloaded(Reloaded),
}

impl Waiting {
    /// Takes those out that wait no longer.
    fn take_answered(&mut self, answered: &[RuleId]) -> Vec<Client> {
        for client in &mut self.0 {
            client.rules.retain(|rule| !answered.contains(rule));
        }
        self.0.extract_if(.., |client| client.rules.is_empty()).collect()
    }

    fn take_late(&mut self) -> Vec<Client> {
        self.0.extract_if(.., |client| client.since.elapsed() >= limits::APPLY_WAIT).collect()
    }
}

impl Supervisor {
    /// Answers a client when the kernel has answered for all that waits among these rules.
    pub(crate) fn answer_later(
        &mut self,
        asker: Asker,
        change: Done,
        rules: impl Iterator<Item = RuleId>,
    ) {
        let rules: BTreeSet<RuleId> =
            rules.filter(|rule| self.state.asked.is_waiting(*rule)).collect();
        if rules.is_empty() {
            let reply = self.reply(change);
            return asker.answer(&mut self.audit, reply);
        }
        self.waiting.0.push(Client { asker, change, rules, since: Instant::now() });
    }

    /// Answers those whose last answer of the kernel's has come.
    pub(crate) fn answer_waiting(&mut self) {
        if self.state.answered.is_empty() {
            return;
        }
        let answered = std::mem::take(&mut self.state.answered);
        let clients = self.waiting.take_answered(&answered);
        self.answer_all(clients);
    }

    /// Answers those that have waited for too long, with how it stands.
    pub(crate) fn answer_late(&mut self) {
        let late = self.waiting.take_late();
        self.answer_all(late);
    }

    fn answer_all(&mut self, clients: Vec<Client>) {
        for Client { asker, change, .. } in clients {
            let reply = self.reply(change);
            asker.answer(&mut self.audit, reply);
        }
    }

    fn reply(&self, change: Done) -> Reply {
        let answer = match change {
            Done::Added { rule, created } => {
                let (state, problems) = self.state.condition(rule);
                Answer::Added(Added { rule: rule.0, created, applied: false, state, problems })
            }
            Done::Reloaded(reloaded) => Answer::Reloaded(reloaded),
        };
        Reply { applying: Some(applying(self)), ..Ok(answer).into() }
    }
}
