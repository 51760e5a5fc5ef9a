//! The part of `docs/observing.md` that is made from the code: every metric, counter, reason and
//! area of the log.
//!
//! Whoever adds a counter finds the document's test failing, and `mcr-lab document` mends it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mcr_api::log::Area;
use mcr_api::metrics::{Kind, Metric};
use mcr_core::ledger::{CoreCounter, OutputCounter, RingCounter, RuleCounter};
use mcr_core::verdict::{DropReason, EgressError};

/// The lines between which the generated part stands.
const BEGIN: &str = "<!-- begin: output of cargo run -p mcr-lab -- document -->\n";
const END: &str = "<!-- end -->\n";

/// Writes the document with its generated part made anew.
pub fn run() -> Result<()> {
    let path = path();
    fs::write(&path, renewed(&path)?).with_context(|| format!("writing {}", path.display()))
}

/// The document.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/observing.md")
}

/// The document's text with its generated part made anew.
pub fn renewed(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let (before, rest) = text.split_once(BEGIN).context("no mark of the beginning")?;
    let (_, after) = rest.split_once(END).context("no mark of the end")?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", tables()))
}

fn tables() -> String {
    let counter = |name: &'static str, explanation: &'static str| {
        [format!("`{name}`"), explanation.to_owned()]
    };
    let sections = [
        section(
            "Metrics",
            ["metric", "kind", "labels", "meaning"],
            Metric::ALL.iter().map(|m| metric(*m)),
        ),
        section(
            "Drop reasons: why a datagram is not forwarded",
            ["reason", "meaning"],
            DropReason::ALL.iter().map(|reason| counter(reason.name(), reason.explanation())),
        ),
        section(
            "Egress errors: why a copy is not sent",
            ["reason", "meaning"],
            EgressError::ALL.iter().map(|error| counter(error.name(), error.explanation())),
        ),
        section(
            "Counters of each core",
            ["counter", "meaning"],
            CoreCounter::ALL.iter().map(|c| counter(c.name(), c.explanation())),
        ),
        section(
            "Counters of each ring",
            ["counter", "meaning"],
            RingCounter::ALL.iter().map(|c| counter(c.name(), c.explanation())),
        ),
        section(
            "Counters of each rule",
            ["counter", "meaning"],
            RuleCounter::ALL.iter().map(|c| counter(c.name(), c.explanation())),
        ),
        section(
            "Counters of each output, beside its errors",
            ["counter", "meaning"],
            OutputCounter::ALL.iter().map(|c| counter(c.name(), c.explanation())),
        ),
        section(
            "Areas of the log, each with a level of its own",
            ["area", "meaning"],
            Area::ALL.iter().map(|area| counter(area.name(), area.about())),
        ),
    ];
    sections.join("\n")
}

fn metric(metric: Metric) -> [String; 4] {
    let description = metric.description();
    let name = match description.kind {
        Kind::Histogram => description.family.to_owned(),
        _ => metric.samples().collect(),
    };
    let labels: Vec<_> = description.labels.iter().map(|label| format!("`{label}`")).collect();
    let kind = description.kind.name();
    [format!("`{name}`"), kind.into(), labels.join(", "), description.help.into()]
}

fn section<const N: usize>(
    title: &str,
    columns: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head = line(&columns.map(str::to_owned));
    let rows: Vec<String> = rows.map(|row| line(&row)).collect();
    format!("### {title}\n\n{head}|{}\n{}", "---|".repeat(N), rows.concat())
}
