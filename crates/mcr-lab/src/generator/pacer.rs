//! When to send: deadlines counted from the start, so that no error accumulates.

use std::time::Duration;

use crate::limits;

/// Computes how many messages are due. Holds no clock: the caller says what time it is.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Messages per second; 0 is without limit.
    rate: u64,
    /// Time by which the schedule has been shifted.
    pub(super) forgiven: Duration,
}

impl Pacer {
    pub(super) fn new(messages_per_second: u64) -> Self {
        Self { rate: messages_per_second, forgiven: Duration::ZERO }
    }

    /// How many messages to send now, `elapsed` after the start with `sent` sent before.
    pub(super) fn due(&mut self, elapsed: Duration, sent: u64) -> u64 {
        if self.rate == 0 {
            return u64::MAX;
        }
        let behind = elapsed.saturating_sub(self.forgiven + self.time_of(sent));
        self.forgiven += behind.saturating_sub(limits::GENERATOR_CATCH_UP);
        let scheduled = elapsed.saturating_sub(self.forgiven);
        let until_now = scheduled.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        // The first message is due at once, hence one more.
        (until_now as u64 + 1).saturating_sub(sent)
    }

    /// How long to sleep, `elapsed` after the start, until something is due.
    pub(super) fn pause(&self, elapsed: Duration, sent: u64) -> Duration {
        let next = self.forgiven + self.time_of(sent);
        next.saturating_sub(elapsed).max(limits::GENERATOR_TICK)
    }

    /// When message number `sent` is due, counted from the start.
    fn time_of(&self, sent: u64) -> Duration {
        Duration::from_nanos((u128::from(sent) * 1_000_000_000 / u128::from(self.rate)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_due_at_once_and_the_rate_holds() {
        let mut pacer = Pacer::new(1_000);
        assert_eq!(pacer.due(Duration::ZERO, 0), 1);
        assert_eq!(pacer.due(Duration::ZERO, 1), 0);
        assert_eq!(pacer.due(Duration::from_millis(5), 1), 5);
        assert_eq!(pacer.due(Duration::from_secs(1), 999), 2);
        assert_eq!(pacer.forgiven, Duration::ZERO);
    }

    #[test]
    fn small_delays_are_made_up_for_and_long_ones_forgiven() {
        let mut pacer = Pacer::new(10_000);
        assert_eq!(pacer.due(Duration::from_millis(5), 0), 51);
        let burst = pacer.due(Duration::from_secs(1), 51);
        let most = limits::GENERATOR_CATCH_UP.as_millis() as u64 * 10 + 1;
        assert!(burst <= most, "a burst of {burst}");
        assert!(pacer.forgiven > Duration::from_millis(900));
    }

    #[test]
    fn the_pause_ends_at_the_next_deadline() {
        let pacer = Pacer::new(100);
        assert_eq!(pacer.pause(Duration::from_millis(12), 2), Duration::from_millis(8));
        assert_eq!(pacer.pause(Duration::from_millis(30), 2), limits::GENERATOR_TICK);
    }
}
