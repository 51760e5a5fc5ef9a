//! `cargo soak`: a relay in which everything goes wrong that can be made to, and the proof that
//! only those notice whom it concerns, and only for as long as was announced.
//!
//! A `schedule` of `faults` comes from a seed. Each announces a `window` in which some flows may
//! lose; `traffic` and `witness` write down what was sent and what came, and at `quiet` points a
//! `judgement` is made over both, and the relay's accounts and `usage` are looked at.

mod bed;
mod faults;
mod flows;
mod judgement;
mod quiet;
mod relay;
mod schedule;
mod summary;
mod traffic;
mod usage;
mod window;
mod witness;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use mcr_sys::process::{allowed_cores, monotonic_ns};
use nix::sys::signal::Signal;

use crate::interrupt::{Interrupt, Interrupted};
use crate::user_namespace::{become_root_in_user_namespace, require_namespaces};
use crate::{limits, payload, program};
use bed::Bed;
use faults::Scene;
use quiet::Judge;
use relay::Relay;
use schedule::{Kind, Schedule};
use summary::Summary;
use traffic::Traffic;
use window::Window;
use witness::Witnesses;

/// What a shell reports for a program that was ended by SIGINT: 128 + 2.
const EXIT_INTERRUPTED: u8 = 128 + 2;

/// How long, and which faults.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How long, such as 90s, 10m or 8h.
    #[arg(default_value = "2m", value_parser = duration)]
    duration: Duration,
    /// Repeat the faults of this run.
    #[arg(long)]
    seed: Option<u64>,
    /// These kinds of faults only, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS")]
    only: Vec<Kind>,
    /// Write the summary to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the soak. Call it first in `main`, before any thread; success only if all is as it should
/// be.
pub fn run(options: &Options) -> Result<ExitCode> {
    // Before the user namespace: in it cargo would not find its owner's files.
    println!("Building mcrd, if it is not yet ...");
    program::mcrd()?;
    become_root_in_user_namespace()?;
    require_namespaces()?;
    let interrupt = Interrupt::listen()?;
    let seed = options.seed.unwrap_or_else(payload::now_ns);
    println!("Soak for {:?}, seed {seed}; the same faults again: --seed {seed}", options.duration);
    match soak(options, seed, &interrupt) {
        Ok(summary) => conclude(options, &summary),
        Err(error) if error.is::<Interrupted>() || interrupt.has_come() => {
            println!("Interrupted. Everything is cleaned up.");
            Ok(EXIT_INTERRUPTED.into())
        }
        Err(error) => Err(error.context(format!("the soak of seed {seed} broke off"))),
    }
}

fn conclude(options: &Options, summary: &Summary) -> Result<ExitCode> {
    println!("{}", summary.text());
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(summary)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    if summary.findings.is_empty() {
        println!("   All is as it should be: healthy flows lost nothing, nothing came twice.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("   NOT all is as it should be, with seed {}:", summary.seed);
    for finding in &summary.findings {
        println!("    - {finding}");
    }
    Ok(ExitCode::FAILURE)
}

/// Everything is gone again when this returns.
fn soak(options: &Options, seed: u64, interrupt: &Interrupt) -> Result<Summary> {
    let mut soak = Soak::begin(options, seed)?;
    let endured = soak.endure(options.duration, interrupt);
    let interrupted = endured.as_ref().is_err_and(anyhow::Error::is::<Interrupted>);
    if !interrupted && (endured.is_err() || !soak.summary.findings.is_empty()) {
        soak.show_log();
    }
    endured?;
    let stopped = soak.scene.relay.daemon.terminate()?;
    if !stopped.success() {
        bail!("mcrd did not stop cleanly: {stopped}");
    }
    Ok(soak.summary)
}

/// A soak under way.
#[derive(Debug)]
struct Soak {
    scene: Scene,
    traffic: Traffic,
    schedule: Schedule,
    judge: Judge,
    /// Announced since the last quiet point.
    windows: Vec<Window>,
    summary: Summary,
}

impl Soak {
    fn begin(options: &Options, seed: u64) -> Result<Self> {
        // Two workers, so that one can be seen to be left alone by what happens to the other.
        let cores: Vec<usize> = allowed_cores().into_iter().take(2).collect();
        let rules = flows::rules();
        let flows = flows::flows(&rules, cores.len());
        let bed = Bed::build()?;
        let relay = Relay::start(&bed.net.relay, &rules, &cores)?;
        let witnesses = Witnesses::start(&bed.net.sinks, &flows)?;
        let kinds = kinds(options, &bed, &relay)?;
        let traffic = Traffic::start(&bed.net.source, &rules, &cores)?;
        let start_ns = monotonic_ns();
        Ok(Self {
            scene: Scene { bed, relay, witnesses, flows, deaths: 0 },
            traffic,
            schedule: Schedule::new(seed, &kinds, cores.len()),
            judge: Judge::new(start_ns),
            windows: Vec::new(),
            summary: Summary { seed, ..Summary::default() },
        })
    }

    fn endure(&mut self, duration: Duration, interrupt: &Interrupt) -> Result<()> {
        let start = Instant::now();
        interrupt.pause(limits::soak::WARM_UP)?;
        self.be_quiet(start)?;
        let (mut faults, mut hasty) = (0, false);
        while start.elapsed() < duration {
            let fault = self.schedule.next();
            let last_of_life = fault.kind.restarts_the_supervisor();
            // What a daemon has counted and holds is looked at before it goes.
            if faults == limits::soak::FAULTS_TO_QUIET || (last_of_life && faults > 0 && !hasty) {
                self.scene.wait_until_flowing()?;
                self.be_quiet(start)?;
                (faults, hasty) = (0, false);
            }
            interrupt.pause(if hasty { Duration::ZERO } else { fault.calm })?;
            println!("{:>8.3} s  {fault}", start.elapsed().as_secs_f64());
            let outcome = self.scene.strike(&fault)?;
            self.summary.count(fault.kind);
            self.summary.findings.extend(outcome.findings);
            self.windows.extend(outcome.windows);
            (faults, hasty) = (faults + 1, fault.hasty);
        }
        self.scene.wait_until_flowing()?;
        interrupt.pause(limits::soak::CALM.end)?;
        self.be_quiet(start)?;
        self.summary.seconds = start.elapsed().as_secs_f64();
        Ok(())
    }

    fn be_quiet(&mut self, start: Instant) -> Result<()> {
        let Self { scene, traffic, judge, windows, summary, .. } = self;
        let told = summary.findings.len();
        judge.judge(scene, traffic, windows, summary)?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{seconds:>8.3} s  quiet: {} of {} lost in announced outages; {}",
            summary.excused,
            summary.offered,
            judge.usage().map(ToString::to_string).unwrap_or_default(),
        );
        for finding in &summary.findings[told..] {
            println!("{seconds:>8.3} s  WRONG: {finding}");
        }
        Ok(())
    }

    fn show_log(&self) {
        let lines = self.scene.relay.daemon.log_lines();
        let first = lines.len().saturating_sub(limits::soak::LOG_LINES);
        println!("   The last lines of mcrd's log:");
        for line in &lines[first..] {
            println!("   | {line}");
        }
    }
}

/// The kinds asked for, or all that this daemon is made for.
fn kinds(options: &Options, bed: &Bed, relay: &Relay) -> Result<Vec<Kind>> {
    // To a daemon that does nothing about it, SIGHUP is the end.
    let reloads = relay::catches(relay.daemon.pid(), Signal::SIGHUP)?;
    let mut kinds = match options.only.as_slice() {
        [] => Kind::value_variants().to_vec(),
        only => only.to_vec(),
    };
    kinds.sort_unstable();
    kinds.dedup();
    kinds.retain(|kind| reloads || *kind != Kind::Reload);
    if !reloads {
        println!("This mcrd does not reload its configuration: no faults of that kind.");
    }
    if kinds.contains(&Kind::RingStopped) && !faults::can_stop_rings(bed) {
        println!("This machine forbids taps: no faults of the kind ring-stopped.");
        kinds.retain(|kind| *kind != Kind::RingStopped);
    }
    if kinds.is_empty() {
        bail!("no kind of fault is left");
    }
    Ok(kinds)
}

/// `90s`, `10m` or `8h`.
fn duration(text: &str) -> Result<Duration> {
    let units = [('s', 1), ('m', 60), ('h', 60 * 60)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        number.checked_mul(*seconds).filter(|seconds| *seconds > 0)
    });
    parsed.map(Duration::from_secs).with_context(|| format!("{text:?} is none, such as 90s or 10m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs()).ok();
        assert_eq!(["90s", "10m", "2h"].map(seconds), [Some(90), Some(600), Some(7_200)]);
        assert_eq!(["", "0s", "10", "m", "-1s", "10d", "1.5h"].map(seconds), [None; 7]);
    }
}
