//! The worker's pen in the ledger. It is the only writer, so counting is a load and a store
//! without any lock prefix.

use std::net::SocketAddr;
use std::sync::atomic::{Ordering, fence};

use mcr_core::ledger::{self, CoreCounter, Header, LastSeen, Record, seqlock, tagged};
use mcr_core::route::Position;
use mcr_core::trace::Event;
use mcr_core::verdict::{DropReason, EgressError};
use mcr_sys::ledger::LedgerWriter;

/// Writes the ledger.
#[derive(Debug)]
pub(crate) struct Counters(LedgerWriter);

impl Counters {
    pub(crate) fn new(ledger: LedgerWriter) -> Self {
        Self(ledger)
    }

    /// Adds to the word at an index of [`mcr_core::ledger`].
    pub(crate) fn add(&self, word: usize, n: u64) {
        let word = &self.0[word];
        word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    pub(crate) fn value(&self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    pub(crate) fn core(&self, counter: CoreCounter, n: u64) {
        self.add(ledger::core(counter), n);
    }

    /// Counts a ring that was found stuck, after the ring's own record says so.
    pub(crate) fn ring_stuck(&self) {
        let word = &self.0[ledger::core(CoreCounter::StuckRings)];
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    pub(crate) fn dropped(&self, reason: DropReason, n: u64) {
        self.add(ledger::dropped(reason), n);
    }

    pub(crate) fn egress_error(&self, error: EgressError, n: u64) {
        self.add(ledger::egress_error(error), n);
    }

    pub(crate) fn header(&self, field: Header, value: u64) {
        // Whoever sees a new generation also sees all that was written before it.
        self.0[ledger::header(field)].store(value, Ordering::Release);
    }

    /// The worker's position.
    pub(crate) fn position(&self, position: Position) {
        ledger::publish(position, |word, value| self.0[word].store(value, Ordering::Release));
    }

    /// Notes when a rule's last datagram was read, and, where that is another than before, who
    /// sent it.
    pub(crate) fn last_seen(&self, rule: Record, at_ns: u64, source: SocketAddr) {
        let word = |note| rule.of_last_seen(note);
        self.set(word(LastSeen::At), at_ns);
        let [high, low] = ledger::address_words(source.ip());
        let notes = [
            (word(LastSeen::SourceHigh), high),
            (word(LastSeen::SourceLow), low),
            (word(LastSeen::SourcePort), source.port().into()),
        ];
        if notes.iter().all(|(word, value)| self.0[*word].load(Ordering::Relaxed) == *value) {
            return;
        }
        let sequence = word(LastSeen::Sequence);
        let number = seqlock::next_number(self.0[sequence].load(Ordering::Relaxed));
        let mut store = |word: usize, value| self.0[word].store(value, Ordering::Release);
        seqlock::write(sequence, number, &mut store, |store| {
            for (word, value) in notes {
                store(word, value);
            }
        });
    }

    /// Writes a trace event over the oldest one.
    pub(crate) fn event(&self, event: &Event) {
        let next = ledger::header(Header::TraceEvents);
        let number = self.0[next].load(Ordering::Relaxed);
        let sequence = ledger::trace_event(number);
        let mut store = |word: usize, value| self.0[word].store(value, Ordering::Release);
        seqlock::write(sequence, number, &mut store, |store| {
            for (word, value) in (sequence + 1..).zip(event.to_words()) {
                store(word, value);
            }
        });
        store(next, number + 1);
    }

    /// Takes a record into use for the thing of that tag, with zero counters; one that is that
    /// thing's already keeps its counters.
    pub(crate) fn open(&self, record: Record, tag: u64) {
        tagged::open(self, record, tag);
    }

    /// Takes a record into use for what was just written there.
    pub(crate) fn mark(&self, record: Record, tag: u64) {
        self.0[record.tag()].store(tag, Ordering::Release);
    }

    /// Frees a record.
    pub(crate) fn close(&self, record: Record) {
        self.0[record.tag()].store(0, Ordering::Release);
    }
}

impl tagged::Memory for Counters {
    fn load(&self, word: usize) -> u64 {
        self.value(word)
    }

    fn store(&self, word: usize, value: u64) {
        self.set(word, value);
    }

    fn release(&self) {
        fence(Ordering::Release);
    }

    fn acquire(&self) {
        fence(Ordering::Acquire);
    }
}
