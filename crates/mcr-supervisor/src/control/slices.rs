//! Answers about many rules, made a slice in a turn: those of 100,000 rules would hold the loop for
//! half a second.

use std::collections::VecDeque;
use std::ops::Bound;

use mcr_api::control::{Answer, RuleStatus, Rules, Selection, Stats};
use mcr_core::ids::RuleId;

use super::Asker;
use crate::limits;
use crate::stats::report::{self, Selected};
use crate::supervisor::Supervisor;

/// The answers under way; the one whose turn it is stands first.
#[derive(Debug, Default)]
pub(crate) struct Slices(VecDeque<LongAnswer>);

impl Slices {
    pub(crate) fn are_under_way(&self) -> bool {
        !self.0.is_empty()
    }
}

#[derive(Debug)]
struct LongAnswer {
    asker: Asker,
    answer: Part,
    /// The last rule that is in it.
    after: Option<RuleId>,
}

/// An answer as far as it is made.
#[derive(Debug)]
pub(crate) enum Part {
    Rules(Vec<RuleStatus>),
    Stats(Box<Stats>, Selection),
}

impl Supervisor {
    /// Begins a long answer. A short one is given at once.
    pub(crate) fn answer_in_slices(&mut self, asker: Asker, answer: Part) {
        self.slices.0.push_front(LongAnswer { asker, answer, after: None });
        self.make_slice();
    }

    /// Makes the next slice of the first answer; the others' turn comes before its next one.
    pub(crate) fn make_slice(&mut self) {
        let Some(LongAnswer { asker, mut answer, after }) = self.slices.0.pop_front() else {
            return;
        };
        match self.add_slice(&mut answer, after) {
            Some(last) => {
                self.slices.0.push_back(LongAnswer { asker, answer, after: Some(last) });
            }
            None => asker.answer(&mut self.audit, Ok(answer.into()).into()),
        }
    }

    /// Returns the last rule of the slice; `None`: it was the last slice.
    fn add_slice(&self, answer: &mut Part, after: Option<RuleId>) -> Option<RuleId> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut room = limits::EXPORTED_AT_ONCE;
        for declared in self.state.rules.range((after, Bound::Unbounded)) {
            match answer {
                Part::Rules(rules) => rules.push(self.state.rule_status(declared)),
                Part::Stats(stats, selection) => {
                    let selected =
                        Selected { rule: None, interface: selection.interface.as_deref() };
                    if selected.takes_rule(&declared.rule) {
                        stats.rules.push(report::rule_stats(declared, self));
                    }
                }
            }
            room = room.saturating_sub(1 + declared.rule.outputs.len());
            if room == 0 {
                return Some(declared.id);
            }
        }
        None
    }
}

impl From<Part> for Answer {
    fn from(part: Part) -> Self {
        match part {
            Part::Rules(rules) => Self::Rules(Rules { rules }),
            Part::Stats(stats, _) => Self::Stats(stats),
        }
    }
}
