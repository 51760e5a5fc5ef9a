//! A rule as it is written in a request, a reply and the configuration file.

mod output;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use mcr_core::endpoint::EndpointError;
use mcr_core::rule::{InputKey, InvalidRule, Rule};
use serde::{Deserialize, Deserializer, Serialize};

pub use output::{OutputObject, OutputSpec};

/// A rule as it is written; `Rule::try_from` makes the checked rule of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// The owner's name for it, unique among the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its input: `ADDRESS:PORT@INTERFACE`.
    pub input: String,
    /// The only source that it takes from; any source if absent.
    #[serde(default, deserialize_with = "source_address", skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Its outputs, at least one.
    pub outputs: Vec<OutputSpec>,
    /// Whether what it takes goes no further in the host's network stack.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
}

impl TryFrom<RuleSpec> for Rule {
    type Error = SpecError;

    fn try_from(spec: RuleSpec) -> Result<Self, SpecError> {
        let whole = |error| SpecError::new(Key::Rule, error);
        let name = spec.name.map(|name| name.parse()).transpose();
        let endpoint = spec.input.parse();
        let outputs = spec.outputs.iter().enumerate().map(|(place, output)| {
            output.try_into().map_err(|error| SpecError::new(Key::Output(place), error))
        });
        let rule = Self {
            name: name.map_err(|error| SpecError::new(Key::Name, error))?,
            input: InputKey {
                endpoint: endpoint.map_err(|error| SpecError::new(Key::Input, error))?,
                source: spec.source,
            },
            outputs: outputs.collect::<Result<_, _>>()?,
            exclusive: spec.exclusive,
        };
        rule.check().map_err(whole)?;
        Ok(rule)
    }
}

impl From<&Rule> for RuleSpec {
    fn from(rule: &Rule) -> Self {
        Self {
            name: rule.name.as_ref().map(ToString::to_string),
            input: rule.input.endpoint.to_string(),
            source: rule.input.source,
            outputs: rule.outputs.iter().map(OutputSpec::from).collect(),
            exclusive: rule.exclusive,
        }
    }
}

/// The part of a rule that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The name.
    Name,
    /// The input.
    Input,
    /// The output at this place, from 0.
    Output(usize),
    /// The rule as a whole.
    Rule,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("name"),
            Self::Input => f.write_str("input"),
            Self::Output(place) => write!(f, "output {}", place + 1),
            Self::Rule => f.write_str("rule"),
        }
    }
}

/// Why a written rule is no rule, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {cause}")]
pub struct SpecError {
    /// The place of the error.
    pub key: Key,
    /// Why.
    #[source]
    pub cause: SpecCause,
}

impl SpecError {
    fn new(key: Key, cause: impl Into<SpecCause>) -> Self {
        Self { key, cause: cause.into() }
    }
}

/// Why a part of a rule is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecCause {
    /// An input or output is no endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The rule says what no rule may.
    #[error(transparent)]
    Rule(#[from] InvalidRule),
    /// An option with no such name.
    #[error(
        "{0:?} is not an option of an output; there are ttl=N, dscp=N, source=ADDRESS, \
         source-port=N and loop"
    )]
    UnknownOption(String),
    /// An option that stands twice.
    #[error("option {0} is given twice")]
    OptionTwice(String),
    /// An option's value.
    #[error("{option}={value:?}: {wanted} is needed")]
    OptionValue {
        /// The option.
        option: &'static str,
        /// The given value.
        value: String,
        /// The expected form.
        wanted: &'static str,
    },
}

/// Reads an address such that the error says what was found; serde's own does not.
pub(crate) fn source_address<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        serde::de::Error::custom(format_args!(
            "source {text:?} is not an IPv4 or IPv6 address, such as 10.0.0.7"
        ))
    })
}
