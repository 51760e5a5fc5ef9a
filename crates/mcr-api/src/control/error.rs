//! Why a request was refused.

use std::fmt;

use mcr_core::rule::InvalidRule;
use serde::{Deserialize, Serialize};

use crate::rule::{SpecCause, SpecError};

/// The kind of a refusal, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a JSON object, or not one of the expected form.
    Malformed,
    /// Longer than a request may be.
    TooLarge,
    /// No command has this name.
    UnknownCommand,
    /// The rule cannot be one, whatever the others are.
    Invalid,
    /// Another rule has the same input or the same name.
    Conflict,
    /// A rule would take what another one sends, which MCR never does.
    Chain,
    /// More than MCR is made for.
    Limit,
    /// There is no such rule.
    NotFound,
    /// This client may not do that.
    Forbidden,
    /// Not now; try again.
    Busy,
    /// A fault of MCR or of the machine.
    Internal,
    /// A kind that a later version has added; never sent.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorBody {
    /// The kind of the refusal.
    pub code: ErrorCode,
    /// A sentence that names the cause.
    pub message: String,
}

impl ErrorBody {
    /// An error of this kind for this cause.
    pub fn new(code: ErrorCode, cause: impl fmt::Display) -> Self {
        Self { code, message: cause.to_string() }
    }
}

impl From<SpecError> for ErrorBody {
    fn from(error: SpecError) -> Self {
        let code = match error.cause {
            SpecCause::Rule(InvalidRule::TooManyOutputs(_)) => ErrorCode::Limit,
            _ => ErrorCode::Invalid,
        };
        Self::new(code, error)
    }
}
