//! Reads counters from a ledger, which its worker writes at the same time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{Ordering, fence};

use mcr_api::control::CoreStats;
use mcr_core::counters::{add, sum};
use mcr_core::ids::IngressId;
use mcr_core::ledger::tagged::{self, Memory};
use mcr_core::ledger::{CoreCounter, LastSeen, OutputCounter, Record, RingCounter, RuleCounter};
use mcr_core::ledger::{address, batch_sizes, core, dropped, egress_error, seqlock};
use mcr_core::rule_set::DeclaredRule;
use mcr_core::verdict::{DropReason, EgressError};
use mcr_sys::ledger::LedgerReader;
use mcr_sys::process::monotonic_ns;

use crate::resources::ingress::RingPlace;

/// The counters of a rule and of its outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleTally {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) last_seen: Option<Seen>,
    /// In the order of the rule's outputs; may be fewer, where the rest counted nothing.
    pub(crate) outputs: Vec<OutputTally>,
}

/// The last datagram of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    /// In nanoseconds of the monotonic clock.
    pub(crate) at: u64,
    /// `None` where its writing was under way.
    pub(crate) source: Option<SocketAddr>,
}

/// The counters of an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputTally {
    pub(crate) sent: u64,
    pub(crate) bytes: u64,
    pub(crate) errors: [u64; EgressError::COUNT],
}

impl RuleTally {
    /// Takes another's counters in.
    pub(crate) fn add(&mut self, other: &Self) {
        add(&mut self.packets, other.packets);
        add(&mut self.bytes, other.bytes);
        self.last_seen = self.last_seen.max(other.last_seen);
        if self.outputs.len() < other.outputs.len() {
            self.outputs.resize(other.outputs.len(), OutputTally::default());
        }
        for (sum, output) in self.outputs.iter_mut().zip(&other.outputs) {
            add(&mut sum.sent, output.sent);
            add(&mut sum.bytes, output.bytes);
            for (sum, count) in sum.errors.iter_mut().zip(output.errors) {
                add(sum, count);
            }
        }
    }

    /// Names the copies that the worker, now dead, had not counted as sent or failed.
    pub(crate) fn close_account(&mut self) {
        for output in &mut self.outputs {
            let known = sum(output.errors.into_iter().chain([output.sent]));
            let abandoned = &mut output.errors[EgressError::Abandoned.index()];
            add(abandoned, self.packets.saturating_sub(known));
        }
    }
}

/// The counters of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RingTally([u64; RingCounter::COUNT]);

impl RingTally {
    pub(crate) fn of(&self, counter: RingCounter) -> u64 {
        self.0[counter.index()]
    }

    /// The same, with what was counted before it for the same ring.
    pub(crate) fn after(mut self, before: Option<&Self>) -> Self {
        let counters = [
            RingCounter::Exhausted,
            RingCounter::Received,
            RingCounter::KernelDrops,
            RingCounter::FramesRead,
        ];
        for counter in counters {
            add(&mut self.0[counter.index()], before.map_or(0, |before| before.of(counter)));
        }
        self
    }

    /// The ring's reader is dead: the frames left in it are dropped with it.
    pub(crate) fn close_account(&mut self) {
        let read = self.of(RingCounter::FramesRead);
        let received = self.of(RingCounter::Received).max(read);
        self.0[RingCounter::Received.index()] = received;
        self.0[RingCounter::KernelDrops.index()] = received - read;
    }
}

/// Adds up place by place.
pub(crate) fn add_each(sums: &mut Vec<u64>, counts: &[u64]) {
    if sums.len() < counts.len() {
        sums.resize(counts.len(), 0);
    }
    for (sum, count) in sums.iter_mut().zip(counts) {
        add(sum, *count);
    }
}

/// A worker's counters for its core, but for those of its rings.
pub(crate) fn core_stats(ledger: &LedgerReader) -> CoreStats {
    let count = |counter| ledger.load(core(counter));
    let drops = DropReason::ALL.iter().map(|r| (r.name().to_owned(), ledger.load(dropped(*r))));
    let errors =
        EgressError::ALL.iter().map(|e| (e.name().to_owned(), ledger.load(egress_error(*e))));
    CoreStats {
        received: 0,
        kernel_drops: 0,
        frames_read: count(CoreCounter::FramesRead),
        bytes_read: count(CoreCounter::BytesRead),
        datagrams: count(CoreCounter::Datagrams),
        matched: count(CoreCounter::Matched),
        copies: count(CoreCounter::Copies),
        sent: count(CoreCounter::Sent),
        sent_bytes: count(CoreCounter::SentBytes),
        drops: drops.collect(),
        errors: errors.collect(),
        batches: count(CoreCounter::Batches),
        sends: count(CoreCounter::Sends),
        wake_ups: count(CoreCounter::WakeUps),
        system_calls: count(CoreCounter::SystemCalls),
        busy_ns: count(CoreCounter::BusyNs),
        gso_refused: count(CoreCounter::GsoRefused),
        commands: count(CoreCounter::Commands),
        commands_refused: count(CoreCounter::CommandsRefused),
        long_turns: count(CoreCounter::LongTurns),
        log_records_dropped: count(CoreCounter::LogRecordsDropped),
        stuck_rings: count(CoreCounter::StuckRings),
    }
}

/// No counts, but every reason by name.
pub(crate) fn zero_stats() -> CoreStats {
    CoreStats {
        drops: DropReason::ALL.iter().map(|reason| (reason.name().to_owned(), 0)).collect(),
        errors: EgressError::ALL.iter().map(|error| (error.name().to_owned(), 0)).collect(),
        ..CoreStats::default()
    }
}

/// The counters of a ring; `None` where the worker does not have it.
pub(crate) fn ring(ledger: &LedgerReader, ring: &RingPlace) -> Option<RingTally> {
    let record = Record::ring(ring.place);
    of_tag(ledger, record, ring_tag(ring.id), || ring_counters(ledger, record))
}

/// What a ring counted whose worker may have closed it already; the record must not have been
/// given to another ring since.
pub(crate) fn closed_ring(ledger: &LedgerReader, place: usize) -> RingTally {
    ring_counters(ledger, Record::ring(place))
}

/// The counters of a rule; `None` where the worker does not have it.
pub(crate) fn rule(ledger: &LedgerReader, declared: &DeclaredRule) -> Option<RuleTally> {
    let (record, tag) = (Record::rule(declared.slot), declared.id.0);
    let (packets, bytes, last_seen) = of_tag(ledger, record, tag, || {
        let count = |counter| ledger.load(record.of_rule(counter));
        (count(RuleCounter::Packets), count(RuleCounter::Bytes), last_seen(ledger, record))
    })?;
    let outputs = declared.output_slots().map(|slot| {
        let record = Record::output(slot);
        of_tag(ledger, record, tag, || OutputTally {
            sent: ledger.load(record.of_output(OutputCounter::Sent)),
            bytes: ledger.load(record.of_output(OutputCounter::SentBytes)),
            errors: std::array::from_fn(|n| ledger.load(record.of_error(EgressError::ALL[n]))),
        })
    });
    let outputs = outputs.map(Option::unwrap_or_default).collect();
    Some(RuleTally { packets, bytes, last_seen, outputs })
}

fn last_seen(ledger: &LedgerReader, record: Record) -> Option<Seen> {
    let at = ledger.load(record.of_last_seen(LastSeen::At));
    let mut load = |word| ledger.load_acquire(word);
    let sequence = record.of_last_seen(LastSeen::Sequence);
    let source = seqlock::read(sequence, &mut load, |load| {
        let note = |note| load(record.of_last_seen(note));
        let address = address([note(LastSeen::SourceHigh), note(LastSeen::SourceLow)]);
        SocketAddr::new(address, note(LastSeen::SourcePort) as u16)
    });
    // Nobody has seen anything yet that is still to come: it would hide what others see.
    let is_past = (1..=monotonic_ns()).contains(&at);
    is_past.then(|| Seen { at, source: source.map(|(_, source)| source) })
}

/// The batches of a worker by their size.
pub(crate) fn batches_by_size(ledger: &LedgerReader) -> Vec<u64> {
    batch_sizes().map(|word| ledger.load(word)).collect()
}

/// The errors that occurred, by name.
pub(crate) fn named_errors(output: &OutputTally) -> BTreeMap<String, u64> {
    let counts = EgressError::ALL.iter().zip(output.errors);
    let occurred = counts.filter(|(_, count)| *count > 0);
    occurred.map(|(error, count)| (error.name().to_owned(), count)).collect()
}

/// A ring's tag: 0 would be that of a free record.
fn ring_tag(id: IngressId) -> u64 {
    u64::from(id.0) + 1
}

/// What `read` finds in a record, if the record bore the tag before and after.
fn of_tag<T>(
    ledger: &LedgerReader,
    record: Record,
    tag: u64,
    read: impl FnOnce() -> T,
) -> Option<T> {
    tagged::read(&Words(ledger), record, tag, read)
}

/// A ledger to be read.
struct Words<'l>(&'l LedgerReader);

impl Memory for Words<'_> {
    fn load(&self, word: usize) -> u64 {
        self.0.load(word)
    }

    fn store(&self, _: usize, _: u64) {
        unreachable!("a reader stores nothing");
    }

    fn release(&self) {
        unreachable!("a reader stores nothing");
    }

    fn acquire(&self) {
        fence(Ordering::Acquire);
    }
}

fn ring_counters(ledger: &LedgerReader, record: Record) -> RingTally {
    RingTally(std::array::from_fn(|n| ledger.load(record.of_ring(RingCounter::ALL[n]))))
}
