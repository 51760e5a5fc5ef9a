//! Requests of a client.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Access, ErrorBody, ErrorCode, Response, TraceOrder, TraceReading, TraceSubject};
use crate::limits::MAX_REQUEST_BYTES;
use crate::line::json_line;
use crate::log::Level;
use crate::rule::RuleSpec;

/// One request: `{"id":1,"command":"AddRule","rule":{...}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// The client's number for it, given back in the response.
    pub id: u64,
    /// The command.
    #[serde(flatten)]
    pub command: Command,
}

/// A command. One without fields is written with braces, because serde looks for fields
/// that should not be there only in such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", deny_unknown_fields)]
pub enum Command {
    /// Asks for the daemon's version. Answered by [`Version`](super::Version).
    GetVersion {},
    /// Relay this. Answered by [`Added`](super::Added).
    AddRule {
        /// The rule.
        rule: RuleSpec,
    },
    /// Relay this no more. Answered by [`Removed`](super::Removed).
    RemoveRule {
        /// The rule.
        rule: RuleReference,
    },
    /// Read the configuration file again. Answered by [`Reloaded`](super::Reloaded).
    Reload {},
    /// Every rule. Answered by [`Rules`](super::Rules).
    ListRules {},
    /// Every worker. Answered by [`Workers`](super::Workers).
    ListWorkers {},
    /// The counters. Answered by [`Stats`](super::Stats).
    GetStats(Selection),
    /// The latest events. Answered by [`Events`](super::Events).
    GetEvents {},
    /// Events as they happen. Answered by [`Subscribed`](super::Subscribed), after which the
    /// connection carries one [`Event`](super::Event) a line, and nothing more is read from it.
    Subscribe {
        /// Begin with those after this one that are still known; without it, with the next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    /// Log this much from now on. Answered by [`Levels`](crate::log::Levels).
    SetLogLevel {
        /// The name of an [`Area`](crate::log::Area); without it, all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        area: Option<String>,
        /// The level.
        level: Level,
    },
    /// Record the lives of datagrams. Answered by [`Tracing`](super::Tracing).
    EnableTrace(TraceOrder),
    /// Record them no more. Answered by [`TracesEnded`](super::TracesEnded).
    DisableTrace(TraceSubject),
    /// Asks for recorded datagrams. Answered by [`Traces`](super::Traces).
    GetTrace(TraceReading),
}

/// A selection of the statistics; by default all. Totals and cores are always there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// This rule only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleReference>,
    /// Only the rings of this interface, and the rules with an input or output there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// A rule's id, a number, or its name, a text that is no number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a rule's id (a number) or its name (a string)")]
pub enum RuleReference {
    /// The id.
    Id(u64),
    /// The name.
    Name(String),
}

impl FromStr for RuleReference {
    type Err = ParseIntError;

    /// Reads digits as an id, since no name has only digits, and all else as a name.
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().map(Self::Id)
        } else {
            Ok(Self::Name(text.into()))
        }
    }
}

impl fmt::Display for RuleReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// A request that could not be understood, with its id where that could.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct RefusedRequest {
    /// The request's id.
    pub id: Option<u64>,
    /// The cause.
    pub error: ErrorBody,
}

impl<B> From<RefusedRequest> for Response<B> {
    fn from(refused: RefusedRequest) -> Self {
        Self { id: refused.id, result: Err(refused.error) }
    }
}

impl Request {
    /// Reads a line, with or without its newline.
    pub fn parse(line: &[u8]) -> Result<Self, RefusedRequest> {
        let refused = |id, error| RefusedRequest { id, error };
        let mut fields = object(line).map_err(|error| refused(None, error))?;
        let id = match fields.remove("id").as_ref().map(Value::as_u64) {
            Some(Some(id)) => id,
            Some(None) => return Err(refused(None, malformed("\"id\" is not a number from 0"))),
            None => {
                return Err(refused(None, malformed("the request has no \"id\" (a number)")));
            }
        };
        let command = Command::parse(fields).map_err(|error| refused(Some(id), error))?;
        Ok(Self { id, command })
    }

    /// The request as one line with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        json_line(self)
    }
}

impl Command {
    /// The names of all commands.
    pub const NAMES: &[&str] = &[
        "GetVersion",
        "AddRule",
        "RemoveRule",
        "Reload",
        "ListRules",
        "ListWorkers",
        "GetStats",
        "GetEvents",
        "Subscribe",
        "SetLogLevel",
        "EnableTrace",
        "DisableTrace",
        "GetTrace",
    ];

    /// The command as its JSON object.
    ///
    /// # Panics
    /// Never: it holds texts and numbers alone.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a command is texts and numbers")
    }

    /// The access that it needs: the one table of that.
    pub const fn access(&self) -> Access {
        match self {
            Self::AddRule { .. }
            | Self::RemoveRule { .. }
            | Self::Reload {}
            | Self::SetLogLevel { .. }
            // Workers and the kernel's filters do more while a trace lasts.
            | Self::EnableTrace(_)
            | Self::DisableTrace(_) => Access::Change,
            Self::GetVersion {}
            | Self::ListRules {}
            | Self::ListWorkers {}
            | Self::GetStats(_)
            | Self::GetEvents {}
            | Self::Subscribe { .. }
            | Self::GetTrace(_) => Access::Read,
        }
    }

    fn parse(fields: Map<String, Value>) -> Result<Self, ErrorBody> {
        let name = match fields.get("command") {
            Some(Value::String(name)) => name.clone(),
            Some(_) => return Err(malformed("\"command\" is not a string")),
            None => return Err(malformed("the request has no \"command\"")),
        };
        if !Self::NAMES.contains(&name.as_str()) {
            let known = Self::NAMES.join(", ");
            let cause = format!("there is no command {name:?}; there are {known}");
            return Err(ErrorBody::new(ErrorCode::UnknownCommand, cause));
        }
        serde_json::from_value(Value::Object(fields))
            .map_err(|error| malformed(format_args!("{name}: {error}")))
    }
}

fn object(line: &[u8]) -> Result<Map<String, Value>, ErrorBody> {
    if line.len() > MAX_REQUEST_BYTES {
        let cause = format!("the request is longer than {MAX_REQUEST_BYTES} bytes");
        return Err(ErrorBody::new(ErrorCode::TooLarge, cause));
    }
    match serde_json::from_slice(line) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(malformed("the request is not a JSON object")),
        Err(error) => Err(malformed(format_args!("the request is not JSON: {error}"))),
    }
}

fn malformed(cause: impl fmt::Display) -> ErrorBody {
    ErrorBody::new(ErrorCode::Malformed, cause)
}
