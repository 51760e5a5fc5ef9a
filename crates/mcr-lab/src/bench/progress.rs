//! How far a run is: one line that changes on a terminal, a line for each relay elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use super::run::Task;

/// Erases the line from its beginning (ECMA-48, EL).
const ERASE_LINE: &str = "\r\x1b[K";

/// The progress of a run, on standard error: standard output is for the results.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    start: Instant,
    rounds: usize,
    tasks: usize,
    line: String,
}

impl Progress {
    /// Of a run of so many rounds of so many tasks.
    pub(super) fn new(rounds: usize, tasks: usize) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, start: Instant::now(), rounds, tasks, line: String::new() }
    }

    /// A task begins.
    pub(super) fn begin(&mut self, round: usize, place: usize, task: &Task) {
        self.line = format!(
            "[{:>4} s] round {}/{}, {:>2}/{}: {}, {}: {}",
            self.start.elapsed().as_secs(),
            round + 1,
            self.rounds,
            place + 1,
            self.tasks,
            task.axis.title(),
            task.scenario.label(task.axis),
            task.peer.name(),
        );
        self.show(&self.line);
    }

    /// Something else than a task begins.
    pub(super) fn say(&self, what: &str) {
        self.show(&format!("[{:>4} s] {what}", self.start.elapsed().as_secs()));
    }

    /// A rate is being offered.
    pub(super) fn rate(&mut self, per_second: f64) {
        if self.terminal {
            self.show(&format!("{}, {:.0} kpps", self.line, per_second / 1_000.0));
        }
    }

    fn show(&self, text: &str) {
        // What cannot be shown is not worth ending the run for.
        let _ = if self.terminal {
            write!(io::stderr(), "{ERASE_LINE}{text}").and_then(|()| io::stderr().flush())
        } else {
            writeln!(io::stderr(), "{text}")
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(io::stderr(), "{ERASE_LINE}");
        }
    }
}
