//! The daemon's standard error, line by line, as it comes.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::limits;

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    held: bool,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

/// The lines so far; a thread adds to them until the daemon and its workers close the pipe.
#[derive(Debug)]
pub(super) struct Log {
    shared: Arc<Shared>,
}

impl Log {
    pub(super) fn follow(stream: impl Read + Send + 'static) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        // Not joined: it ends with the last process that holds the pipe.
        thread::Builder::new().name("daemon log".into()).spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let mut state = writer.lock();
                while state.held {
                    state = writer.grown.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if state.lines.len() < limits::MAX_LOG_LINES {
                    state.lines.push(String::from_utf8_lossy(&line).into_owned());
                }
                writer.grown.notify_all();
            }
            writer.lock().ended = true;
            writer.grown.notify_all();
        })?;
        Ok(Self { shared })
    }

    /// Keeps the thread from reading on until the answer is dropped.
    pub(super) fn hold(&self) -> HeldLog<'_> {
        self.shared.lock().held = true;
        HeldLog(self)
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.shared.lock().lines.clone()
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        contains(&self.shared.lock(), text)
    }

    /// Whether a line with `text` came within `timeout`; false at once when the log has ended.
    pub(super) fn wait_for(&self, text: &str, timeout: Duration) -> bool {
        let waiting = |state: &mut State| !state.ended && !contains(state, text);
        let (state, _) = self
            .shared
            .grown
            .wait_timeout_while(self.shared.lock(), timeout, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        contains(&state, text)
    }
}

/// A log that nobody reads. Dropped: it is read on.
#[derive(Debug)]
pub struct HeldLog<'a>(&'a Log);

impl Drop for HeldLog<'_> {
    fn drop(&mut self) {
        self.0.shared.lock().held = false;
        self.0.shared.grown.notify_all();
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A vector of lines is whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contains(state: &State, text: &str) -> bool {
    state.lines.iter().any(|line| line.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_the_end_ends_the_wait() {
        let log = Log::follow(&b"starting\nready: 2 workers\n"[..]).unwrap();
        let minute = Duration::from_mins(1);
        assert!(log.wait_for("ready", minute));
        assert!(!log.wait_for("never said", minute));
        assert_eq!(log.lines(), ["starting", "ready: 2 workers"]);
    }
}
