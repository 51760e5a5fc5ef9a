//! Trace events out of the workers' ledgers, merged.

use mcr_api::control::{TraceCursor, TraceEvent, TraceStep, Traces};
use mcr_core::ids::WorkerId;
use mcr_core::interfaces::{Interfaces, LinkLayer};
use mcr_core::ledger::{Header, header, seqlock, trace_event};
use mcr_core::limits::TRACE_EVENTS;
use mcr_core::trace::{EVENT_WORDS, Event, Step};
use mcr_sys::ledger::LedgerReader;

use super::Of;
use crate::limits;

/// A worker process and its ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) worker: WorkerId,
    pub(crate) incarnation: u64,
    pub(crate) ledger: &'a LedgerReader,
}

/// The place of the events to come.
pub(crate) fn cursor<'a>(sources: impl Iterator<Item = Source<'a>>) -> Vec<TraceCursor> {
    sources.map(|source| source.cursor(source.written())).collect()
}

/// The events from a cursor on, so many of each worker; where it says nothing, the oldest kept.
pub(crate) fn read<'a>(
    sources: impl Iterator<Item = Source<'a>>,
    from: &[TraceCursor],
    of: Option<&Of>,
    interfaces: &Interfaces,
) -> Traces {
    let mut answer = Traces::default();
    for source in sources {
        let from = from.iter().find(|cursor| {
            (cursor.worker, cursor.incarnation) == (source.worker.0, source.incarnation)
        });
        let next = source.read(from.map(|cursor| cursor.next), &mut answer.missed, |event| {
            let found = interfaces.numbered(event.ifindex);
            let interface =
                found.map_or_else(|| format!("if{}", event.ifindex), |i| i.name.to_string());
            let is_ip = found.is_some_and(|i| i.link == Some(LinkLayer::Ip));
            let is_wanted = match of {
                None => true,
                Some(Of::Rule(id)) => event.rule == Some(*id),
                Some(Of::Interface(name)) => event.rule.is_none() && interface == name.as_str(),
            };
            if is_wanted {
                answer.events.push(source.event(event, interface, !is_ip));
            }
        });
        answer.cursor.push(source.cursor(next));
    }
    answer.events.sort_by_key(|event| event.time_ns);
    answer
}

impl Source<'_> {
    fn cursor(&self, next: u64) -> TraceCursor {
        TraceCursor { worker: self.worker.0, incarnation: self.incarnation, next }
    }

    /// How many events its worker has ever written.
    fn written(&self) -> u64 {
        self.ledger.load_acquire(header(Header::TraceEvents))
    }

    /// Shows the events from a number on, or from the oldest; returns the number to read on from,
    /// and adds those that are gone already.
    fn read(&self, from: Option<u64>, missed: &mut u64, mut show: impl FnMut(&Event)) -> u64 {
        let written = self.written();
        let oldest = written.saturating_sub(TRACE_EVENTS as u64);
        let from = from.unwrap_or(oldest).min(written);
        let first = from.max(oldest);
        // What a worker wrote of its own number may be anything.
        *missed = missed.saturating_add(first - from);
        let end = written.min(first.saturating_add(limits::TRACE_EVENTS_AT_ONCE));
        for number in first..end {
            match self.at(number) {
                Some(event) => show(&event),
                // Overwritten meanwhile.
                None => *missed = missed.saturating_add(1),
            }
        }
        end
    }

    /// The event of that number, if it is still there, whole.
    fn at(&self, number: u64) -> Option<Event> {
        let sequence = trace_event(number);
        let mut load = |word| self.ledger.load_acquire(word);
        let (found, event) = seqlock::read(sequence, &mut load, |load| {
            let words: [u64; EVENT_WORDS] = std::array::from_fn(|n| load(sequence + 1 + n));
            Event::from_words(&words)
        })?;
        event.filter(|_| found == number)
    }

    fn event(&self, event: &Event, interface: String, ethernet: bool) -> TraceEvent {
        TraceEvent {
            time_ns: event.at_ns,
            worker: self.worker.0,
            incarnation: self.incarnation,
            datagram: event.datagram,
            rule: event.rule.map(|rule| rule.0),
            interface,
            ethernet,
            step: step(event.step),
            source: event.source,
            destination: event.destination,
            length: event.len,
            head: hexadecimal(event.head.bytes()),
        }
    }
}

fn step(step: Step) -> TraceStep {
    match step {
        Step::Received => TraceStep::Received,
        Step::Forwarded { outputs } => TraceStep::Forwarded { outputs },
        Step::Dropped(reason) => TraceStep::Dropped { reason: reason.name().into() },
        Step::Handed { output } => TraceStep::Handed { output },
        Step::Sent { output } => TraceStep::Sent { output },
        Step::Failed { output, error, errno } => {
            TraceStep::Failed { output, error: error.name().into(), errno }
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("four bits are a digit");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering;

    use mcr_core::ledger::WORDS;
    use mcr_sys::ledger::{LedgerMemory, LedgerWriter};
    use proptest::prelude::*;

    use super::*;

    fn ledger() -> (LedgerWriter, LedgerReader) {
        let memory = LedgerMemory::create("test", WORDS).unwrap();
        let writer = LedgerWriter::map(memory.as_fd(), WORDS).unwrap();
        (writer, LedgerReader::map(memory.as_fd(), WORDS).unwrap())
    }

    /// Reads from two workers' ledgers, which are one here.
    fn events(ledger: &LedgerReader, from: u64) -> Traces {
        let source = |worker| Source { worker: WorkerId(worker), incarnation: 1, ledger };
        let sources = [source(0), source(1)];
        let from = sources.map(|source| source.cursor(from));
        read(sources.into_iter(), &from, None, &Interfaces::default())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The events' number, the places around it and where the reader stands are anything.
        #[test]
        fn no_words_make_the_reader_fail_or_go_on_without_end(
            before_the_end in 0..2_000_u64,
            written in any::<u64>(),
            from in any::<u64>(),
            words in prop::collection::vec(any::<u64>(), 1..200),
        ) {
            let (writer, reader) = ledger();
            for number in [u64::MAX - before_the_end, written] {
                writer[header(Header::TraceEvents)].store(number, Ordering::Relaxed);
                let first = number.saturating_sub(9);
                for event in first..number {
                    let place = trace_event(event);
                    let text = words.iter().cycle().skip(event as usize % words.len());
                    writer[place].store(seqlock_word(event), Ordering::Relaxed);
                    for (word, value) in writer[place + 1..].iter().zip(text).take(EVENT_WORDS) {
                        word.store(*value, Ordering::Relaxed);
                    }
                }
                for from in [0, from, first, u64::MAX] {
                    let answer = events(&reader, from);
                    prop_assert!(answer.events.len() as u64 <= 2 * limits::TRACE_EVENTS_AT_ONCE);
                    prop_assert!(answer.cursor.iter().all(|cursor| cursor.next <= number));
                }
            }
        }
    }

    /// What says that an event is written whole, also where its number is beyond what can be told.
    fn seqlock_word(number: u64) -> u64 {
        number.wrapping_mul(2).wrapping_add(2)
    }
}
