//! Why a rule is refused, in words that name the cause.

use std::fmt;

use crate::endpoint::Endpoint;
use crate::ids::RuleId;
use crate::limits;
use crate::rule::{InputKey, InvalidRule, RuleName};

/// Why the rule set does not take a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The rule is wrong by itself.
    #[error(transparent)]
    Invalid(#[from] InvalidRule),
    /// Another rule has the same input.
    #[error("rule {} already takes {input}", Named { id: *id, name: name.as_ref() })]
    InputTaken {
        /// The input of both.
        input: InputKey,
        /// The other rule.
        id: RuleId,
        /// The other rule's name.
        name: Option<RuleName>,
    },
    /// Another rule has the same name.
    #[error("rule {id} already has the name {name}")]
    NameTaken {
        /// The name of both.
        name: RuleName,
        /// The other rule.
        id: RuleId,
    },
    /// A rule would take what this host sends.
    #[error("{0}")]
    Chain(Box<Chain>),
    /// There are [`limits::RULES`] rules.
    #[error("limit reached: {max} rules; remove one first", max = limits::RULES)]
    TooManyRules,
    /// The outputs of all rules would pass [`limits::OUTPUTS`], or their counters find no run of
    /// adjoining slots.
    #[error(
        "no room for the counters of {wanted} outputs: {free} of {max} are free, {}",
        if *free < *wanted { "too few" } else { "but scattered" },
        max = limits::OUTPUTS
    )]
    TooManyOutputs {
        /// The rule's outputs.
        wanted: usize,
        /// Free slots for outputs.
        free: usize,
    },
}

impl Refused {
    /// The reason in a word, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::InputTaken { .. } | Self::NameTaken { .. } => "conflict",
            Self::Chain(_) => "chain",
            Self::TooManyRules | Self::TooManyOutputs { .. } => "limit",
        }
    }
}

/// Two rules, one of which sends to what the other takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The rule that sends; `None`: the refused one.
    pub sender: Option<RuleId>,
    /// The rule that takes; `None`: the refused one.
    pub taker: Option<RuleId>,
    /// The endpoint of both.
    pub at: Endpoint,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = |id: Option<RuleId>| match id {
            Some(id) => format!("rule {id}"),
            None => "this rule".into(),
        };
        let (sender, taker, at) = (rule(self.sender), rule(self.taker), &self.at);
        write!(
            f,
            "{sender} sends to {at}, and {taker} takes it there: MCR never takes what it sent \
             itself. Give {sender} the outputs of {taker}; if other hosts send to {at}, name one \
             with source="
        )
    }
}

/// A rule as an operator knows it.
struct Named<'a> {
    id: RuleId,
    name: Option<&'a RuleName>,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "{} ({name})", self.id),
            None => self.id.fmt(f),
        }
    }
}
