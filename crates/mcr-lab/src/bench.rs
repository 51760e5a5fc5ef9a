//! `cargo bench-lab`: what the relay carries, beside what a user would otherwise take.
//!
//! Generator, relay and sink stand in namespaces of their own (`bed`), generator and sink on one
//! core and all that the relay costs on another (`isolation` checks it). `search` finds the
//! clean rate, `measure` adds cost and latency, `run` takes relays and points in turns.

mod awake;
mod backlog;
mod bed;
mod book;
mod chart;
mod churn;
mod cores;
pub(crate) mod idle;
mod isolation;
mod machine;
mod measure;
pub(crate) mod memory;
mod pacer;
mod peers;
mod progress;
mod results;
mod run;
mod scenario;
mod search;
mod sink;
mod stamp;
pub mod steady;
mod steering;
mod step;
mod table;
mod targets;
mod template;
mod traffic;
mod watchers;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::value_parser;

use crate::program;
use crate::user_namespace::{become_root_in_user_namespace, require_namespaces};
use awake::AwakeCores;
use churn::Churn;
use cores::Cores;
use machine::Machine;
use measure::Method;
use peers::Peer;
use progress::Progress;
use results::{Point, Results};
use scenario::Axis;

/// How long rounds may take in all, so that a whole run ends in under 30 minutes and a quick one in
/// under two, with what comes before and after them.
const FULL_RUN: Duration = Duration::from_mins(27);
const QUICK_RUN: Duration = Duration::from_secs(100);

/// What the benchmark measures.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Measure the most telling points only, in under two minutes.
    #[arg(long)]
    quick: bool,
    /// Measure this axis only.
    #[arg(long, value_name = "AXIS")]
    only: Option<Axis>,
    /// How often each relay is measured at each point [default: 3, quick 2].
    #[arg(long, value_parser = value_parser!(u64).range(1..=100))]
    rounds: Option<u64>,
    /// Where the JSON file and the charts go [default: bench-lab in cargo's target directory].
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

impl Options {
    fn method(&self) -> Method {
        let rounds = self.rounds.unwrap_or(if self.quick { 2 } else { 3 }) as usize;
        let full = Method {
            warm_up_ms: 200,
            measured_ms: 500,
            latency_ms: 1_000,
            precision: 0.03,
            rounds,
            latency_rounds: rounds,
            budget: FULL_RUN,
        };
        let quick = Method {
            warm_up_ms: 80,
            measured_ms: 200,
            latency_ms: 300,
            precision: 0.06,
            latency_rounds: 1,
            budget: QUICK_RUN,
            ..full
        };
        if self.quick { quick } else { full }
    }

    fn axes(&self) -> Vec<Axis> {
        match self.only {
            Some(axis) => vec![axis],
            None if self.quick => Axis::QUICK.to_vec(),
            None => Axis::ALL.to_vec(),
        }
    }

    fn output(&self) -> Result<PathBuf> {
        if let Some(output) = &self.output {
            return Ok(output.clone());
        }
        let target = program::target_directory().context("say --output: no target directory")?;
        Ok(target.join("bench-lab"))
    }
}

/// Runs the benchmark. Call it first in `main`, before any thread.
pub fn run(options: &Options) -> Result<()> {
    // Before the user namespace: in it cargo would not find its owner's files.
    let output = options.output()?;
    program::mcrd()?;
    become_root_in_user_namespace()?;
    require_namespaces()?;
    let start = Instant::now();
    let (machine, cores) = (Machine::this(), Cores::divide()?);
    // Everything but the relay stays on the traffic's core.
    cores::confine(&[cores.traffic])?;
    let awake = AwakeCores::keep(cores)?;
    isolation::verify(&awake)?;
    let method = options.method();
    let tasks = run::tasks(&options.axes(), options.quick && options.only.is_none());
    let mut results = Results {
        machine,
        cores,
        method,
        foreign_load: isolation::foreign_load(&awake)?,
        generator_ceiling: isolation::generator_ceiling(&awake)?,
        points: Vec::new(),
        churn: None,
        idle: None,
        targets: Vec::new(),
        elapsed_s: 0.0,
    };
    let mut progress = Progress::new(method.rounds, tasks.len());
    results.points = run::run(&tasks, &awake, method, &mut progress)?;
    if options.only.is_none() {
        progress.say("rules that change, and none");
        results.churn = churn(&results, &awake)?;
        results.idle = Some(idle::measure(&awake)?);
    }
    drop(progress);
    results.targets = targets::all(&results);
    results.elapsed_s = start.elapsed().as_secs_f64();
    println!("{}", table::whole(&results));
    fs::create_dir_all(&output).with_context(|| output.display().to_string())?;
    let json = output.join("results.json");
    fs::write(&json, serde_json::to_string_pretty(&results)?)
        .with_context(|| json.display().to_string())?;
    chart::draw_all(&results, &output)?;
    println!("{} and charts beside it", json.display());
    Ok(())
}

/// At the clean rate that the run found for the usual scenario.
fn churn(results: &Results, awake: &AwakeCores) -> Result<Option<Churn>> {
    let own = results.on(Axis::Peers).find(|point| point.peer == Peer::McrUring);
    let clean = own.and_then(Point::out_per_second).filter(|clean| *clean > 0.0);
    clean.map(|clean| churn::measure(awake, results.method, clean)).transpose()
}
