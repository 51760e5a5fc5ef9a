//! How lines of the log are written.

use std::fmt;
use std::str::FromStr;

/// A way of writing lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line: [`Entry`](super::Entry).
    Json,
}

impl Format {
    /// Every choice, as written on a command line.
    pub const NAMES: [&str; 2] = ["text", "json"];
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Text, Self::Json]
            .into_iter()
            .find(|format| format.to_string() == text)
            .ok_or_else(|| format!("{text:?} is none of {}", Self::NAMES.join(", ")))
    }
}
