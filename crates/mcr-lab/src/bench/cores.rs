//! Which core does what, and threads put on theirs.

use std::thread;

use anyhow::{Context, Result, ensure};
use mcr_sys::process::allowed_cores;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

/// The division of labour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Cores {
    /// Generator and sink.
    pub(super) traffic: usize,
    /// All that the relay costs: receive soft interrupts, relay, transmission.
    pub(super) relay: usize,
    /// The relay's second worker: a third core, or for want of one the traffic's.
    pub(super) second: usize,
}

impl Cores {
    /// Divides the cores that this process may use.
    pub(super) fn divide() -> Result<Self> {
        Self::of(&allowed_cores())
    }

    fn of(cores: &[usize]) -> Result<Self> {
        ensure!(
            cores.len() >= 2,
            "the benchmark needs two cores, one for generator and sink and one for the relay; \
             this process may use {}",
            cores.len(),
        );
        let (traffic, relay) = (cores[0], cores[1]);
        Ok(Self { traffic, relay, second: cores.get(2).copied().unwrap_or(traffic) })
    }

    /// Every core in use, once.
    pub(super) fn all(&self) -> Vec<usize> {
        let mut cores = vec![self.traffic, self.relay, self.second];
        cores.dedup_by_key(|core| *core);
        cores.sort_unstable();
        cores.dedup();
        cores
    }

    /// The cores of so many workers, one or two.
    pub(super) fn of_workers(&self, workers: usize) -> Vec<usize> {
        [self.relay, self.second].into_iter().take(workers).collect()
    }
}

/// Confines the calling thread, and what it starts later, to `cores`.
pub(super) fn confine(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    // 0 is the calling thread.
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("moving to cores {cores:?}"))
}

/// Runs `work` on a thread of these cores; what it starts stays on them.
pub(super) fn on_cores<T: Send>(
    cores: &[usize],
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    thread::scope(|scope| {
        let run = || {
            confine(cores)?;
            work()
        };
        match scope.spawn(run).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_is_refused_with_the_reason() {
        let refusal = Cores::of(&[3]).unwrap_err().to_string();
        assert!(refusal.contains("needs two cores"), "{refusal}");
    }

    #[test]
    fn relay_and_traffic_never_share_a_core() {
        let two = Cores::of(&[0, 1]).unwrap();
        assert_eq!((two.traffic, two.relay, two.second), (0, 1, 0));
        let more = Cores::of(&[2, 4, 6, 8]).unwrap();
        assert_eq!((more.traffic, more.of_workers(2)), (2, vec![4, 6]));
    }

    #[test]
    fn work_runs_where_it_should() {
        let core = *allowed_cores().last().unwrap();
        let ran_on = on_cores(&[core], || Ok(allowed_cores())).unwrap();
        assert_eq!(ran_on, [core]);
    }
}
