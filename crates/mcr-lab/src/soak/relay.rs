//! The relay under test: one daemon after another at the same control path, with the same
//! configuration.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, RuleState, RuleStatus, Rules, WorkerState, WorkerStatus, Workers};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::flows::SoakRule;
use crate::bench::idle::cpu_ns;
use crate::daemon::Daemon;
use crate::namespace::Namespace;
use crate::{limits, wait};

/// The daemon, and what it is started with.
#[derive(Debug)]
pub(super) struct Relay {
    /// The present one.
    pub(super) daemon: Daemon,
    /// Which it is, from 1.
    pub(super) life: usize,
    namespace: Namespace,
    cores: String,
    rules: usize,
    // Holds the configuration and the control socket.
    directory: TempDir,
}

impl Relay {
    /// Starts the first daemon.
    pub(super) fn start(
        namespace: &Namespace,
        rules: &[SoakRule],
        cores: &[usize],
    ) -> Result<Self> {
        let directory = TempDir::with_prefix("mcr-soak-")?;
        let text: String = rules.iter().map(ToString::to_string).collect();
        fs::write(directory.path().join(CONFIGURATION), text)?;
        let cores = cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let daemon = start(namespace, &directory, &cores)?;
        let (namespace, rules) = (namespace.clone(), rules.len());
        Ok(Self { daemon, life: 1, namespace, cores, rules, directory })
    }

    /// The configuration file.
    pub(super) fn configuration(&self) -> PathBuf {
        self.directory.path().join(CONFIGURATION)
    }

    /// Starts another daemon in place of one that has ended.
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.daemon = start(&self.namespace, &self.directory, &self.cores)?;
        self.life += 1;
        Ok(())
    }

    /// The workers as the daemon shows them.
    pub(super) fn workers(&self) -> Result<Vec<WorkerStatus>> {
        Ok(self.daemon.ask::<Workers>(&Command::ListWorkers {})?.workers)
    }

    /// The rules as the daemon shows them.
    pub(super) fn rules(&self) -> Result<Vec<RuleStatus>> {
        Ok(self.daemon.ask::<Rules>(&Command::ListRules {})?.rules)
    }

    /// One worker.
    pub(super) fn worker(&self, number: usize) -> Result<WorkerStatus> {
        self.workers()?.into_iter().nth(number).with_context(|| format!("no worker {number}"))
    }

    /// The supervisor's and every worker's process.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        let workers = self.workers()?.into_iter().filter_map(|worker| worker.pid);
        Ok(std::iter::once(self.daemon.pid()).chain(workers).collect())
    }

    /// The processes that use more of a core than the soak's traffic explains.
    pub(super) fn spinning(&self) -> Result<Vec<String>> {
        let pids = self.pids()?;
        // One that ends meanwhile has not spun.
        let used = || pids.iter().map(|pid| cpu_ns(&[*pid]).ok()).collect::<Vec<_>>();
        let (begun, before) = (Instant::now(), used());
        thread::sleep(limits::soak::SPIN_WATCH);
        let (now, watched_ns) = (used(), begun.elapsed().as_nanos() as f64);
        let share = |(before, now): (&Option<u64>, &Option<u64>)| {
            (*now).zip(*before).map_or(0.0, |(now, before)| (now - before) as f64 / watched_ns)
        };
        let shares = before.iter().zip(&now).map(share).enumerate();
        let spinning = shares.filter(|(_, share)| *share > limits::soak::SPIN_SHARE);
        let tell = |(place, share): (usize, f64)| {
            format!("process {place} of the relay uses {:.0} % of a core", 100.0 * share)
        };
        Ok(spinning.map(tell).collect())
    }

    /// Waits until every worker runs and holds what it should, and every rule relays whole.
    pub(super) fn wait_until_healthy(&self) -> Result<()> {
        self.wait_for_rules(0)
    }

    /// Like [`Relay::wait_until_healthy`], with so many rules beside those configured.
    pub(super) fn wait_for_rules(&self, more: usize) -> Result<()> {
        let mut ill = String::new();
        let recovered = wait::until("the relay recovers", limits::soak::RECOVERY, || {
            ill = self.illness(self.rules + more)?;
            Ok(ill.is_empty())
        });
        recovered.with_context(|| ill)
    }

    /// What keeps the relay from its whole work; empty if nothing does.
    fn illness(&self, expected: usize) -> Result<String> {
        let workers = self.workers()?;
        let is_well = |w: &WorkerStatus| w.in_sync && w.state == WorkerState::Running;
        if let Some(worker) = workers.iter().find(|worker| !is_well(worker)) {
            return Ok(format!("{worker:?}"));
        }
        let rules = self.rules()?;
        if rules.len() != expected {
            return Ok(format!("{} rules instead of {expected}", rules.len()));
        }
        let waiting =
            |rule: &&RuleStatus| rule.state != RuleState::Active || !rule.problems.is_empty();
        Ok(rules.iter().find(waiting).map(|rule| format!("{rule:?}")).unwrap_or_default())
    }
}

/// The file's name in the directory.
const CONFIGURATION: &str = "mcrd.toml";

fn start(namespace: &Namespace, directory: &TempDir, cores: &str) -> Result<Daemon> {
    let configuration = directory.path().join(CONFIGURATION);
    let configuration = configuration.to_str().context("a path that is text")?;
    let arguments = ["--cores", cores, "--config", configuration];
    Daemon::start_at(namespace, &directory.path().join("control.sock"), &arguments)
}

/// Sends a process of the relay's a signal.
pub(super) fn signal(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid as i32), signal).with_context(|| format!("{signal} to process {pid}"))
}

/// Waits until none of the processes runs any more, and says how long that took.
pub(super) fn wait_for_end(pids: &[u32], timeout: Duration) -> Result<Duration> {
    let begun = Instant::now();
    let ended =
        |pid: &u32| has_ended(fs::read_to_string(format!("/proc/{pid}/stat")).ok().as_deref());
    wait::until("the processes end", timeout, || Ok(pids.iter().all(ended)))
        .with_context(|| format!("of the processes {pids:?} some still run"))?;
    ensure!(begun.elapsed() <= timeout, "the processes {pids:?} took {:?}", begun.elapsed());
    Ok(begun.elapsed())
}

/// From `/proc/PID/stat`, where there is one: an orphan may wait for ever to be reaped.
fn has_ended(stat: Option<&str>) -> bool {
    // The state follows the program's name, which is in parentheses and may hold some.
    let state = stat.and_then(|stat| stat.rsplit_once(") "));
    state.is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Whether a process does something of its own about a signal (`SigCgt` of `/proc/PID/status`).
pub(super) fn catches(pid: u32, signal: Signal) -> Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    caught(&status, signal).context("no SigCgt in the status of a process")
}

fn caught(status: &str, signal: Signal) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask & 1 << (signal as i32 - 1) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_has_ended() {
        let ended = |state| has_ended(Some(&format!("17 (mcrd (x) y) {state} 1 17 17 0 -1")));
        assert!(has_ended(None) && ended("Z"));
        assert!(!ended("S") && !ended("T"));
    }

    #[test]
    fn the_mask_tells_which_signals_are_caught() {
        let status = "Name:\tmcrd\nSigIgn:\t0000000000001000\nSigCgt:\t0000000100004002\n";
        assert_eq!(caught(status, Signal::SIGINT), Some(true));
        assert_eq!(caught(status, Signal::SIGTERM), Some(true));
        assert_eq!(caught(status, Signal::SIGHUP), Some(false));
        assert_eq!(caught("Name:\tmcrd\n", Signal::SIGHUP), None);
    }
}
