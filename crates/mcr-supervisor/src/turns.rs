//! How long the loop was busy in one turn: as long everybody else waited.

use std::time::{Duration, Instant};

use tracing::debug;

use crate::limits;

/// The longest turn.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    longest: Duration,
}

impl Turns {
    /// Counts a turn that began then and ends now; `cause` names it in the log.
    pub(crate) fn end(&mut self, cause: &str, begun: Instant) {
        let took = begun.elapsed();
        self.longest = self.longest.max(took);
        if took > limits::LONG_TURN {
            debug!("the loop was busy for {} ms: {cause}", took.as_millis());
        }
    }

    /// Since the daemon's start.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }
}
