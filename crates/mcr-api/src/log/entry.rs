//! A line of the daemon's log.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Area, Level};
use crate::line::json_line;
use crate::time::utc;

/// One line of the log, of the supervisor or of a worker. As JSON one object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was said (RFC 3339, UTC, milliseconds).
    pub time: String,
    /// How much it matters.
    pub level: Level,
    /// The part that says it.
    pub area: Area,
    /// The worker that says it, or that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// The interface that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The id of the rule that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u64>,
    /// How often it was said since it was last printed, where that is more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<u64>,
    /// The sentence; it names the worker, interface or rule, too.
    pub message: String,
}

impl Entry {
    /// An entry about nothing in particular. `time_ns` is nanoseconds since 1970, UTC.
    pub fn new(time_ns: u64, level: Level, area: Area, message: String) -> Self {
        Self {
            time: utc(time_ns),
            level,
            area,
            worker: None,
            interface: None,
            rule: None,
            repeated: None,
            message,
        }
    }

    /// The entry as one line of JSON with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        json_line(self)
    }
}

impl fmt::Display for Entry {
    /// For people: `2026-11-23T05:00:00.123Z  WARN [ingress] worker 3: eth0: ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level.name().to_uppercase();
        write!(f, "{} {level:>5} [{}] {}", self.time, self.area, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_line_for_people_and_for_programs() {
        let message = "worker 3: eth0: too \"long\"\nfor it".to_owned();
        let mut entry = Entry::new(1_700_000_000_123_456_789, Level::Warn, Area::Ingress, message);
        entry.worker = Some(3);
        entry.repeated = Some(37);
        let json = String::from_utf8(entry.to_line()).unwrap();
        let expected = concat!(
            r#"{"time":"2023-11-14T22:13:20.123Z","level":"warn","area":"ingress","worker":3,"#,
            r#""repeated":37,"message":"worker 3: eth0: too \"long\"\nfor it"}"#,
            "\n"
        );
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
        let text = "2023-11-14T22:13:20.123Z  WARN [ingress] worker 3: eth0: too";
        assert!(entry.to_string().starts_with(text), "{entry}");
    }
}
