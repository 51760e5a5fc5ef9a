//! How long to wait before a dead worker is started again.

use std::time::Duration;

use crate::limits;

/// Counts the deaths that followed each other closely.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// The wait after the death of a worker that lived so long: none for the first, then doubling.
    pub(crate) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= limits::HEALTHY_LIFE {
            self.deaths = 0;
        }
        self.deaths = self.deaths.saturating_add(1);
        match self.deaths {
            1 => Duration::ZERO,
            more => limits::BACKOFF_FIRST
                .saturating_mul(1_u32.checked_shl(more - 2).unwrap_or(u32::MAX))
                .min(limits::BACKOFF_LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_at_once_and_then_it_doubles() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> =
            (0..10).map(|_| backoff.after(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        for _ in 0..100 {
            assert_eq!(backoff.after(Duration::ZERO), limits::BACKOFF_LONGEST);
        }
    }

    #[test]
    fn a_healthy_life_is_forgiven() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.after(Duration::ZERO);
        }
        assert_eq!(backoff.after(limits::HEALTHY_LIFE), Duration::ZERO);
        assert_eq!(backoff.after(Duration::ZERO), limits::BACKOFF_FIRST);
    }
}
