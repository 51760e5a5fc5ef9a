//! How much a client may ask in a time: each request costs some, what is not used adds up to a
//! credit, and who has used it up waits. Others never wait for it.

use std::time::{Duration, Instant};

use crate::limits;

/// The allowance of a client, in time (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When all that was used will have been paid for.
    paid: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { paid: now }
    }

    /// Takes what a request has cost.
    pub(super) fn charge(&mut self, cost: Duration, now: Instant) {
        self.paid = self.paid.max(now) + cost;
    }

    /// How long the next request has to wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.paid.saturating_duration_since(now).saturating_sub(limits::CREDIT)
    }

    /// Whether nothing is left to pay for.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.paid <= now
    }
}

/// The cost of a request and its answer of so many bytes in all.
pub(super) fn cost(bytes: usize) -> Duration {
    let nanoseconds = bytes as u64 * 1_000_000_000 / limits::BYTES_A_SECOND;
    limits::REQUEST_COST + Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of so many bytes that a client gets through in a time.
    fn served(bytes: usize, time: Duration) -> u32 {
        let begun = Instant::now();
        let (mut pace, mut now, mut count) = (Pace::new(begun), begun, 0);
        loop {
            now += pace.wait(now);
            if now > begun + time {
                return count;
            }
            pace.charge(cost(bytes), now);
            count += 1;
        }
    }

    #[test]
    fn ten_thousand_rules_pass_at_once_and_then_five_thousand_a_second() {
        assert!((10_000..10_100).contains(&served(0, Duration::ZERO)));
        let of_a_second = served(0, Duration::from_secs(11)) - served(0, Duration::from_secs(1));
        assert!((49_990..50_010).contains(&of_a_second), "{of_a_second}");
        assert!(served(300, Duration::from_secs(10)) > 2 * 2_500 * 10);
    }

    #[test]
    fn long_answers_cost_more() {
        let megabytes = 5_000_000;
        assert!(served(megabytes, Duration::from_secs(10)) < 100);
        assert!(served(megabytes, Duration::from_secs(10)) > 50);
    }

    #[test]
    fn credit_does_not_grow_beyond_its_limit() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        let later = begun + Duration::from_hours(1);
        assert!(pace.is_settled(later));
        pace.charge(limits::CREDIT, later);
        assert_eq!(pace.wait(later), Duration::ZERO);
        pace.charge(limits::REQUEST_COST, later);
        assert_eq!(pace.wait(later), limits::REQUEST_COST);
        assert!(!pace.is_settled(later));
    }
}
