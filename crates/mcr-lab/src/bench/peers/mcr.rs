//! MCR: the real daemon with a configuration file.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, Mechanism, Selection, Stats, WorkerStatus, Workers};
use tempfile::TempDir;

use crate::bench::bed::Bed;
use crate::bench::cores::on_cores;
use crate::bench::memory;
use crate::bench::scenario::Scenario;
use crate::bench::watchers::{self, Watchers};
use crate::daemon::Daemon;
use crate::namespace::Namespace;
use crate::{limits, wait};

/// The daemon with all rules applied, or two of them in a chain.
#[derive(Debug)]
pub(crate) struct Mcr {
    // First to go, since it looks at the first daemon.
    watchers: Option<Watchers>,
    /// In the order that a datagram meets them.
    daemons: Vec<Daemon>,
    manner: Manner,
    // Holds the configuration files.
    directory: TempDir,
}

/// How MCR is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// How workers send and wait.
    pub(crate) mechanism: Mechanism,
    /// Whether the rules are exclusive.
    pub(crate) exclusive: bool,
}

/// In what a daemon differs from the build beside this program with the benchmark's options.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Other<'a> {
    /// Another build.
    pub(crate) program: Option<&'a Path>,
    /// More options.
    pub(crate) options: &'a [String],
}

/// What MCR's workers counted since their start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Copies sent.
    pub(crate) sent: u64,
    /// System calls of the data path.
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
    pub(super) fn start(bed: &Bed, manner: Manner, other: Other<'_>) -> Result<Self> {
        let directory = TempDir::with_prefix("mcr-bench-")?;
        let mut mcr = Self { watchers: None, daemons: Vec::new(), manner, directory };
        let first = (bed.relay(), configuration(&bed.scenario, manner));
        let second =
            bed.second_relay().map(|second| (second, second_configuration(&bed.scenario, manner)));
        for (namespace, configuration) in std::iter::once(first).chain(second) {
            let daemon = mcr.start_one(bed, namespace, &configuration, other)?;
            mcr.daemons.push(daemon);
            mcr.wait_until_applied(bed.scenario.rules as u64)?;
        }
        if bed.scenario.watched {
            let control = mcr.first()?.control_path();
            mcr.watchers = Some(Watchers::start(bed.relay(), control)?);
        }
        Ok(mcr)
    }

    fn start_one(
        &self,
        bed: &Bed,
        namespace: &Namespace,
        configuration: &str,
        other: Other<'_>,
    ) -> Result<Daemon> {
        let path = self.directory.path().join(format!("mcr-{}.toml", self.daemons.len()));
        fs::write(&path, configuration).context("writing the configuration")?;
        let cores = bed.awake.division.of_workers(bed.scenario.workers);
        let list = cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let path = path.to_str().context("a temporary path is text")?;
        let io = self.manner.mechanism.name();
        let metrics = watchers::METRICS.to_string();
        let mut arguments =
            vec!["--config", path, "--cores", &list, "--io", io, "--scheduling", "realtime"];
        if bed.scenario.watched {
            arguments.extend(["--metrics", &metrics]);
        }
        arguments.extend(other.options.iter().map(String::as_str));
        on_cores(&cores, || {
            let ready = limits::BENCH_RULES_APPLIED;
            match other.program {
                Some(program) => Daemon::start_build(program, namespace, &arguments, ready),
                None => Daemon::start_within(namespace, &arguments, ready),
            }
        })
    }

    /// The daemon that datagrams meet first.
    pub(crate) fn first(&self) -> Result<&Daemon> {
        self.daemons.first().context("MCR runs")
    }

    /// The sum over a chain, but of the copies sent the last relay's.
    pub(super) fn work(&self) -> Result<Work> {
        self.watchers.as_ref().map_or(Ok(()), Watchers::check)?;
        let mut work = Work::default();
        for daemon in &self.daemons {
            let totals = daemon.ask::<Stats>(&Command::GetStats(Selection::default()))?.totals;
            work = Work {
                sent: totals.sent,
                system_calls: work.system_calls + totals.system_calls,
                busy_ns: work.busy_ns + totals.busy_ns,
            };
        }
        Ok(work)
    }

    /// Bytes resident in a worker beside its rings, the largest worker's.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let pids = self.worker_pids()?;
        let resident = pids.into_iter().map(memory::resident_bytes);
        resident.collect::<Result<Vec<_>>>()?.into_iter().max().context("MCR has no worker")
    }

    /// Process ids of all supervisors and workers.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        let mut pids = self.worker_pids()?;
        pids.extend(self.daemons.iter().map(Daemon::pid));
        Ok(pids)
    }

    fn worker_pids(&self) -> Result<Vec<u32>> {
        let workers = |daemon| Ok(workers(daemon)?.into_iter().filter_map(|worker| worker.pid));
        let pids = self.daemons.iter().map(workers).collect::<Result<Vec<_>>>()?;
        Ok(pids.into_iter().flatten().collect())
    }

    fn wait_until_applied(&self, rules: u64) -> Result<()> {
        wait::until("MCR's workers have all rules", limits::BENCH_RULES_APPLIED, || {
            let workers = workers(self.daemons.last().context("a daemon was started")?)?;
            for worker in &workers {
                ensure!(
                    worker.io.is_none_or(|io| io == self.manner.mechanism),
                    "worker {} does not run on {}",
                    worker.worker,
                    self.manner.mechanism.name()
                );
            }
            Ok(workers.iter().all(|w| w.in_sync && w.rules == rules && w.io.is_some()))
        })
    }
}

fn workers(daemon: &Daemon) -> Result<Vec<WorkerStatus>> {
    Ok(daemon.ask::<Workers>(&Command::ListWorkers {})?.workers)
}

/// What every daemon of the benchmark is configured with; options that all of them, or all their
/// rules, should have belong here and in `rule`.
fn configuration(scenario: &Scenario, manner: Manner) -> String {
    let rules = (0..scenario.rules).map(|number| {
        let outputs = (0..scenario.fan_out).map(|copy| Scenario::output(number, copy));
        let input = format!("{}@in{}", scenario.input(number), scenario.link(number));
        rule(&input, outputs, manner)
    });
    rules.collect()
}

/// Of the second relay of a chain.
fn second_configuration(scenario: &Scenario, manner: Manner) -> String {
    let rules = (0..scenario.rules).map(|number| {
        let input = format!("{}@sink0", Scenario::output(number, 0));
        rule(&input, std::iter::once(Scenario::second_output(number)), manner)
    });
    rules.collect()
}

fn rule(input: &str, outputs: impl Iterator<Item = SocketAddrV4>, manner: Manner) -> String {
    let outputs: Vec<String> = outputs.map(|output| format!("\"{output}@out0\"")).collect();
    let (outputs, exclusive) = (outputs.join(", "), manner.exclusive);
    format!("[[rule]]\ninput = \"{input}\"\noutputs = [{outputs}]\nexclusive = {exclusive}\n")
}

#[cfg(test)]
mod tests {
    use mcr_api::config::Config;

    use super::*;

    #[test]
    fn the_configuration_is_what_mcrd_reads() {
        let scenario = Scenario { fan_out: 3, flows: 20, rules: 20, ..Scenario::default() };
        let manner = Manner { mechanism: Mechanism::Uring, exclusive: true };
        let config = Config::parse(&configuration(&scenario, manner), "bench").unwrap();
        assert_eq!(config.rules.len(), 20);
        assert!(config.rules.iter().all(|configured| configured.rule.exclusive));
        assert!(config.rules.iter().all(|configured| configured.rule.outputs.len() == 3));
    }
}
