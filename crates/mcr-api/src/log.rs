//! What MCR logs: its areas and levels, the records that a worker writes into its pipe, and the
//! entries that the supervisor prints of them and of its own.

mod area;
mod entry;
mod format;
mod levels;

use serde::{Deserialize, Serialize};

use crate::limits::LOG_LINE_BYTES;
use crate::line::json_line;

pub use area::{Area, UnknownArea};
pub use entry::Entry;
pub use format::Format;
pub use levels::{Level, Levels, UnknownLevel};

/// One thing that a worker has to say: one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// How much it matters.
    pub level: Level,
    /// The part of the worker that says it.
    pub area: Area,
    /// The worker's number.
    pub worker: u32,
    /// The interface that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The id of the rule that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u64>,
    /// A sentence that names the interface or rule, and the remedy where there is one.
    pub message: String,
}

impl LogRecord {
    /// The record as one line with its newline, at most [`LOG_LINE_BYTES`] long: a longer message
    /// is cut and ends in `…`.
    pub fn to_line(&self) -> Vec<u8> {
        let line = json_line(self);
        let Some(excess) = line.len().checked_sub(LOG_LINE_BYTES + 1) else {
            return line;
        };
        let mut short = self.clone();
        // JSON never takes fewer bytes for a text than the text has, so what is cut from the text
        // is saved in the line at least.
        let keep = self.message.len().saturating_sub(excess + 1 + '…'.len_utf8());
        short.message.truncate(short.message.floor_char_boundary(keep));
        short.message.push('…');
        json_line(&short)
    }

    /// Reads a line, with or without its newline.
    pub fn from_line(line: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: String) -> LogRecord {
        let interface = Some("eth0".into());
        LogRecord {
            level: Level::Warn,
            area: Area::Ingress,
            worker: 3,
            interface,
            rule: None,
            message,
        }
    }

    #[test]
    fn a_record_is_one_line() {
        let record = record("eth0: \"coalesced\"\nframes".into());
        let line = record.to_line();
        let expected = concat!(
            r#"{"level":"warn","area":"ingress","worker":3,"interface":"eth0","#,
            r#""message":"eth0: \"coalesced\"\nframes"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(line.clone()).unwrap(), expected);
        assert_eq!(LogRecord::from_line(&line).unwrap(), record);
    }

    #[test]
    fn a_long_message_is_cut_to_the_limit() {
        let line = record("ä".repeat(LOG_LINE_BYTES)).to_line();
        assert!((LOG_LINE_BYTES - 2..=LOG_LINE_BYTES).contains(&line.len()));
        assert!(LogRecord::from_line(&line).unwrap().message.ends_with("ä…"));
        let escaped = record("\0".repeat(LOG_LINE_BYTES)).to_line();
        assert!(escaped.len() <= LOG_LINE_BYTES);
    }

    #[test]
    fn the_longest_whole_line_stays_whole() {
        let empty = record(String::new()).to_line().len();
        let full = record("x".repeat(LOG_LINE_BYTES - empty));
        assert_eq!(full.to_line().len(), LOG_LINE_BYTES);
        assert_eq!(LogRecord::from_line(&full.to_line()).unwrap(), full);
    }
}
