//! What happens, told to whoever subscribes: the latest events are kept, and a channel of bounded
//! length carries new ones. Telling never waits, whoever does or does not read.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use mcr_api::control::{About, Event, EventKind};
use mcr_core::endpoint::InterfaceName;
use mcr_core::ids::{RuleId, WorkerId};
use mcr_core::rule::Rule;
use mcr_sys::process::realtime_ns;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

use crate::limits;

/// What is told. Clones tell the same: the state and the workers each have one, on one thread.
#[derive(Clone, Debug)]
pub(crate) struct News(Rc<RefCell<Told>>);

#[derive(Debug)]
struct Told {
    /// The number of the latest event; 0: there has been none.
    latest: u64,
    /// The latest events, the oldest first.
    recent: VecDeque<Arc<Item>>,
    channel: broadcast::Sender<Arc<Item>>,
}

/// An event, and its line once a subscriber has needed it.
#[derive(Debug)]
struct Item {
    event: Event,
    line: OnceLock<Vec<u8>>,
}

/// Events for a subscriber: those kept of the past, and then those to come.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The latest event when it began.
    pub(crate) latest: u64,
    /// The events that it asked for and that are no longer kept.
    missed: u64,
    past: VecDeque<Arc<Item>>,
    coming: broadcast::Receiver<Arc<Item>>,
    /// The last event told, or counted as missed.
    reached: u64,
}

/// There are as many subscribers as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "limit reached: {} clients are subscribed to events; end one and try again",
    limits::SUBSCRIBERS
)]
pub(crate) struct TooManySubscribers;

/// The subject of a rule's event.
pub(crate) fn rule(id: RuleId, rule: &Rule) -> About {
    let name = rule.name.as_ref().map(|name| name.as_str().to_owned());
    About { rule: Some(id.0), name, ..About::default() }
}

/// The subject of a worker's event.
pub(crate) fn worker(id: WorkerId) -> About {
    About { worker: Some(id.0), ..About::default() }
}

/// The subject of an interface's event.
pub(crate) fn interface(name: &InterfaceName) -> About {
    About { interface: Some(name.as_str().to_owned()), ..About::default() }
}

impl Default for News {
    fn default() -> Self {
        let (channel, _) = broadcast::channel(limits::EVENTS_WAITING);
        let recent = VecDeque::with_capacity(limits::EVENTS_KEPT);
        Self(Rc::new(RefCell::new(Told { latest: 0, recent, channel })))
    }
}

impl News {
    /// Tells what has just happened.
    pub(crate) fn tell(&self, kind: EventKind, about: About, message: impl Display) {
        let mut told = self.0.borrow_mut();
        told.latest += 1;
        let event = Event::new(told.latest, realtime_ns(), kind, about, message.to_string());
        let item = Arc::new(Item { event, line: OnceLock::new() });
        if told.recent.len() == limits::EVENTS_KEPT {
            told.recent.pop_front();
        }
        told.recent.push_back(Arc::clone(&item));
        // Without a subscriber there is nobody to be told.
        _ = told.channel.send(item);
    }

    /// The latest events, the oldest first.
    pub(crate) fn recent(&self) -> Vec<Event> {
        self.0.borrow().recent.iter().map(|item| item.event.clone()).collect()
    }

    /// Tells from now on, and before that what is kept of what came after an event.
    pub(crate) fn subscribe(&self, after: Option<u64>) -> Result<Subscription, TooManySubscribers> {
        let told = self.0.borrow();
        if told.channel.receiver_count() >= limits::SUBSCRIBERS {
            return Err(TooManySubscribers);
        }
        let latest = told.latest;
        let after = after.map_or(latest, |after| after.min(latest));
        let is_after = |item: &&Arc<Item>| item.event.sequence > after;
        let past: VecDeque<_> = told.recent.iter().filter(is_after).cloned().collect();
        let missed = latest - after - past.len() as u64;
        let coming = told.channel.subscribe();
        Ok(Subscription { latest, missed, past, coming, reached: after })
    }
}

impl Subscription {
    /// The next lines, as many as there are and fit; `None` when no more will come. Nothing is lost
    /// where the wait is given up.
    pub(crate) async fn next_lines(&mut self) -> Option<Vec<u8>> {
        let mut lines = Vec::new();
        self.tell_missed(self.missed, &mut lines);
        self.missed = 0;
        while lines.len() < limits::EVENT_BYTES_AT_ONCE {
            let next = match self.past.pop_front() {
                Some(item) => Ok(item),
                None if lines.is_empty() => self.coming.recv().await,
                None => match self.coming.try_recv() {
                    Ok(item) => Ok(item),
                    Err(TryRecvError::Lagged(count)) => Err(RecvError::Lagged(count)),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                },
            };
            match next {
                Ok(item) => {
                    self.reached = item.event.sequence;
                    lines.extend(item.line.get_or_init(|| item.event.to_line()));
                }
                Err(RecvError::Lagged(count)) => self.tell_missed(count, &mut lines),
                Err(RecvError::Closed) => return None,
            }
        }
        Some(lines)
    }

    fn tell_missed(&mut self, count: u64, lines: &mut Vec<u8>) {
        if count > 0 {
            self.reached += count;
            lines.extend(Event::missed(self.reached, realtime_ns(), count).to_line());
        }
    }
}

#[cfg(test)]
mod tests;
