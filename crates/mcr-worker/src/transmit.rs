//! From runs to sends: every output of a run's rule gets the run in one piece where its path takes
//! it so, and datagram by datagram where not.
//!
//! The sends of a batch go to the kernel chunk by chunk, with a look at the clock between two.
//! Where a turn's time is over, they go on in the next one.

use mcr_core::ledger::{CoreCounter, Header, RuleCounter};
use mcr_core::trace::Step;
use mcr_core::verdict::EgressError;
use mcr_sys::gather::Gather;
use mcr_sys::process::monotonic_ns;

use crate::batch::{Batch, Run};
use crate::counters::Counters;
use crate::egress::{EgressTable, may_refuse_the_run};
use crate::limits;
use crate::mechanism::Mechanism;
use crate::pace::Pace;
use crate::routes::{HeldRoute, Leave, Routes};
use crate::sending::{Sending, not_sent};
use crate::trace::Tracer;

/// The sends of one batch. Made once and used again.
#[derive(Debug)]
pub(crate) struct Transmitter {
    /// The place in the batch where the next send begins.
    next: Place,
    /// The sends that are with the kernel.
    chunk: Vec<Sending>,
    /// Runs of the last chunk that the kernel did not take as such; they go out singly, before
    /// anything else, so that each output keeps its order.
    refused: Vec<Sending>,
    /// The first of them that is not sent whole.
    next_refused: usize,
    pub(crate) pace: Pace,
}

/// A payload of a run, for one output of its rule.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    run: usize,
    output: usize,
    payload: u32,
}

/// The room left in a chunk; the last send may be more.
struct Room {
    sends: usize,
    copies: usize,
    bytes: usize,
}

/// The outcome of sends.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sends: u64,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    refused: u64,
}

/// The material of sends.
pub(crate) struct Sources<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) gather: &'a Gather<'a>,
    pub(crate) routes: &'a Routes,
    pub(crate) egresses: &'a EgressTable,
    pub(crate) counters: &'a Counters,
    pub(crate) tracer: &'a Tracer,
}

impl<'a> Sources<'a> {
    pub(crate) fn route(&self, run: &Run) -> &'a HeldRoute {
        self.routes.at(run.rule).expect("no route changes before a batch's end")
    }
}

impl Transmitter {
    pub(crate) fn new() -> Self {
        Self {
            next: Place::default(),
            chunk: Vec::with_capacity(limits::SENDS_IN_A_CHUNK),
            refused: Vec::with_capacity(limits::SENDS_IN_A_CHUNK),
            next_refused: 0,
            pace: Pace::new(),
        }
    }

    /// A batch begins.
    pub(crate) fn begin(&mut self) {
        self.next = Place::default();
    }

    /// Sends on, chunk by chunk, to every output of the batch's rules until its end or, by the
    /// monotonic clock, until then; says whether it has come to the end. When this returns the
    /// kernel reads none of the payloads any more.
    pub(crate) fn transmit(
        &mut self,
        sources: &Sources<'_>,
        mechanism: &mut impl Mechanism,
        until_ns: u64,
    ) -> bool {
        let mut tally = Tally::default();
        let mut now = monotonic_ns();
        while !self.is_done(sources) {
            self.fill(sources, now);
            self.send(sources, mechanism, now, &mut tally);
            let copies = self.chunk.iter().map(|sending| sending.count as usize).sum();
            let began = std::mem::replace(&mut now, monotonic_ns());
            self.pace.measure(copies, now - began);
            sources.counters.header(Header::Heartbeat, now);
            if now >= until_ns {
                break;
            }
        }
        let counters = sources.counters;
        counters.core(CoreCounter::Sends, tally.sends);
        counters.core(CoreCounter::Sent, tally.sent);
        counters.core(CoreCounter::SentBytes, tally.sent_bytes);
        counters.core(CoreCounter::GsoRefused, tally.refused);
        self.is_done(sources)
    }

    fn is_done(&self, sources: &Sources<'_>) -> bool {
        self.refused.is_empty() && self.next.run == sources.batch.runs().len()
    }

    /// Makes the next chunk.
    fn fill(&mut self, sources: &Sources<'_>, now: u64) {
        self.chunk.clear();
        let mut room = Room {
            sends: limits::SENDS_IN_A_CHUNK,
            copies: self.pace.copies_within(limits::CHUNK).max(limits::LEAST_COPIES_IN_A_CHUNK),
            bytes: limits::BYTES_IN_A_CHUNK,
        };
        if self.refused.is_empty() {
            self.fill_from_runs(sources, &mut room, now);
        } else {
            self.fill_from_refused(sources, &mut room);
        }
    }

    fn fill_from_refused(&mut self, sources: &Sources<'_>, room: &mut Room) {
        while let Some(refused) = self.refused.get_mut(self.next_refused) {
            if !room.is_left() {
                return;
            }
            match refused.take_one() {
                Some(single) => self.chunk.push(room.take(single, sources)),
                None => self.next_refused += 1,
            }
        }
        self.refused.clear();
        self.next_refused = 0;
    }

    fn fill_from_runs(&mut self, sources: &Sources<'_>, room: &mut Room, now: u64) {
        let first = self.next.run;
        while let Some(run) = sources.batch.runs().get(self.next.run) {
            let begins = self.next.output == 0 && self.next.payload == 0;
            if !room.is_left() || (begins && sources.batch.may_overtake(run, first)) {
                return;
            }
            let route = sources.route(run);
            if begins {
                let (counters, bytes) = (sources.counters, u64::from(run.bytes));
                counters.add(route.record.of_rule(RuleCounter::Packets), u64::from(run.count));
                counters.add(route.record.of_rule(RuleCounter::Bytes), bytes);
            }
            if self.next.output == route.outputs.len() {
                self.next = Place { run: self.next.run + 1, ..Place::default() };
            } else if let Some(sending) = self.take(run, sources, now) {
                self.chunk.push(room.take(sending, sources));
            }
        }
    }

    /// What is next to be sent of a run: all of it to an output, or one payload; nothing where the
    /// output has no way out.
    fn take(&mut self, run: &Run, sources: &Sources<'_>, now: u64) -> Option<Sending> {
        let Place { run: index, output: place, payload } = self.next;
        let output = &sources.route(run).outputs[place];
        let next_output = Place { output: place + 1, payload: 0, ..self.next };
        self.next = next_output;
        let (egress_index, id) = match output.leave {
            Leave::Socket { index, id } => (index, id),
            Leave::Nothing(error) => {
                not_sent(sources, run, place, error);
                return None;
            }
        };
        let Some(egress) = sources.egresses.at(egress_index, id) else {
            not_sent(sources, run, place, EgressError::NoSocket);
            return None;
        };
        let whole = Sending {
            run: index as u32,
            output: place as u32,
            egress: (egress_index, id),
            first: 0,
            count: run.count,
        };
        if payload == 0 {
            if sources.tracer.is_marked() {
                whole.trace(Step::Handed { output: whole.output }, sources);
            }
            let segment = run.segment_bytes;
            if egress.takes_run(segment) && output.refused.are_none_of(segment, now) {
                return Some(whole);
            }
        }
        if payload + 1 < run.count {
            self.next = Place { output: place, payload: payload + 1, ..next_output };
        }
        Some(Sending { first: payload, count: 1, ..whole })
    }

    fn send(
        &mut self,
        sources: &Sources<'_>,
        mechanism: &mut impl Mechanism,
        now: u64,
        tally: &mut Tally,
    ) {
        let Self { chunk, refused, .. } = self;
        let requests = chunk.iter().map(|sending| sending.request(sources));
        mechanism.send_all(sources.gather, requests, |place, outcome| {
            let sending = chunk[place];
            tally.sends += 1;
            match outcome {
                Err(errno) if sending.count > 1 && may_refuse_the_run(errno) => {
                    tally.refused += 1;
                    let output = sending.output(sources);
                    output.refused.note(errno, sending.run(sources).segment_bytes, now);
                    refused.push(sending);
                }
                outcome => {
                    if sources.tracer.is_marked() {
                        sending.trace_outcome(outcome, sources);
                    }
                    sending.count_outcome(outcome, sources, tally);
                }
            }
        });
    }
}

impl Room {
    fn is_left(&self) -> bool {
        self.sends > 0 && self.copies > 0 && self.bytes > 0
    }

    fn take(&mut self, sending: Sending, sources: &Sources<'_>) -> Sending {
        let bytes = sending.run(sources).segment_bytes as usize * sending.count as usize;
        self.sends -= 1;
        self.copies = self.copies.saturating_sub(sending.count as usize);
        self.bytes = self.bytes.saturating_sub(bytes);
        sending
    }
}
