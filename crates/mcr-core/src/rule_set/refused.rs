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
    #[error("rule {} takes {input} already", Named { id: *id, name: name.as_ref() })]
    InputTaken {
        /// The input of both.
        input: InputKey,
        /// The other rule.
        id: RuleId,
        /// The other rule's name.
        name: Option<RuleName>,
    },
    /// Another rule has the same name.
    #[error("rule {id} is named {name} already")]
    NameTaken {
        /// The name of both.
        name: RuleName,
        /// The other rule.
        id: RuleId,
    },
    /// Datagrams would come back to the rule's input.
    #[error("the rule's datagrams would circle: {0}")]
    Cycle(Cycle),
    /// There are [`limits::RULES`] rules.
    #[error("there are {max} rules, and no more may be", max = limits::RULES)]
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
            Self::Cycle(_) => "cycle",
            Self::TooManyRules | Self::TooManyOutputs { .. } => "limit",
        }
    }
}

/// The way by which datagrams would come back to where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The refused rule's input, where the way begins and ends.
    pub input: Endpoint,
    /// The rules that the datagrams would pass after the refused one, each with its input.
    pub through: Vec<(Endpoint, RuleId)>,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.input)?;
        for (input, id) in self.through.iter().take(limits::CYCLE_SHOWN) {
            write!(f, " -> {input} (rule {id})")?;
        }
        match self.through.len().saturating_sub(limits::CYCLE_SHOWN) {
            0 => {}
            more => write!(f, " -> {more} more rules")?,
        }
        write!(f, " -> {}", self.input)
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
