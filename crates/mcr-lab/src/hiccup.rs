//! The machine's own hiccups: times in which it ran nothing on a core that had work, because its
//! hypervisor, a cgroup's quota or a neighbour in real time had taken the core away.
//!
//! What a relay must do within a second it cannot do in a second in which nothing runs. So a bound
//! on a time is a bound on what passed beside such times, as a thread on each core sees them: it
//! sleeps for a tick, and wakes late where nobody of ordinary priority could have woken. Ordinary
//! load does not hold a sleeper up for as long, so no slowness of the relay's own is excused.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mcr_sys::process::{allowed_cores, pin_to_core};

use crate::limits;

/// A time in which a core stood still: its begin and its end.
type Hiccup = (Instant, Instant);

/// What was seen of each core.
static CORES: OnceLock<Vec<Arc<Mutex<Core>>>> = OnceLock::new();

/// Begins to watch every core that this process may use, until it ends.
pub fn watch() {
    CORES.get_or_init(|| allowed_cores().into_iter().map(watch_core).collect());
}

/// Holds a time that began at `begun` to its bound, hiccups aside, and returns the whole of it.
///
/// # Errors
///
/// `what` took longer; the error says how long, and for how much of it the machine stood still.
pub fn bound(what: &str, begun: Instant, bound: Duration) -> Result<Duration> {
    let now = Instant::now();
    judge(what, now - begun, covered(begun, now, &seen(now)), bound)
}

/// How long the machine has stood still since then.
pub fn stood_still(begun: Instant) -> Duration {
    let now = Instant::now();
    covered(begun, now, &seen(now))
}

fn judge(what: &str, whole: Duration, stood_still: Duration, bound: Duration) -> Result<Duration> {
    ensure!(
        whole.saturating_sub(stood_still) <= bound,
        "{what}: after {whole:?}, of which the machine stood still {stood_still:?}, not {bound:?}"
    );
    Ok(whole)
}

fn watch_core(number: usize) -> Arc<Mutex<Core>> {
    let core = Arc::new(Mutex::new(Core { awake: Some(Instant::now()), hiccups: Vec::new() }));
    let seen = Arc::clone(&core);
    thread::spawn(move || {
        while pin_to_core(number).is_ok() {
            thread::sleep(limits::HICCUP_TICK);
            lock(&seen).wake(Instant::now());
        }
        lock(&seen).awake = None;
    });
    core
}

/// What one core's thread saw.
#[derive(Debug)]
struct Core {
    /// When it was last awake; never again, if the core may no longer be used.
    awake: Option<Instant>,
    hiccups: Vec<Hiccup>,
}

impl Core {
    fn wake(&mut self, now: Instant) {
        self.hiccups.extend(self.hiccup(now));
        self.awake = Some(now);
    }

    /// The hiccup that ends now, or is not over yet.
    fn hiccup(&self, now: Instant) -> Option<Hiccup> {
        let due = self.awake? + limits::HICCUP_TICK;
        (now.saturating_duration_since(due) > limits::HICCUP_TOLERANCE).then_some((due, now))
    }
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every core's hiccups so far, those included that are not over.
fn seen(now: Instant) -> Vec<Hiccup> {
    let cores = CORES.get().map_or(&[][..], Vec::as_slice);
    let hiccups = cores.iter().map(|core| lock(core)).flat_map(|core| {
        let current = core.hiccup(now);
        core.hiccups.iter().copied().chain(current).collect::<Vec<_>>()
    });
    hiccups.collect()
}

/// How much of the time from `begin` to `end` the hiccups cover; where those of several cores
/// overlap, the time counts once.
fn covered(begin: Instant, end: Instant, hiccups: &[Hiccup]) -> Duration {
    let mut hiccups = hiccups.to_vec();
    hiccups.sort_unstable();
    let (mut sum, mut from) = (Duration::ZERO, begin);
    for (start, stop) in hiccups {
        let stop = stop.min(end);
        sum += stop.saturating_duration_since(start.max(from));
        from = from.max(stop);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_overlaps_counts_once_and_nothing_counts_that_lies_outside() {
        let zero = Instant::now();
        let hiccup = |begin, end| (zero + ms(begin), zero + ms(end));
        let hiccups = [hiccup(500, 700), hiccup(0, 200), hiccup(600, 650), hiccup(690, 2_000)];
        let covered = |begin, end| covered(zero + ms(begin), zero + ms(end), &hiccups);
        assert_eq!(covered(0, 3_000), ms(200 + 1_500));
        assert_eq!(covered(100, 1_000), ms(100 + 500));
        assert_eq!(covered(200, 500), ms(0));
        assert_eq!(covered(2_000, 3_000), ms(0));
    }

    #[test]
    fn a_thread_that_wakes_late_saw_a_hiccup_from_when_it_was_due() {
        let zero = Instant::now();
        let mut core = Core { awake: Some(zero), hiccups: Vec::new() };
        let punctual = zero + limits::HICCUP_TICK + limits::HICCUP_TOLERANCE;
        core.wake(punctual);
        assert!(core.hiccups.is_empty());
        let (due, late) = (punctual + limits::HICCUP_TICK, punctual + ms(300));
        assert_eq!(core.hiccup(late), Some((due, late)));
        core.wake(late);
        assert_eq!(core.hiccups, [(due, late)]);
    }

    #[test]
    fn a_time_may_be_longer_by_as_much_as_the_machine_stood_still() {
        assert_eq!(judge("a nap", ms(1_200), ms(200), ms(1_000)).unwrap(), ms(1_200));
        let error = judge("a nap", ms(1_201), ms(200), ms(1_000)).unwrap_err().to_string();
        assert!(error.starts_with("a nap: after 1.201s"), "{error}");
    }

    #[test]
    fn every_core_is_watched() {
        watch();
        let begun = Instant::now();
        assert!(bound("nothing", begun, ms(500)).is_ok());
        let cores = CORES.get().unwrap();
        assert_eq!(cores.len(), allowed_cores().len());
        let later = Instant::now() + ms(300);
        assert!(cores.iter().all(|core| lock(core).hiccup(later).is_some()));
    }
}
