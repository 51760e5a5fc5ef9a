//! The price of a copy, as measured: by it batches and chunks are bounded in time.

use std::time::Duration;

use crate::limits;

/// The average of the latest chunks.
#[derive(Debug)]
pub(crate) struct Pace {
    ns_per_copy: u64,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { ns_per_copy: limits::FIRST_PRICE_NS }
    }

    /// Takes down how long some copies took.
    pub(crate) fn measure(&mut self, copies: usize, took_ns: u64) {
        if copies > 0 {
            let price = (took_ns / copies as u64).min(limits::HIGHEST_PRICE_NS);
            self.ns_per_copy = ((3 * self.ns_per_copy + price) / 4).max(1);
        }
    }

    /// How many copies fit that time.
    pub(crate) fn copies_within(&self, time: Duration) -> usize {
        (time.as_nanos() as u64 / self.ns_per_copy) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_follows_what_is_measured() {
        let mut pace = Pace::new();
        assert_eq!(pace.copies_within(limits::BATCH), 10_000);
        for _ in 0..40 {
            pace.measure(100, 100 * 4_000);
        }
        assert!((2_500..=2_510).contains(&pace.copies_within(limits::BATCH)));
        for _ in 0..100 {
            pace.measure(64, 0);
        }
        assert_eq!(pace.copies_within(limits::CHUNK), 250_000);
    }

    #[test]
    fn one_long_pause_does_not_outlast_a_batch() {
        let mut pace = Pace::new();
        pace.measure(16, 1_000_000_000);
        let mut chunks = 0;
        while pace.copies_within(limits::CHUNK) < 100 {
            pace.measure(limits::LEAST_COPIES_IN_A_CHUNK, 16 * 1_000);
            chunks += 1;
        }
        assert!(chunks <= 10, "{chunks}");
    }
}
