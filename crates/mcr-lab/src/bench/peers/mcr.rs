//! MCR: the real daemon with a configuration file.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, Mechanism, Stats, Workers};
use tempfile::TempDir;

use crate::bench::bed::Bed;
use crate::bench::cores::on_cores;
use crate::bench::memory;
use crate::bench::scenario::Scenario;
use crate::daemon::Daemon;
use crate::{limits, wait};

/// A running daemon with all rules applied.
#[derive(Debug)]
pub(crate) struct Mcr {
    daemon: Daemon,
    mechanism: Mechanism,
    // Holds the configuration file.
    _directory: TempDir,
}

/// What MCR's workers counted since their start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Copies sent.
    pub(crate) sent: u64,
    /// System calls of the data path, at most.
    pub(crate) system_calls: u64,
    /// Nanoseconds not spent waiting.
    pub(crate) busy_ns: u64,
}

impl Work {
    /// What was done since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            system_calls: self.system_calls - before.system_calls,
            busy_ns: self.busy_ns - before.busy_ns,
        }
    }
}

impl Mcr {
    pub(super) fn start(bed: &Bed, mechanism: Mechanism, program: Option<&Path>) -> Result<Self> {
        let directory = TempDir::with_prefix("mcr-bench-")?;
        let path = directory.path().join("mcr.toml");
        fs::write(&path, configuration(&bed.scenario)).context("writing the configuration")?;
        let cores = bed.awake.division.of_workers(bed.scenario.workers);
        let list = cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let way = mechanism.name();
        let path = path.to_str().context("a temporary path is text")?;
        let arguments = ["--config", path, "--cores", &list, "--io", way];
        let daemon = on_cores(&cores, || {
            let ready = limits::BENCH_RULES_APPLIED;
            match program {
                Some(program) => Daemon::start_build(program, bed.relay(), &arguments, ready),
                None => Daemon::start_within(bed.relay(), &arguments, ready),
            }
        })?;
        let mcr = Self { daemon, mechanism, _directory: directory };
        mcr.wait_until_applied(bed.scenario.rules as u64)?;
        Ok(mcr)
    }

    pub(super) fn work(&self) -> Result<Work> {
        let totals = self.daemon.ask::<Stats>(&Command::GetStats {})?.totals;
        // A batch's sends are one call, or one for as many as fit; each wait is one.
        let sending = totals.batches + totals.sends / limits::SENDS_IN_A_CALL;
        Ok(Work {
            sent: totals.sent,
            system_calls: sending + totals.wake_ups,
            busy_ns: totals.busy_ns,
        })
    }

    pub(super) fn resident_bytes(&self) -> Result<u64> {
        let workers = self.workers()?.workers;
        let resident = workers.iter().filter_map(|worker| worker.pid).map(memory::resident_bytes);
        resident.collect::<Result<Vec<_>>>()?.into_iter().max().context("MCR has no worker")
    }

    fn workers(&self) -> Result<Workers> {
        self.daemon.ask(&Command::ListWorkers {})
    }

    fn wait_until_applied(&self, rules: u64) -> Result<()> {
        wait::until("MCR's workers have all rules", limits::BENCH_RULES_APPLIED, || {
            let workers = self.workers()?.workers;
            for worker in &workers {
                ensure!(
                    worker.io.is_none_or(|io| io == self.mechanism),
                    "worker {} does not run on {}",
                    worker.worker,
                    self.mechanism.name()
                );
            }
            Ok(workers.iter().all(|w| w.in_sync && w.rules == rules && w.io.is_some()))
        })
    }
}

fn configuration(scenario: &Scenario) -> String {
    let mut text = String::new();
    for rule in 0..scenario.rules {
        let outputs: Vec<String> = (0..scenario.fan_out)
            .map(|copy| format!("\"{}@out0\"", Scenario::output(rule, copy)))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "[[rule]]\ninput = \"{}@in{}\"\noutputs = [{}]",
            scenario.input(rule),
            scenario.link(rule),
            outputs.join(", "),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use mcr_api::config::Config;

    use super::*;

    #[test]
    fn the_configuration_is_what_mcrd_reads() {
        let scenario = Scenario { fan_out: 3, flows: 20, rules: 20, ..Scenario::default() };
        let config = Config::parse(&configuration(&scenario), "bench").unwrap();
        assert_eq!(config.rules.len(), 20);
        assert!(config.rules.iter().all(|configured| configured.rule.outputs.len() == 3));
    }
}
