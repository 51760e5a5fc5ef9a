//! What came of a soak, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::schedule::Kind;

/// Everything that is told at the end.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Summary {
    /// What the faults were made from.
    pub(super) seed: u64,
    /// How long it lasted, in seconds.
    pub(super) seconds: f64,
    /// Datagrams that should have come, one for each flow.
    pub(super) offered: u64,
    /// Of them lost within announced windows.
    pub(super) excused: u64,
    /// How often the machine did not let a sender, and so perhaps a worker, run for long.
    pub(super) held_up: usize,
    /// The faults by kind.
    pub(super) kinds: BTreeMap<Kind, Tally>,
    /// What should not be, a sentence each; none if all is well.
    pub(super) findings: Vec<String>,
}

/// One kind of fault.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Tally {
    /// How often it came.
    pub(super) times: usize,
    /// Of each announced outage the longest of a flow's: milliseconds from the end of its cause.
    pub(super) outages_ms: Vec<f64>,
}

impl Summary {
    /// Counts a fault.
    pub(super) fn count(&mut self, kind: Kind) {
        self.kinds.entry(kind).or_default().times += 1;
    }

    /// Notes how long an announced outage was.
    pub(super) fn note_outage(&mut self, kind: Kind, outage: Duration) {
        self.kinds.entry(kind).or_default().outages_ms.push(outage.as_secs_f64() * 1_000.0);
    }

    /// The table and the verdict.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "\n   {:<22} {:>6} {:>10} {:>12} {:>12}\n",
            "fault", "times", "outages", "median ms", "longest ms"
        );
        for (kind, tally) in &self.kinds {
            let (median, longest) = match middle_and_last(&tally.outages_ms) {
                Some((middle, last)) => (format!("{middle:.0}"), format!("{last:.0}")),
                None => ("-".into(), "-".into()),
            };
            let (times, outages) = (tally.times, tally.outages_ms.len());
            // Writing to a string cannot fail, here and below.
            let _ =
                writeln!(text, "   {kind:<22} {times:>6} {outages:>10} {median:>12} {longest:>12}");
        }
        let faults: usize = self.kinds.values().map(|tally| tally.times).sum();
        let Self { seed, seconds, offered, excused, .. } = self;
        let _ = writeln!(
            text,
            "\n   seed {seed}: {faults} faults in {seconds:.0} s; of {offered} datagrams {excused} \
             were lost in announced outages, which are counted from the end of their cause",
        );
        if self.held_up > 0 {
            let times = self.held_up;
            let _ = writeln!(text, "   The machine itself held a core up {times} times.");
        }
        text
    }
}

/// The median and the largest.
fn middle_and_last(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_kind() {
        let mut summary = Summary { seed: 7, ..Summary::default() };
        summary.count(Kind::RulesChanged);
        for outage in [30, 10, 20] {
            summary.count(Kind::KillWorker);
            summary.note_outage(Kind::KillWorker, Duration::from_millis(outage));
        }
        let text = summary.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..4],
            [
                "   fault                   times    outages    median ms   longest ms",
                "   kill-worker                 3          3           20           30",
                "   rules-changed               1          0            -            -",
            ]
        );
        assert!(text.contains("seed 7: 4 faults"), "{text}");
    }
}
