//! Where lines go: a thread of its own writes them to standard error, so that a reader that does
//! not read, or a terminal that was stopped, never holds up the supervisor.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::OptionalWriter;

use crate::limits;

/// Takes lines, as many as the log's rate allows, and never blocks.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    lines: NonBlocking,
    allowance: Arc<Mutex<Allowance>>,
}

/// The log while it is printed. Dropped: what waits is printed, where somebody reads it.
#[derive(Debug)]
pub(crate) struct Log {
    printer: Printer,
    /// Lines that were not printed, as far as that was said.
    said: u64,
    _guard: WorkerGuard,
}

impl Log {
    /// Begins to print on standard error.
    pub(super) fn begin() -> Self {
        let (lines, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(limits::LOG_LINES_WAITING)
            .lossy(true)
            .thread_name("log")
            .finish(io::stderr());
        let allowance = Arc::new(Mutex::new(Allowance::new(Instant::now())));
        Self { printer: Printer { lines, allowance }, said: 0, _guard: guard }
    }

    pub(super) fn printer(&self) -> Printer {
        self.printer.clone()
    }

    /// Prints a line as it is, whatever the rate.
    pub(crate) fn line(&mut self, line: &str) {
        // It never fails: a line for which there is no room is counted.
        _ = self.printer.lines.write_all(format!("{line}\n").as_bytes());
    }

    /// Lines that were not printed so far.
    pub(crate) fn dropped(&self) -> u64 {
        let unread = self.printer.lines.error_counter().dropped_lines() as u64;
        unread + self.printer.allowance().refused
    }

    /// Says so where lines were not printed since this was last said.
    pub(crate) fn report_dropped(&mut self) {
        let dropped = self.dropped();
        if dropped > self.said && self.printer.allowance().has_room() {
            let new = dropped - self.said;
            warn!("{new} lines of this log were not printed: too many, or nobody read them");
            self.said = dropped;
        }
    }
}

impl Printer {
    fn allowance(&self) -> std::sync::MutexGuard<'_, Allowance> {
        // Its numbers are whole at every moment.
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MakeWriter<'_> for Printer {
    type Writer = OptionalWriter<NonBlocking>;

    fn make_writer(&self) -> Self::Writer {
        let allowed = self.allowance().take(Instant::now());
        allowed.then(|| self.lines.clone()).map_or_else(OptionalWriter::none, OptionalWriter::some)
    }
}

/// Lines that may be printed now: some at once, and then so many a second.
#[derive(Debug)]
struct Allowance {
    left: u32,
    counted: Instant,
    refused: u64,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: limits::LOG_BURST, counted: now, refused: 0 }
    }

    fn has_room(&self) -> bool {
        self.left > 0
    }

    /// Whether one more line may be printed; one that may not is counted.
    fn take(&mut self, now: Instant) -> bool {
        let step = Duration::from_secs(1) / limits::LOG_LINES_PER_SECOND;
        let earned = now.saturating_duration_since(self.counted).as_nanos() / step.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        // What is left of a step counts for the next line; after a long silence none is left.
        self.counted = self.counted.checked_add(step.saturating_mul(earned)).unwrap_or(now);
        self.left = self.left.saturating_add(earned).min(limits::LOG_BURST);
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return true;
        }
        self.refused += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_printed_and_then_so_many_a_second() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(begun);
        let mut taken = |now| (0..10_000).filter(|_| allowance.take(now)).count() as u32;
        assert_eq!(taken(begun), limits::LOG_BURST);
        let second = Duration::from_secs(1);
        assert_eq!(taken(begun + second), limits::LOG_LINES_PER_SECOND);
        assert_eq!(taken(begun + 1_000 * second), limits::LOG_BURST);
        assert_eq!(
            allowance.refused,
            u64::from(30_000 - 2 * limits::LOG_BURST - limits::LOG_LINES_PER_SECOND)
        );
    }

    #[test]
    fn parts_of_a_step_add_up() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(begun);
        while allowance.take(begun) {}
        let step = Duration::from_secs(1) / limits::LOG_LINES_PER_SECOND;
        let taken = (1..=100).filter(|quarter| allowance.take(begun + step * *quarter / 4)).count();
        assert_eq!(taken, 25);
    }
}
