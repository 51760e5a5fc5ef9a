//! Log records as a worker writes them into its pipe: one JSON object a line.

use serde::{Deserialize, Serialize};

use crate::limits::LOG_LINE_BYTES;
use crate::line::json_line;

/// How much a record matters; a level lets itself and all above it through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something that MCR should do cannot be done.
    Error,
    /// Something is wrong that MCR can live with.
    Warn,
    /// A change that an operator wants to know of.
    Info,
    /// What helps to find a fault.
    Debug,
}

/// One thing that a worker has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// How much it matters.
    pub level: Level,
    /// The part of the worker that says it, such as `ingress`.
    pub area: String,
    /// The worker's number.
    pub worker: u32,
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
        cut(&mut short.area, AREA_BYTES);
        // JSON never takes fewer bytes for a text than the text has, so what is cut from the text
        // is saved in the line at least.
        let keep = self.message.len().saturating_sub(excess + 1 + '…'.len_utf8());
        cut(&mut short.message, keep);
        short.message.push('…');
        json_line(&short)
    }

    /// Reads a line, with or without its newline.
    pub fn from_line(line: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }
}

/// Bytes of an area's name in a record that is too long: every area is a word.
const AREA_BYTES: usize = 32;

fn cut(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: String) -> LogRecord {
        LogRecord { level: Level::Warn, area: "ingress".into(), worker: 3, message }
    }

    #[test]
    fn a_record_is_one_line() {
        let record = record("eth0: \"coalesced\"\nframes".into());
        let line = record.to_line();
        let expected = concat!(
            r#"{"level":"warn","area":"ingress","worker":3,"#,
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
        let mut wide = record("x".repeat(10));
        wide.area = "y".repeat(2 * LOG_LINE_BYTES);
        assert!(wide.to_line().len() <= LOG_LINE_BYTES);
    }

    #[test]
    fn the_longest_whole_line_stays_whole() {
        let empty = record(String::new()).to_line().len();
        let full = record("x".repeat(LOG_LINE_BYTES - empty));
        assert_eq!(full.to_line().len(), LOG_LINE_BYTES);
        assert_eq!(LogRecord::from_line(&full.to_line()).unwrap(), full);
    }
}
