//! Where each number stands in a worker's ledger: the one page of truth for the worker that writes
//! and the supervisor that reads. The ledger is an array of 64-bit words in shared memory.
//!
//! Records of rules, outputs and rings begin with a *tag*, the id of what they count, or 0 when
//! free; [`tagged`] says how a reader knows whose counters it has read. The records of a rule that
//! has no route for a while keep their tag, so that nothing that was counted is lost, until those
//! of another are put there.

pub mod seqlock;
pub mod tagged;

use std::net::{IpAddr, Ipv6Addr};

use crate::ids::{OutputSlot, RuleSlot};
use crate::limits;
use crate::route::{Position, StateHash};
use crate::trace;
use crate::verdict::{DropReason, EgressError, counted};

/// Changes with every change of this layout: a worker never writes one that its supervisor reads
/// otherwise.
pub const VERSION: u64 = 10;

counted! {
    /// Words of a worker about itself.
    Header {
        Version = "version", "The layout's version, written when the worker is ready to serve.";
        Mechanism = "mechanism", "How sends and waits reach the kernel.";
        Confinement = "confinement", "How far the worker is confined.";
        Heartbeat = "heartbeat_ns", "When the loop last turned, on the monotonic clock.";
        Generation = "generation", "The last generation of the rule set that was applied whole.";
        Hash = "hash", "The hash of the routes and sockets held.";
        Routes = "routes", "How many routes are held.";
        LogLevels = "log_levels", "The revision of the log levels in force; 0 is those of a start.";
        Traces = "traces", "The revision of the trace orders in force.";
        TraceEvents = "trace_events", "Trace events ever written.";
        LongestTurn = "longest_turn_ns", "The longest turn of the loop since its start.";
    }
}

counted! {
    /// Counters of a worker's core.
    CoreCounter {
        FramesRead = "frames_read", "Frames read from the rings.";
        BytesRead = "bytes_read", "Their bytes, from the link-layer header on.";
        Datagrams = "datagrams", "Datagrams in them; only a super-frame is more than one.";
        Matched = "matched", "Datagrams that a rule matched.";
        Copies = "copies", "Copies that the matched rules wanted sent (the sum of their fan-out).";
        Sent = "sent", "Copies that the kernel took.";
        SentBytes = "sent_bytes", "Their payload bytes.";
        Batches = "batches", "Batches of frames read.";
        Sends = "sends", "Send operations; a GSO run of many copies is one.";
        WakeUps = "wake_ups", "Waits that ended.";
        SystemCalls = "system_calls", "System calls of the loop: sends, waits, looks for commands.";
        BusyNs = "busy_ns", "Time spent other than waiting.";
        GsoRefused = "gso_refused", "Runs that the kernel refused as a whole and took singly.";
        Commands = "commands", "Commands carried out.";
        CommandsRefused = "commands_refused", "Commands that could not be understood or done.";
        LongTurns = "long_turns", "Turns of the loop longer than 2 ms.";
        LogRecordsDropped = "log_records_dropped", "Log records lost because the pipe was full.";
        StuckRings = "stuck_rings", "Rings found to take nothing any more; each is made anew.";
    }
}

counted! {
    /// Counters of one ingress ring.
    RingCounter {
        Slots = "slots", "Slots of the ring.";
        SlotBytes = "slot_bytes", "Bytes of a slot: the ring's class.";
        InUse = "in_use", "Slots that held unread frames when last looked.";
        HighWater = "high_water", "The most slots ever seen in use.";
        Exhausted = "exhausted", "Times that every slot was found in use.";
        Received = "received", "Frames that passed the socket's filter, dropped ones included.";
        KernelDrops = "kernel_drops", "Of these, those that the kernel dropped for want of a slot.";
        FramesRead = "frames_read", "Frames read from the ring.";
        Stuck = "stuck", "1 where it takes nothing any more, until it is made anew.";
    }
}

counted! {
    /// Counters of one rule.
    RuleCounter {
        Packets = "packets", "Datagrams that matched.";
        Bytes = "bytes", "Their payload bytes.";
    }
}

counted! {
    /// A worker's notes of the last datagram that one rule matched.
    LastSeen {
        At = "last_seen_ns", "When it was read, on the monotonic clock.";
        Sequence = "source_sequence", "How far the writing of the source is; see `seqlock`.";
        SourceHigh = "source_high", "The first half of its source's IPv6 or mapped address.";
        SourceLow = "source_low", "The second half.";
        SourcePort = "source_port", "Its source's port.";
    }
}

counted! {
    /// Counters of one output, before its errors.
    OutputCounter {
        Sent = "sent", "Copies that the kernel took.";
        SentBytes = "sent_bytes", "Their payload bytes.";
    }
}

counted! {
    /// A worker's notes of a sender whose returns it drops.
    BrakeNote {
        SenderHigh = "sender_high", "The first half of its IPv6 or mapped address.";
        SenderLow = "sender_low", "The second half.";
        SenderPort = "sender_port", "Its port.";
    }
}

/// Bytes of a cache line: records start on one, so that the writer dirties few.
const CACHE_LINE_WORDS: usize = 8;

const fn lines(words: usize) -> usize {
    words.next_multiple_of(CACHE_LINE_WORDS)
}

const HEADER: usize = 0;
const CORE: usize = HEADER + lines(Header::COUNT);
const DROPS: usize = CORE + lines(CoreCounter::COUNT);
const ERRORS: usize = DROPS + lines(DropReason::COUNT);
const BATCH_SIZES: usize = ERRORS + lines(EgressError::COUNT);
const RINGS: usize = BATCH_SIZES + lines(limits::BATCH_SIZES);
const RING_WORDS: usize = lines(1 + RingCounter::COUNT);
const RULES: usize = RINGS + limits::INGRESSES * RING_WORDS;
const RULE_WORDS: usize = lines(1 + RuleCounter::COUNT + LastSeen::COUNT);
const OUTPUTS: usize = RULES + limits::RULES * RULE_WORDS;
const OUTPUT_WORDS: usize = lines(1 + OutputCounter::COUNT + EgressError::COUNT);

const TRACED: usize = OUTPUTS + limits::OUTPUTS * OUTPUT_WORDS;
const EVENTS: usize = TRACED + lines(limits::TRACES);
const EVENT_WORDS: usize = lines(1 + trace::EVENT_WORDS);

const BRAKES: usize = EVENTS + limits::TRACE_EVENTS * EVENT_WORDS;
const BRAKE_WORDS: usize = lines(1 + BrakeNote::COUNT);

/// Words of the whole ledger. Only the pages in use take memory.
pub const WORDS: usize = BRAKES + limits::BRAKES * BRAKE_WORDS;

/// The word of a header field.
pub const fn header(field: Header) -> usize {
    HEADER + field.index()
}

/// The word of a core's counter.
pub const fn core(counter: CoreCounter) -> usize {
    CORE + counter.index()
}

/// The word of a drop reason's counter.
pub const fn dropped(reason: DropReason) -> usize {
    DROPS + reason.index()
}

/// The word of an egress error's counter, over all outputs.
pub const fn egress_error(error: EgressError) -> usize {
    ERRORS + error.index()
}

/// The word that counts batches of so many frames, at least one, and those of about the same size:
/// of the same number of binary digits. The last one counts all beyond, too.
pub const fn batch_size(frames: usize) -> usize {
    let place = frames.ilog2() as usize;
    if place < limits::BATCH_SIZES {
        BATCH_SIZES + place
    } else {
        BATCH_SIZES + limits::BATCH_SIZES - 1
    }
}

/// The words of all batch sizes, the smallest first.
pub const fn batch_sizes() -> std::ops::Range<usize> {
    BATCH_SIZES..BATCH_SIZES + limits::BATCH_SIZES
}

/// The word that counts the datagrams traced for the order at a place.
///
/// # Panics
/// At a place that is not below [`limits::TRACES`].
pub const fn traced(place: usize) -> usize {
    assert!(place < limits::TRACES, "the supervisor gives no higher place");
    TRACED + place
}

/// Where the trace event of that number stands: its sequence word (see [`seqlock`]), behind which
/// its own words follow. As many as [`limits::TRACE_EVENTS`] have a place at a time.
pub const fn trace_event(number: u64) -> usize {
    EVENTS + (number % limits::TRACE_EVENTS as u64) as usize * EVENT_WORDS
}

/// Writes down what a worker holds; `store` is given a word and its value, and stores with release
/// order. The hash goes first, so that whoever finds the generation finds no older hash with it.
pub fn publish(position: Position, mut store: impl FnMut(usize, u64)) {
    store(header(Header::Hash), position.hash.0);
    store(header(Header::Generation), position.generation);
}

/// Reads what a worker says that it holds; `load` is given a word and loads with acquire order.
///
/// The hash may be of a later generation. It is not where the generation is the one that is
/// desired, since a worker cannot be ahead of that: then the pair is the truth.
pub fn position(mut load: impl FnMut(usize) -> u64) -> Position {
    let generation = load(header(Header::Generation));
    let hash = StateHash(load(header(Header::Hash)));
    Position { generation, hash }
}

/// An address as two words, the high half first: IPv6's, and IPv4's mapped into it (RFC 4291,
/// section 2.5.5.2).
pub fn address_words(address: IpAddr) -> [u64; 2] {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

/// The address that two words are; what is mapped is IPv4 again.
pub fn address([high, low]: [u64; 2]) -> IpAddr {
    Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).to_canonical()
}

/// A record of counters with a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    first: usize,
    words: usize,
}

impl Record {
    /// The record of the ring at a place.
    ///
    /// # Panics
    /// At a place that is not below [`limits::INGRESSES`].
    pub const fn ring(place: usize) -> Self {
        assert!(place < limits::INGRESSES, "the supervisor gives no higher place");
        Self { first: RINGS + place * RING_WORDS, words: RING_WORDS }
    }

    /// The record of a rule.
    ///
    /// # Panics
    /// For a slot that is not below [`limits::RULES`].
    pub const fn rule(slot: RuleSlot) -> Self {
        assert!((slot.0 as usize) < limits::RULES, "the supervisor gives no higher slot");
        Self { first: RULES + slot.0 as usize * RULE_WORDS, words: RULE_WORDS }
    }

    /// The record of an output.
    ///
    /// # Panics
    /// For a slot that is not below [`limits::OUTPUTS`].
    pub const fn output(slot: OutputSlot) -> Self {
        assert!((slot.0 as usize) < limits::OUTPUTS, "the supervisor gives no higher slot");
        Self { first: OUTPUTS + slot.0 as usize * OUTPUT_WORDS, words: OUTPUT_WORDS }
    }

    /// The record of a brake on a circle; its tag is the rule's.
    ///
    /// # Panics
    /// At a place that is not below [`limits::BRAKES`].
    pub const fn brake(place: usize) -> Self {
        assert!(place < limits::BRAKES, "a worker has no more");
        Self { first: BRAKES + place * BRAKE_WORDS, words: BRAKE_WORDS }
    }

    /// The word of the tag.
    pub const fn tag(self) -> usize {
        self.first
    }

    /// The words that follow the tag.
    pub const fn counters(self) -> std::ops::Range<usize> {
        self.first + 1..self.first + self.words
    }

    /// The word of a ring's counter; `self` is a ring's record.
    pub const fn of_ring(self, counter: RingCounter) -> usize {
        self.first + 1 + counter.index()
    }

    /// The word of a rule's counter; `self` is a rule's record.
    pub const fn of_rule(self, counter: RuleCounter) -> usize {
        self.first + 1 + counter.index()
    }

    /// The word of what is noted of a rule's last datagram; `self` is a rule's record.
    pub const fn of_last_seen(self, note: LastSeen) -> usize {
        self.first + 1 + RuleCounter::COUNT + note.index()
    }

    /// The word of what is noted of a brake; `self` is a brake's record.
    pub const fn of_brake(self, note: BrakeNote) -> usize {
        self.first + 1 + note.index()
    }

    /// The word of an output's counter; `self` is an output's record.
    pub const fn of_output(self, counter: OutputCounter) -> usize {
        self.first + 1 + counter.index()
    }

    /// The word of an output's error counter; `self` is an output's record.
    pub const fn of_error(self, error: EgressError) -> usize {
        self.first + 1 + OutputCounter::COUNT + error.index()
    }
}

#[cfg(test)]
mod race;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_counted_by_their_binary_digits() {
        let place = |frames| batch_size(frames) - batch_sizes().start;
        assert_eq!([1, 2, 3, 4, 64, 127, 2_048].map(place), [0, 1, 1, 2, 6, 6, 11]);
        assert_eq!(batch_size(usize::MAX), batch_sizes().end - 1);
    }

    #[test]
    fn no_two_numbers_share_a_word() {
        let mut words = Vec::new();
        words.extend(Header::ALL.iter().map(|&f| header(f)));
        words.extend(CoreCounter::ALL.iter().map(|&c| core(c)));
        words.extend(DropReason::ALL.iter().map(|&r| dropped(r)));
        words.extend(EgressError::ALL.iter().map(|&e| egress_error(e)));
        words.extend(batch_sizes());
        words.extend((0..limits::TRACES).map(traced));
        for number in [0, 1, limits::TRACE_EVENTS as u64 - 1] {
            words.extend(trace_event(number)..=trace_event(number) + trace::EVENT_WORDS);
        }
        for place in [0, 1, limits::INGRESSES - 1] {
            let record = Record::ring(place);
            words.push(record.tag());
            words.extend(RingCounter::ALL.iter().map(|&c| record.of_ring(c)));
        }
        for slot in [0, 1, limits::RULES as u32 - 1] {
            let record = Record::rule(RuleSlot(slot));
            words.push(record.tag());
            words.extend(RuleCounter::ALL.iter().map(|&c| record.of_rule(c)));
            words.extend(LastSeen::ALL.iter().map(|&n| record.of_last_seen(n)));
        }
        for slot in [0, 1, limits::OUTPUTS as u32 - 1] {
            let record = Record::output(OutputSlot(slot));
            words.push(record.tag());
            words.extend(OutputCounter::ALL.iter().map(|&c| record.of_output(c)));
            words.extend(EgressError::ALL.iter().map(|&e| record.of_error(e)));
        }
        for place in [0, 1, limits::BRAKES - 1] {
            let record = Record::brake(place);
            words.push(record.tag());
            words.extend(BrakeNote::ALL.iter().map(|&n| record.of_brake(n)));
        }
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
        assert!(words.iter().all(|&word| word < WORDS));
    }
}
