//! What MCR costs with many rules and no traffic at all.

use std::fs;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use super::awake::AwakeCores;
use super::bed::Bed;
use super::peers::{Other, Peer};
use super::scenario::Scenario;
use crate::limits;

/// What was seen.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Idle {
    /// Rules.
    pub(super) rules: usize,
    /// Share of a core that supervisor and workers together used.
    pub(super) core_share: f64,
    /// Bytes resident in a worker beside its rings.
    pub(super) resident_bytes: u64,
}

/// Watches an idle MCR for some seconds.
pub(super) fn measure(awake: &AwakeCores) -> Result<Idle> {
    let scenario = Scenario { rules: limits::IDLE_RULES, ..Scenario::default() };
    let bed = Bed::build(&scenario, awake)?;
    let relay = Peer::McrUring.start(&bed, Other::default())?;
    let mcr = relay.mcr()?;
    thread::sleep(limits::IDLE_SETTLE);
    let pids = mcr.pids()?;
    let (start, before) = (Instant::now(), cpu_ns(&pids)?);
    thread::sleep(limits::IDLE_WATCH);
    let used = cpu_ns(&pids)? - before;
    Ok(Idle {
        rules: scenario.rules,
        core_share: used as f64 / start.elapsed().as_nanos() as f64,
        resident_bytes: mcr.resident_bytes()?,
    })
}

/// Nanoseconds that all threads of these processes ran.
pub(crate) fn cpu_ns(pids: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
            let path = task?.path().join("schedstat");
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            sum += run_ns(&text).with_context(|| format!("{}: {text:?}", path.display()))?;
        }
    }
    Ok(sum)
}

/// The first figure of `/proc/PID/schedstat`: time on a core, in nanoseconds
/// (`Documentation/scheduler/sched-stats.rst` in the kernel's sources).
fn run_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_has_used_its_core() {
        assert_eq!(run_ns("123456 789 12\n"), Some(123_456));
        let own = [std::process::id()];
        let before = cpu_ns(&own).unwrap();
        let start = Instant::now();
        while start.elapsed().as_millis() < 50 {
            std::hint::spin_loop();
        }
        assert!(cpu_ns(&own).unwrap() > before);
    }
}
