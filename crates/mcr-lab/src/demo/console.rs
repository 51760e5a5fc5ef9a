//! Standard output as the demo uses it: one line that changes on a terminal, and numbers that
//! people can read.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::limits;

/// Erases the line from the cursor on (ECMA-48, EL).
const ERASE_LINE: &str = "\r\x1b[K";

/// A line that shows how far things are: rewritten in place on a terminal, printed now and then
/// elsewhere.
#[derive(Debug)]
pub(super) struct ProgressLine {
    terminal: bool,
    shown_at: Option<Instant>,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self { terminal: io::stdout().is_terminal(), shown_at: None }
    }

    /// Whether it is rewritten in place.
    pub(super) fn is_live(&self) -> bool {
        self.terminal
    }

    /// Shows the line, if it is time to.
    pub(super) fn show(&mut self, line: &str) {
        let interval = if self.terminal { Duration::ZERO } else { limits::PLAIN_PROGRESS_INTERVAL };
        if self.shown_at.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        self.shown_at = Some(Instant::now());
        if self.terminal {
            print!("{ERASE_LINE}{line}");
            // What cannot be shown is not worth ending the demo for.
            let _ = io::stdout().flush();
        } else {
            println!("{line}");
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.terminal && self.shown_at.is_some() {
            print!("{ERASE_LINE}");
            let _ = io::stdout().flush();
        }
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration in the unit that suits it: `44 µs`, `12.3 ms`.
pub(super) fn duration(nanoseconds: u64) -> String {
    let micros = nanoseconds as f64 / 1_000.0;
    if micros < 10_000.0 {
        format!("{micros:.0} µs")
    } else {
        format!("{:.1} ms", micros / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let shown = [0, 999, 1_000, 20_000, 123_456_789].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "20,000", "123,456,789"]);
    }

    #[test]
    fn durations_have_the_unit_that_suits_them() {
        assert_eq!(
            [0, 44_400, 9_999_000, 12_345_678].map(duration),
            ["0 µs", "44 µs", "9999 µs", "12.3 ms"]
        );
    }
}
