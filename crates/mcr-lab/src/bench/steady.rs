//! `mcr-lab steady`: one rate, kept up second after second through one or more relays in turns.
//!
//! For work on the relay: a profiler finds it under a load that does not change, and two builds can
//! be compared on a machine whose speed does change, because each second of one is followed by a
//! second of the other.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::value_parser;

use super::awake::AwakeCores;
use super::bed::Bed;
use super::cores::{self, Cores};
use super::peers::{Peer, Running};
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
}

/// Keeps up the load. Call it first in `main`, before any thread.
pub fn run(options: &Options) -> Result<()> {
    program::mcrd()?;
    become_root_in_user_namespace()?;
    require_namespaces()?;
    let cores = Cores::divide()?;
    cores::confine(&[cores.traffic])?;
    let mut stages = stages(options, &AwakeCores::keep(cores)?)?;
    println!(
        "{:32} {:>9} {:>9} {:>7} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "relay",
        "kpps in",
        "kpps out",
        "lost %",
        "backlog %",
        "core ns",
        "busy %",
        "p50 µs",
        "p99 µs"
    );
    for second in 0..options.seconds {
        for stage in &mut stages {
            let report = step::run(&mut stage.bed, second as u32, options.rate as f64, TIMES)?;
            println!("{}", line(&stage.name, &report));
        }
    }
    Ok(())
}

fn stages(options: &Options, awake: &AwakeCores) -> Result<Vec<Stage>> {
    let scenario = options.scenario.scenario();
    let mut stages = Vec::new();
    for peer in &options.relay {
        let others = options.against.as_deref().filter(|_| peer.is_mcr());
        for program in std::iter::once(None).chain(others.map(Some)) {
            let bed = Bed::build(&scenario, awake)?;
            let relay = peer.start(&bed, program)?;
            let which =
                program.map_or(String::new(), |program| format!(" ({})", program.display()));
            stages.push(Stage { name: peer.name().to_owned() + &which, bed, _relay: relay });
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

fn line(name: &str, report: &StepReport) -> String {
    let seconds = report.offered.elapsed.as_secs_f64();
    let share = |part: f64| part * 100.0;
    let micros = |per_mille| report.received.latency.per_mille(per_mille) as f64 / 1_000.0;
    format!(
        "{name:32} {:>9.1} {:>9.1} {:>7.2} {:>9.2} {:>8.0} {:>8.1} {:>8.1} {:>8.1}",
        report.offered.per_second() / 1_000.0,
        report.received.unique as f64 / seconds / 1_000.0,
        share(report.lost() as f64 / report.expected.max(1) as f64),
        // Lost in front of the relay, in the receive queue of its core.
        share(report.backlog_drops as f64 / report.offered.sent.max(1) as f64),
        report.cpu_per_datagram() * 1e9,
        share(report.busy / seconds),
        micros(500),
        micros(990),
    )
}
