//! One JSON object a line, as the control protocol and the log pipe carry them.

use serde::Serialize;

/// The object with its newline; JSON itself writes none.
pub(crate) fn json_line(object: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(object).expect("text and numbers always become JSON");
    line.push(b'\n');
    line
}
