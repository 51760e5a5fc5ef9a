//! What the receiving thread writes and the test reads.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{SinkReport, Stray};
use crate::account::{Arrival, StreamAccount, StreamReport};
use crate::limits;
use crate::payload::{self, Header, Verdict};

/// The entries, and the means to wait for more.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: Mutex<Entries>,
    grown: Condvar,
    /// Tells the receiving thread to end.
    pub(super) stop: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Entries {
    streams: HashMap<u32, StreamAccount>,
    received: u64,
    strays: Vec<Stray>,
    pub(super) stray_count: u64,
}

/// A datagram as received.
pub(super) struct Datagram<'a> {
    pub(super) payload: &'a [u8],
    pub(super) origin: SocketAddr,
    pub(super) ttl: Option<u8>,
    pub(super) received_at_ns: Option<u64>,
}

impl Book {
    /// Lets `write` make entries, then wakes whoever waits for them.
    pub(super) fn write(&self, write: impl FnOnce(&mut Entries)) {
        write(&mut self.lock());
        self.grown.notify_all();
    }

    pub(super) fn received(&self) -> u64 {
        self.lock().received
    }

    /// Whether `enough` became true within `timeout`.
    pub(super) fn wait_for(&self, timeout: Duration, enough: impl Fn(&Entries) -> bool) -> bool {
        let (_entries, result) = self
            .grown
            .wait_timeout_while(self.lock(), timeout, |entries| !enough(entries))
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    pub(super) fn report(&self) -> SinkReport {
        let entries = self.lock();
        SinkReport {
            streams: entries.streams.iter().map(|(id, one)| (*id, one.report())).collect(),
            strays: entries.strays.clone(),
            stray_count: entries.stray_count,
            socket_drops: 0,
        }
    }

    /// The figures of a stream of which nothing came.
    pub(super) fn nothing() -> StreamReport {
        StreamAccount::default().report()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // After a panic in the receiving thread the figures so far are still true.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Intact datagrams so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Books one datagram.
    pub(super) fn add(&mut self, datagram: &Datagram<'_>) {
        match payload::verify(datagram.payload) {
            Verdict::Intact(header) => match self.stream(header.stream) {
                Some(account) => {
                    account.intact(header.sequence, arrival(datagram, header));
                    self.received += 1;
                }
                None => self.stray(datagram),
            },
            Verdict::Corrupt(header) => match self.stream(header.stream) {
                Some(account) => account.corrupt(arrival(datagram, header)),
                None => self.stray(datagram),
            },
            Verdict::Stray => self.stray(datagram),
        }
    }

    fn stream(&mut self, stream: u32) -> Option<&mut StreamAccount> {
        if self.streams.len() >= limits::MAX_STREAMS {
            return self.streams.get_mut(&stream);
        }
        Some(self.streams.entry(stream).or_default())
    }

    fn stray(&mut self, datagram: &Datagram<'_>) {
        self.stray_count += 1;
        if self.strays.len() < limits::MAX_STRAYS_KEPT {
            let payload = datagram.payload.to_vec();
            self.strays.push(Stray { origin: datagram.origin, payload });
        }
    }
}

fn arrival(datagram: &Datagram<'_>, header: Header) -> Arrival {
    Arrival {
        origin: datagram.origin,
        ttl: datagram.ttl,
        // A clock set back in between would give a negative time: 0 then.
        latency_ns: datagram.received_at_ns.map(|at| at.saturating_sub(header.sent_at_ns)),
    }
}
