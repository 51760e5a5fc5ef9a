//! Ctrl-C and Enter, as events that a wait can be ended by.

use std::fmt;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// The operator wants it to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// What the operator did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// SIGINT (Ctrl-C) or SIGTERM.
    Signal,
    /// A line was entered.
    Enter,
}

/// Hears the operator, from its making on.
#[derive(Debug)]
pub(crate) struct Interrupt {
    events: Receiver<Event>,
    sender: Sender<Event>,
}

impl Interrupt {
    /// From now on SIGINT and SIGTERM are events and no longer end the process.
    pub(crate) fn listen() -> Result<Self> {
        let (sender, events) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let heard = sender.clone();
        // Not joined: it ends with the process, or with whoever would hear it.
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if heard.send(Event::Signal).is_err() {
                        return;
                    }
                }
            });
        })?;
        Ok(Self { events, sender })
    }

    /// From now on a line on standard input is an event too. Its end is none: where nobody can
    /// press Enter, only a signal ends a wait.
    pub(crate) fn listen_for_enter(&self) -> Result<()> {
        let heard = self.sender.clone();
        // Not joined: it may stay in its read for ever.
        thread::Builder::new().name("enter".into()).spawn(move || {
            if io::stdin().read_line(&mut String::new()).is_ok_and(|bytes| bytes > 0) {
                // Nobody may be waiting any more.
                let _ = heard.send(Event::Enter);
            }
        })?;
        Ok(())
    }

    /// Waits; an error as soon as the operator wants to end.
    pub(crate) fn pause(&self, duration: Duration) -> Result<()> {
        match self.event(duration)? {
            Some(_) => bail!(Interrupted),
            None => Ok(()),
        }
    }

    /// Whether the operator wanted to end while nobody waited. Ctrl-C reaches the daemon too, so
    /// what fails then fails for that reason.
    pub(crate) fn has_come(&self) -> bool {
        self.events.try_iter().any(|event| event == Event::Signal)
    }

    /// The next event, if one comes within `timeout`.
    pub(crate) fn event(&self, timeout: Duration) -> Result<Option<Event>> {
        match self.events.recv_timeout(timeout) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(error) => Err(error).context("nobody listens to the operator any more"),
        }
    }
}
