//! Keeps cores awake while something is measured, and sees how long nothing else ran on them.
//!
//! A virtual core that halts is woken by its hypervisor, tens of microseconds later and at a price
//! that no relay is to blame for. A thread of idle priority on each core, which any other work
//! preempts at once, keeps it from halting; on hardware of one's own the same is had by
//! `cpuidle.off=1` or `/dev/cpu_dma_latency`. The thread reads the clock over and over: two
//! readings close to each other say that the core had nothing else to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result};
use mcr_sys::process::{monotonic_ns, pin_to_core, set_idle_scheduling};

use super::cores::Cores;
use crate::core_time::CoreTime;
use crate::limits;

/// The benchmark's cores, kept awake while any clone of this lives.
#[derive(Debug, Clone)]
pub(super) struct AwakeCores {
    /// Who works where.
    pub(super) division: Cores,
    watches: Arc<Watches>,
}

#[derive(Debug, Default)]
struct Watches {
    stop: Arc<AtomicBool>,
    cores: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    core: usize,
    idle_ns: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl AwakeCores {
    /// Begins.
    pub(super) fn keep(division: Cores) -> Result<Self> {
        let mut watches = Watches::default();
        for core in division.all() {
            watches.begin(core)?;
        }
        Ok(Self { division, watches: Arc::new(watches) })
    }

    /// The times of a core from now on.
    pub(super) fn stopwatch(&self, core: usize) -> Result<Stopwatch<'_>> {
        let watched = self.watches.cores.iter().find(|watched| watched.core == core);
        let watched = watched.with_context(|| format!("core {core} is not watched"))?;
        let (start, idle) = (Instant::now(), watched.idle_seconds());
        let stolen = CoreTime::now(core)?.stolen_seconds;
        Ok(Stopwatch { watched, start, idle, stolen })
    }
}

impl Watches {
    fn begin(&mut self, core: usize) -> Result<()> {
        let (idle_ns, stop) = (Arc::<AtomicU64>::default(), Arc::clone(&self.stop));
        let counter = Arc::clone(&idle_ns);
        let thread = thread::Builder::new()
            .name(format!("awake-{core}"))
            .spawn(move || spin(core, &counter, &stop))?;
        self.cores.push(Watched { core, idle_ns, thread: Some(thread) });
        Ok(())
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for watched in &mut self.cores {
            // A thread that could not begin leaves a core that looks busy all the time.
            let _ = watched.thread.take().map(JoinHandle::join);
        }
    }
}

impl Watched {
    fn idle_seconds(&self) -> f64 {
        self.idle_ns.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// What a core has done since a moment.
#[derive(Debug)]
pub(super) struct Stopwatch<'a> {
    watched: &'a Watched,
    start: Instant,
    idle: f64,
    stolen: f64,
}

impl Stopwatch<'_> {
    /// Seconds for which the hypervisor gave it to others.
    pub(super) fn stolen_seconds(&self) -> Result<f64> {
        Ok(CoreTime::now(self.watched.core)?.stolen_seconds - self.stolen)
    }

    /// Seconds for which it had something to do, those aside that the hypervisor gave to others.
    pub(super) fn busy_seconds(&self) -> Result<f64> {
        let idle = self.watched.idle_seconds() - self.idle;
        Ok((self.start.elapsed().as_secs_f64() - idle - self.stolen_seconds()?).max(0.0))
    }
}

fn spin(core: usize, idle_ns: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    pin_to_core(core)?;
    set_idle_scheduling(0)?;
    let mut last = monotonic_ns();
    while !stop.load(Ordering::Relaxed) {
        let now = monotonic_ns();
        let gap = now - last;
        if gap < limits::UNINTERRUPTED_NS {
            // This thread alone writes it.
            idle_ns.store(idle_ns.load(Ordering::Relaxed) + gap, Ordering::Relaxed);
        }
        last = now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::cores::on_cores;

    #[test]
    fn work_of_others_is_not_idle() {
        let Ok(cores) = Cores::divide() else { return };
        let awake = AwakeCores::keep(cores).unwrap();
        let stopwatch = awake.stopwatch(cores.relay).unwrap();
        on_cores(&[cores.relay], || {
            while stopwatch.start.elapsed() < Duration::from_millis(300) {
                std::hint::spin_loop();
            }
            Ok(())
        })
        .unwrap();
        // SCHED_IDLE has a weight of 3 against 1,024, but is served now and then.
        let idle = awake.watches.cores[1].idle_seconds();
        assert!(idle < 0.1, "idle for {idle} s of 0.3 s of work");
    }
}
