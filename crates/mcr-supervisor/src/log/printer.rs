//! Where lines go: a thread of its own writes them to standard error or to the journal, so that a
//! reader that does not read, or a terminal that was stopped, never holds up the supervisor.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use mcr_api::log::{Area, Entry, Format, Level, Levels};
use mcr_sys::process::realtime_ns;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::causes::{Causes, Repeated};
use super::journal::{self, Journal};
use super::record::Record;
use crate::limits;

/// Takes records, as many as the log's rates allow, and never blocks.
#[derive(Debug)]
pub(super) struct Printer {
    output: Output,
    lines: NonBlocking,
    levels: RwLock<Levels>,
    causes: Mutex<Causes>,
    allowance: Mutex<Allowance>,
}

/// The form and the target of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Text,
    Json,
    Journal,
}

impl Printer {
    /// Begins to print. Where no format is asked for, the journal gets what it understands, and
    /// people get text. What waits at the end is printed while the guard is dropped.
    pub(super) fn begin(format: Option<Format>, levels: Levels) -> (Self, WorkerGuard) {
        let journal = (format.is_none() && journal::is_journal(io::stderr())).then(Journal::open);
        let builder = NonBlockingBuilder::default()
            .buffered_lines_limit(limits::LOG_LINES_WAITING)
            .lossy(true)
            .thread_name("log");
        let (output, (lines, guard)) = match (format, journal) {
            (Some(Format::Json), _) => (Output::Json, builder.finish(io::stderr())),
            (None, Some(Ok(journal))) => (Output::Journal, builder.finish(journal)),
            _ => (Output::Text, builder.finish(io::stderr())),
        };
        let printer = Self {
            output,
            lines,
            levels: RwLock::new(levels),
            causes: Mutex::default(),
            allowance: Mutex::new(Allowance::new(Instant::now())),
        };
        (printer, guard)
    }

    /// Whether the levels let a record through; nobody who may set them may hide an audit line.
    pub(super) fn lets(&self, area: Area, level: Level) -> bool {
        area == Area::Audit
            || level <= self.levels.read().unwrap_or_else(PoisonError::into_inner).of(area)
    }

    pub(super) fn set_levels(&self, levels: Levels) {
        *self.levels.write().unwrap_or_else(PoisonError::into_inner) = levels;
    }

    /// Prints a record, now or with others of its cause; an audit line now, whatever the rates.
    pub(super) fn print(&self, record: &Record) {
        if record.area == Area::Audit {
            self.write(&self.line(&record.entry(realtime_ns())));
        } else if self.causes().admit(record, Instant::now()) {
            self.print_allowed(record, &record.entry(realtime_ns()));
        }
    }

    /// Tells what was said again and again; `everything` at the end.
    pub(super) fn settle(&self, everything: bool) {
        let told = self.causes().settle(Instant::now(), everything);
        for Repeated { record, times, within } in told {
            let mut entry = record.entry(realtime_ns());
            let seconds = within.as_secs_f64().round();
            let how_often = if times == 1 { "once".into() } else { format!("{times} times") };
            // Writing into a text never fails.
            _ = write!(entry.message, " (repeated {how_often} in {seconds} s)");
            entry.repeated = Some(times);
            self.print_allowed(&record, &entry);
        }
    }

    /// Prints what the operator must find in the log, whatever the rates and levels.
    pub(super) fn print_always(&self, message: &str) {
        let entry = Entry::new(realtime_ns(), Level::Info, Area::Supervisor, message.into());
        match self.output {
            Output::Text => self.write(format!("mcrd: {message}\n").as_bytes()),
            Output::Json | Output::Journal => self.write(&self.line(&entry)),
        }
    }

    /// Prints a line of the log's own, whatever the rates and levels, and however often.
    pub(super) fn print_directly(&self, level: Level, message: String) {
        self.write(&self.line(&Entry::new(realtime_ns(), level, Area::Supervisor, message)));
    }

    /// Lines that were not printed so far.
    pub(super) fn dropped(&self) -> u64 {
        let unread = self.lines.error_counter().dropped_lines() as u64;
        unread + self.allowance().refused
    }

    /// Whether another line may be printed now.
    pub(super) fn has_room(&self) -> bool {
        self.allowance().has_room(Instant::now())
    }

    fn print_allowed(&self, record: &Record, entry: &Entry) {
        let kept = if record.by_worker { limits::LOG_OWN_LINES } else { 0 };
        if self.allowance().take(Instant::now(), kept) {
            self.write(&self.line(entry));
        }
    }

    fn line(&self, entry: &Entry) -> Vec<u8> {
        match self.output {
            Output::Text => format!("{entry}\n").into_bytes(),
            Output::Json => entry.to_line(),
            Output::Journal => journal::fields(entry),
        }
    }

    fn write(&self, line: &[u8]) {
        // It never fails: a line for which there is no room is counted.
        _ = self.lines.clone().write_all(line);
    }

    // What these hold is whole at every moment.

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn causes(&self) -> MutexGuard<'_, Causes> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn has_room(&mut self, now: Instant) -> bool {
        self.earn(now);
        self.left > 0
    }

    /// Whether one more line may be printed, where so many are to be left for others; one that may
    /// not is counted.
    fn take(&mut self, now: Instant, kept: u32) -> bool {
        self.earn(now);
        let may = self.left > kept;
        if may {
            self.left -= 1;
        } else {
            self.refused += 1;
        }
        may
    }

    /// Adds the lines of the time since the last call.
    fn earn(&mut self, now: Instant) {
        let step = Duration::from_secs(1) / limits::LOG_LINES_PER_SECOND;
        let earned = now.saturating_duration_since(self.counted).as_nanos() / step.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        // What is left of a step counts for the next line; after a long silence none is left.
        self.counted = self.counted.checked_add(step.saturating_mul(earned)).unwrap_or(now);
        self.left = self.left.saturating_add(earned).min(limits::LOG_BURST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_printed_and_then_so_many_a_second() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(begun);
        let mut taken = |now| (0..10_000).filter(|_| allowance.take(now, 0)).count() as u32;
        assert_eq!(taken(begun), limits::LOG_BURST);
        let second = Duration::from_secs(1);
        assert_eq!(taken(begun + second), limits::LOG_LINES_PER_SECOND);
        assert_eq!(taken(begun + 1_000 * second), limits::LOG_BURST);
        assert!(!allowance.has_room(begun + 1_000 * second));
        assert!(allowance.has_room(begun + 1_001 * second), "nobody took a line meanwhile");
        assert_eq!(
            allowance.refused,
            u64::from(30_000 - 2 * limits::LOG_BURST - limits::LOG_LINES_PER_SECOND)
        );
    }

    #[test]
    fn parts_of_a_step_add_up() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(begun);
        while allowance.take(begun, 0) {}
        let step = Duration::from_secs(1) / limits::LOG_LINES_PER_SECOND;
        let taken = |quarter: &u32| allowance.take(begun + step * *quarter / 4, 0);
        assert_eq!((1..=100).filter(taken).count(), 25);
    }

    #[test]
    fn no_flood_of_the_workers_takes_the_supervisors_own_lines() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(begun);
        let own = limits::LOG_OWN_LINES;
        let said = (0..10_000).filter(|_| allowance.take(begun, own)).count() as u32;
        assert_eq!(said, limits::LOG_BURST - own);
        assert_eq!((0..10_000).filter(|_| allowance.take(begun, 0)).count() as u32, own);
    }
}
