//! The accounting identity: no datagram vanishes without a name.
//!
//! ```text
//! received    = frames read + kernel drops
//! datagrams   = matched + every drop reason
//! copies      = sent + every egress error
//! ```
//! Frames and datagrams are the same number but where a frame is a super-frame of several.
//! It holds for all cores together and for each of them, and in the same way for every output of
//! every rule: `matched = sent + errors`. It is true at any load, once nothing is under way:
//! [`wait_until_settled`] waits for that, [`check`] judges a snapshot, and [`equations`] are there
//! to be shown.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mcr_api::control::{Command, CoreStats, RuleStats, Selection, Stats};

use crate::daemon::Daemon;
use crate::{limits, wait};

/// One line of the identity with its numbers: a whole, and the parts it must be the sum of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equation {
    /// Whose numbers these are: `all cores`, `worker 1`, `rule 3 to 239.2.2.2:6000@eth1`.
    pub scope: String,
    /// Name and value of the whole.
    pub whole: (&'static str, u64),
    /// Names and values of the parts.
    pub parts: Vec<(String, u64)>,
}

impl Equation {
    /// Whether the parts add up to the whole.
    pub fn holds(&self) -> bool {
        self.parts.iter().map(|(_, count)| count).sum::<u64>() == self.whole.1
    }
}

impl fmt::Display for Equation {
    /// `received 110 = frames read 100 + kernel drops 10`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, count) = self.whole;
        let sign = if self.holds() { "=" } else { "≠" };
        write!(f, "{name} {count} {sign} ")?;
        for (place, (name, count)) in self.parts.iter().enumerate() {
            let plus = if place == 0 { "" } else { " + " };
            write!(f, "{plus}{name} {count}")?;
        }
        Ok(())
    }
}

/// Equations that do not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violations(pub Vec<Equation>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the accounting identity does not hold:")?;
        self.0.iter().try_for_each(|equation| write!(f, "\n  {}: {equation}", equation.scope))
    }
}

impl std::error::Error for Violations {}

/// Checks the identity for all cores together, each core, and each output of each rule.
pub fn check(stats: &Stats) -> Result<(), Violations> {
    let cores = stats
        .cores
        .iter()
        .flat_map(|core| equations(&format!("worker {}", core.worker), &core.counters));
    let outputs = stats.rules.iter().flat_map(output_equations);
    let violated: Vec<Equation> = equations("all cores", &stats.totals)
        .into_iter()
        .chain(cores)
        .chain(outputs)
        .filter(|equation| !equation.holds())
        .collect();
    if violated.is_empty() { Ok(()) } else { Err(Violations(violated)) }
}

/// The identity's three lines for one core's counters, or the sum of all.
pub fn equations(scope: &str, counters: &CoreStats) -> [Equation; 3] {
    let equation =
        |whole, parts: Vec<(String, u64)>| Equation { scope: scope.into(), whole, parts };
    let frames_read = counters.frames_read;
    [
        equation(
            ("received", counters.received),
            vec![
                ("frames read".into(), frames_read),
                ("kernel drops".into(), counters.kernel_drops),
            ],
        ),
        equation(
            ("datagrams", counters.datagrams),
            with_reasons(("matched", counters.matched), "drops", &counters.drops),
        ),
        equation(
            ("copies", counters.copies),
            with_reasons(("sent", counters.sent), "errors", &counters.errors),
        ),
    ]
}

/// What matched a rule was sent to each of its outputs, or failed there.
fn output_equations(rule: &RuleStats) -> Vec<Equation> {
    let equation = |output: &mcr_api::control::OutputStats| Equation {
        scope: format!("rule {} to {}", rule.id, output.to),
        whole: ("matched", rule.packets),
        parts: with_reasons(("sent", output.sent), "errors", &output.errors),
    };
    rule.outputs.iter().map(equation).collect()
}

/// A part that went well, then each reason that occurred, or the word for them all with 0.
fn with_reasons(
    (name, count): (&str, u64),
    kind: &str,
    reasons: &BTreeMap<String, u64>,
) -> Vec<(String, u64)> {
    let mut parts = vec![(name.to_owned(), count)];
    parts.extend(reasons.iter().filter(|(_, n)| **n > 0).map(|(name, n)| (name.clone(), *n)));
    if parts.len() == 1 {
        parts.push((kind.into(), 0));
    }
    parts
}

/// The daemon's counters now.
pub fn stats(daemon: &Daemon) -> Result<Stats> {
    daemon.ask(&Command::GetStats(Selection::default()))
}

/// Waits until the daemon has received at least `expected_received` frames since its start, the
/// identity holds, and no counter of a frame has moved for [`limits::STANDSTILL`]; returns these
/// counters. An error within [`limits::SETTLE`] says what was still missing.
///
/// Workers publish their ring's counters every 100 ms, so a snapshot taken at once is too early.
pub fn wait_until_settled(daemon: &Daemon, expected_received: u64) -> Result<Stats> {
    let mut latest = stats(daemon)?;
    let mut still_since = Instant::now();
    let settled = wait::until("the counters settle", limits::SETTLE, || {
        let now = stats(daemon)?;
        if moved(&latest, &now) {
            still_since = Instant::now();
        }
        latest = now;
        Ok(latest.totals.received >= expected_received
            && still_since.elapsed() >= limits::STANDSTILL
            && check(&latest).is_ok())
    });
    let Err(error) = settled else { return Ok(latest) };
    check(&latest).context("the counters did not settle")?;
    let received = latest.totals.received;
    if received < expected_received {
        bail!("received {received} of {expected_received} frames within {:?}", limits::SETTLE);
    }
    Err(error)
}

/// Whether a frame was counted between two snapshots.
fn moved(before: &Stats, after: &Stats) -> bool {
    let frames = |stats: &Stats| {
        let totals = &stats.totals;
        let errors: u64 = totals.errors.values().sum();
        (totals.received, totals.kernel_drops, totals.frames_read, totals.sent, errors)
    };
    frames(before) != frames(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcr_api::control::{CoreReport, OutputStats};

    fn reasons(reasons: &[(&str, u64)]) -> BTreeMap<String, u64> {
        reasons.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn counters() -> CoreStats {
        CoreStats {
            received: 110,
            kernel_drops: 10,
            frames_read: 100,
            datagrams: 100,
            matched: 91,
            copies: 182,
            sent: 180,
            drops: reasons(&[("no_rule", 8), ("truncated", 1), ("own", 0)]),
            errors: reasons(&[("queue_full", 2)]),
            ..CoreStats::default()
        }
    }

    fn snapshot() -> Stats {
        let output = |sent, errors: &[(&str, u64)]| OutputStats {
            to: "239.2.2.2:6000@eth1".into(),
            sent,
            errors: reasons(errors),
            ..OutputStats::default()
        };
        Stats {
            totals: counters(),
            cores: vec![CoreReport {
                worker: 1,
                core: 1,
                counters: counters(),
                ..CoreReport::default()
            }],
            rules: vec![RuleStats {
                id: 3,
                input: "239.1.1.1:5000@eth0".into(),
                packets: 91,
                outputs: vec![output(91, &[]), output(89, &[("queue_full", 2)])],
                ..RuleStats::default()
            }],
            ..Stats::default()
        }
    }

    fn violated(stats: &Stats) -> Vec<String> {
        let Err(Violations(equations)) = check(stats) else { return Vec::new() };
        equations.iter().map(|equation| format!("{}: {equation}", equation.scope)).collect()
    }

    #[test]
    fn complete_accounts_hold() {
        assert_eq!(check(&snapshot()), Ok(()));
        assert_eq!(check(&Stats::default()), Ok(()));
    }

    #[test]
    fn each_missing_datagram_is_named_with_its_numbers() {
        let mut stats = snapshot();
        stats.totals.received += 1;
        stats.cores[0].counters.matched -= 1;
        stats.cores[0].counters.sent += 1;
        stats.rules[0].outputs[1].sent -= 1;
        assert_eq!(
            violated(&stats),
            [
                "all cores: received 111 ≠ frames read 100 + kernel drops 10",
                "worker 1: datagrams 100 ≠ matched 90 + no_rule 8 + truncated 1",
                "worker 1: copies 182 ≠ sent 181 + queue_full 2",
                "rule 3 to 239.2.2.2:6000@eth1: matched 91 ≠ sent 88 + queue_full 2",
            ]
        );
    }

    #[test]
    fn an_equation_reads_as_a_sentence() {
        let quiet = CoreStats { datagrams: 5, matched: 5, ..CoreStats::default() };
        let [_, frames, copies] = equations("all cores", &quiet);
        assert_eq!(frames.to_string(), "datagrams 5 = matched 5 + drops 0");
        assert_eq!(copies.to_string(), "copies 0 = sent 0 + errors 0");
    }

    #[test]
    fn a_standstill_is_one_of_every_count() {
        let (before, mut after) = (snapshot(), snapshot());
        after.uptime_s += 1.0;
        assert!(!moved(&before, &after));
        after.totals.errors.insert("denied".into(), 1);
        assert!(moved(&before, &after));
    }
}
