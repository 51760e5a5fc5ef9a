//! What the service manager is told (`sd_notify(3)`): ready, reloading, ending, a line of how it
//! stands, and, where it asks for that (`WatchdogSec=`), that the relay is alive.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::{limits, privileged};

/// The service manager. A thread speaks with it, for it might not listen.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    /// `None` where nobody asked to be told.
    messages: Option<SyncSender<String>>,
    /// How often it wants a sign of life.
    watchdog: Option<Duration>,
    fed: Option<Instant>,
    status: String,
}

impl ServiceManager {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub(crate) fn from_environment() -> Self {
        let asked = std::env::var_os("NOTIFY_SOCKET").is_some();
        let messages = asked.then(speak).flatten();
        let watchdog = messages.as_ref().and_then(|_| sd_notify::watchdog_enabled());
        Self { messages, watchdog, fed: None, status: String::new() }
    }

    /// Whether anybody wants to be told.
    pub(crate) fn listens(&self) -> bool {
        self.messages.is_some()
    }

    /// Datagrams are relayed, and requests answered.
    pub(crate) fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The configuration is being read again; [`Self::ready`] says when that is done.
    pub(crate) fn reloading(&self) {
        // It fails only where a kernel has no monotonic clock.
        let now = NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0));
        self.tell(&[NotifyState::Reloading, now]);
    }

    /// The daemon is ending.
    pub(crate) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// How it stands, in a line; said only where it differs from what was said last.
    pub(crate) fn status(&mut self, status: String) {
        if status != self.status {
            self.tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// The relay is alive: to be called as often as that is seen, and only then.
    pub(crate) fn alive(&mut self, now: Instant) {
        let Some(interval) = self.watchdog else { return };
        // Half of it is what systemd advises.
        let is_due = self.fed.is_none_or(|fed| now.duration_since(fed) >= interval / 2);
        // What cannot be waited for must be said now: the next look is a tick away.
        if is_due || interval / 2 < limits::TICK {
            self.tell(&[NotifyState::Watchdog]);
            self.fed = Some(now);
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(messages) = &self.messages else { return };
        let lines: Vec<_> = states.iter().map(ToString::to_string).collect();
        // Full: it does not listen, and what it missed it will be told again by what follows.
        _ = messages.try_send(lines.join("\n"));
    }
}

/// The thread; it ends with the sender. `None` where the machine gives no thread.
fn speak() -> Option<SyncSender<String>> {
    let (sender, messages) = sync_channel::<String>(limits::NOTICES_WAITING);
    let speak = move || {
        for message in messages {
            // Without a service manager there is nobody to complain to.
            _ = sd_notify::notify(&[NotifyState::Custom(&message)]);
        }
    };
    let thread = thread::Builder::new().name("notify".into());
    privileged::without(|| thread.spawn(speak)).ok().map(|_| sender)
}
