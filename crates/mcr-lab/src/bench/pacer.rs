//! When the next frame is due. Holds no clock: the caller says what time it is.

use std::time::Duration;

use crate::limits;

/// The schedule of one phase.
#[derive(Debug)]
pub(super) struct Pacer {
    per_second: f64,
    /// Frames are due so many at a time.
    burst: u64,
    /// Time by which the schedule was shifted because the core was elsewhere.
    forgiven: Duration,
}

impl Pacer {
    /// So many frames a second: one by one as long as that is smoother than what a NIC delivers,
    /// at higher rates in bursts as NICs deliver them, which gather frames before they interrupt.
    /// In any case `at_least` at a time.
    pub(super) fn new(per_second: f64, at_least: u64) -> Self {
        let burst = if per_second > limits::SMOOTH_RATE {
            (per_second * limits::NIC_COALESCING.as_secs_f64()) as u64
        } else {
            1
        };
        let burst = burst.clamp(at_least, limits::BENCH_FRAMES_AT_ONCE as u64);
        Self { per_second, burst, forgiven: Duration::ZERO }
    }

    /// How many frames are due `elapsed` after the start, when `sent` were sent before.
    ///
    /// A generator that was held up catches up only so much: a burst that no sender makes would
    /// overrun queues that the offered rate does not.
    pub(super) fn due(&mut self, elapsed: Duration, sent: u64) -> u64 {
        let behind = elapsed.saturating_sub(self.forgiven + self.time_of(sent));
        self.forgiven += behind.saturating_sub(limits::BENCH_CATCH_UP);
        let scheduled = elapsed.saturating_sub(self.forgiven).as_secs_f64();
        // The first burst is due at once.
        let due = ((scheduled * self.per_second) as u64 + self.burst).saturating_sub(sent);
        if due < self.burst { 0 } else { due }
    }

    /// How long until the next frame is due.
    pub(super) fn pause(&self, elapsed: Duration, sent: u64) -> Duration {
        (self.forgiven + self.time_of(sent)).saturating_sub(elapsed)
    }

    fn time_of(&self, sent: u64) -> Duration {
        Duration::from_secs_f64(sent as f64 / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_one_by_one() {
        let mut pacer = Pacer::new(100_000.0, 1);
        let at = |micros| Duration::from_micros(micros);
        assert_eq!(pacer.due(at(0), 0), 1);
        assert_eq!(pacer.due(at(5), 1), 0);
        assert_eq!(pacer.pause(at(4), 1), at(6));
        assert_eq!(pacer.due(at(11), 1), 1);
        assert_eq!(pacer.due(at(205), 1), 20);
    }

    #[test]
    fn at_high_rates_frames_are_due_in_bursts() {
        let mut pacer = Pacer::new(400_000.0, 1);
        let at = |micros| Duration::from_micros(micros);
        assert_eq!(pacer.due(at(0), 0), 20);
        assert_eq!(pacer.due(at(49), 20), 0);
        assert_eq!(pacer.due(at(51), 20), 20);
    }

    #[test]
    fn a_long_hold_up_is_forgiven() {
        let mut pacer = Pacer::new(1_000_000.0, 1);
        let burst = pacer.due(Duration::from_secs(1), 0);
        assert!(burst <= limits::BENCH_CATCH_UP.as_micros() as u64 + 64, "a burst of {burst}");
        assert_eq!(pacer.due(Duration::from_secs(1), burst), 0);
    }
}
