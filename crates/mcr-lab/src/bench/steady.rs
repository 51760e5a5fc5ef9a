//! `mcr-lab steady`: one rate, kept up second after second through one or more relays in turns.
//!
//! For work on the relay: a profiler finds it under a load that does not change, and two builds can
//! be compared on a machine whose speed does change, because each second of one is followed by a
//! second of the other; so can one build with more options than usual.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::value_parser;

use super::awake::AwakeCores;
use super::bed::Bed;
use super::cores::{self, Cores};
use super::peers::{Other, Peer, Running};
use super::results::median;
use super::scenario::{Path, Scenario};
use super::step::{self, StepReport, Times};
use crate::program;
use crate::user_namespace::{become_root_in_user_namespace, require_namespaces};

const TIMES: Times =
    Times { warm_up: Duration::from_millis(250), measured: Duration::from_secs(1) };

/// A load, and who bears it.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Datagrams a second into the relay.
    #[arg(default_value_t = 100_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    rate: u64,
    /// The relays, in turns.
    #[arg(long, value_name = "RELAY", value_delimiter = ',', default_value = "mcr-uring")]
    relay: Vec<Peer>,
    /// Another build of mcrd to compare with: each MCR relay is measured with both.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// More options of mcrd to compare with, such as "--sandbox off": each MCR relay is measured
    /// with them, too.
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    with: Option<String>,
    /// How often each relay has its second.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    #[command(flatten)]
    scenario: ScenarioOptions,
}

/// The scenario, where it is not the usual one.
#[derive(Debug, Clone, clap::Args)]
struct ScenarioOptions {
    /// Bytes of each payload.
    #[arg(long, default_value_t = 1_000)]
    payload: usize,
    /// Outputs of each rule.
    #[arg(long, default_value_t = 1)]
    fan_out: usize,
    /// Flows, interleaved datagram by datagram.
    #[arg(long, default_value_t = 1)]
    flows: usize,
    /// Rules, at least as many as flows.
    #[arg(long, default_value_t = 1)]
    rules: usize,
    /// Send super-frames, as UDP GSO leaves them on a veth pair.
    #[arg(long, conflicts_with = "flows")]
    super_frames: bool,
    /// Look at statistics, metrics, events and a trace meanwhile.
    #[arg(long)]
    watched: bool,
}

/// A relay at work in a bed of its own.
struct Stage {
    name: String,
    bed: Bed,
    _relay: Running,
    /// Each second's.
    reports: Vec<StepReport>,
}

/// Keeps up the load. Call it first in `main`, before any thread.
pub fn run(options: &Options) -> Result<()> {
    program::mcrd()?;
    become_root_in_user_namespace()?;
    require_namespaces()?;
    let cores = Cores::divide()?;
    cores::confine(&[cores.traffic])?;
    let mut stages = stages(options, &AwakeCores::keep(cores)?)?;
    println!("{}", heading());
    for second in 0..options.seconds {
        for stage in &mut stages {
            let report = step::run(&mut stage.bed, second as u32, options.rate as f64, TIMES)?;
            println!("{}", line(&stage.name, figures(&report)));
            stage.reports.push(report);
        }
    }
    println!("\nmedian of {} seconds", options.seconds);
    for Stage { name, reports, .. } in &stages {
        let of = |column: usize| median(reports.iter().map(|report| figures(report)[column]));
        println!("{}", line(name, std::array::from_fn(of)));
    }
    Ok(())
}

fn stages(options: &Options, awake: &AwakeCores) -> Result<Vec<Stage>> {
    let scenario = options.scenario.scenario();
    let more: Vec<String> =
        options.with.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    let mut others = vec![(String::new(), Other::default())];
    if let Some(program) = options.against.as_deref() {
        let name = format!(" ({})", program.display());
        others.push((name, Other { program: Some(program), ..Other::default() }));
    }
    if !more.is_empty() {
        let name = format!(" {}", more.join(" "));
        others.push((name, Other { options: &more, ..Other::default() }));
    }
    let mut stages = Vec::new();
    for peer in &options.relay {
        let ways = if peer.is_mcr() { &others[..] } else { &others[..1] };
        for (name, other) in ways {
            let bed = Bed::build(&scenario, awake)?;
            let relay = peer.start(&bed, *other)?;
            let name = peer.name().to_owned() + name;
            stages.push(Stage { name, bed, _relay: relay, reports: Vec::new() });
        }
    }
    Ok(stages)
}

impl ScenarioOptions {
    fn scenario(&self) -> Scenario {
        Scenario {
            payload: self.payload,
            fan_out: self.fan_out,
            flows: self.flows,
            rules: self.rules.max(self.flows),
            workers: 1,
            interleaved: self.flows > 1,
            path: if self.super_frames { Path::SuperFrames } else { Path::Frames },
            watched: self.watched,
        }
    }
}

/// What is said of a second: each figure's name, and its digits behind the point.
const COLUMNS: [(&str, usize); 8] = [
    ("kpps in", 1),
    ("kpps out", 1),
    ("lost %", 2),
    // Lost in front of the relay, in the receive queue of its core.
    ("backlog %", 2),
    ("core ns", 0),
    ("busy %", 1),
    ("p50 µs", 1),
    ("p99 µs", 1),
];

fn heading() -> String {
    row("relay", COLUMNS.map(|(name, _)| name.to_owned()))
}

/// A second's figures, by column.
fn figures(report: &StepReport) -> [f64; COLUMNS.len()] {
    let seconds = report.offered.elapsed.as_secs_f64();
    let share = |part: f64| part * 100.0;
    let micros = |per_mille| report.received.latency.per_mille(per_mille) as f64 / 1_000.0;
    [
        report.offered.per_second() / 1_000.0,
        report.received.unique as f64 / seconds / 1_000.0,
        share(report.lost() as f64 / report.expected.max(1) as f64),
        share(report.backlog_drops as f64 / report.offered.sent.max(1) as f64),
        report.cpu_per_datagram() * 1e9,
        share(report.busy / seconds),
        micros(500),
        micros(990),
    ]
}

fn line(name: &str, figures: [f64; COLUMNS.len()]) -> String {
    row(name, std::array::from_fn(|at| format!("{:.*}", COLUMNS[at].1, figures[at])))
}

fn row(name: &str, cells: [String; COLUMNS.len()]) -> String {
    format!("{name:32} {}", cells.map(|cell| format!("{cell:>9}")).join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_below_their_names() {
        let line = line("MCR", [100.0, 99.5, 0.25, 0.0, 9_000.4, 90.0, 50.25, 1_000.0]);
        assert_eq!(line.chars().count(), heading().chars().count());
        assert!(
            line.ends_with(" 99.5      0.25      0.00      9000      90.0      50.2    1000.0")
        );
    }
}
