//! How long the loop was busy in one turn: as long everybody else waited.

use std::time::{Duration, Instant};

/// The longest turn.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    longest: Duration,
}

impl Turns {
    /// Counts a turn that began then and ends now.
    pub(crate) fn end(&mut self, begun: Instant) {
        self.longest = self.longest.max(begun.elapsed());
    }

    /// Since the daemon's start.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }
}
