//! From runs to sends: every output of a run's rule gets the run in one piece where its egress
//! takes it so, and datagram by datagram where not.

use mcr_core::ids::EgressId;
use mcr_core::ledger::{CoreCounter, OutputCounter, RuleCounter};
use mcr_core::trace::Step;
use mcr_core::verdict::EgressError;
use mcr_sys::gather::Gather;
use mcr_sys::send::{Outcome, SendRequest};

use std::ops::Range;
use std::os::fd::AsFd;

use crate::batch::{Batch, Run};
use crate::counters::Counters;
use crate::egress::{EgressTable, egress_error, may_refuse_the_run};
use crate::limits;
use crate::mechanism::Mechanism;
use crate::routes::{HeldOutput, HeldRoute, Leave, Routes};
use crate::trace::{Copy, Tracer};

/// Some payloads of a run on their way to one output.
#[derive(Clone, Copy, Debug)]
struct Sending {
    run: u32,
    output: u32,
    egress: (usize, EgressId),
    /// The first payload, counted within the run.
    first: u32,
    count: u32,
}

/// The sends of one batch. Made once and used again.
#[derive(Debug)]
pub(crate) struct Transmitter {
    sendings: Vec<Sending>,
    /// Runs that the kernel did not take as such.
    refused: Vec<Sending>,
}

/// What a batch's sends came to.
#[derive(Debug, Default)]
struct Tally {
    sends: u64,
    sent: u64,
    sent_bytes: u64,
}

/// What sends are made from.
pub(crate) struct Sources<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) gather: &'a Gather<'a>,
    pub(crate) routes: &'a Routes,
    pub(crate) counters: &'a Counters,
    pub(crate) tracer: &'a Tracer,
}

impl Transmitter {
    pub(crate) fn new() -> Self {
        Self {
            sendings: Vec::with_capacity(limits::COPIES_AT_ONCE),
            refused: Vec::with_capacity(limits::COPIES_AT_ONCE),
        }
    }

    /// Sends a batch to every output of its rules and counts how it went. When this returns the
    /// kernel reads none of the payloads any more.
    pub(crate) fn transmit(
        &mut self,
        sources: &Sources<'_>,
        egresses: &mut EgressTable,
        mechanism: &mut impl Mechanism,
    ) {
        self.sendings.clear();
        for index in 0..sources.batch.runs().len() {
            self.plan_run(index, sources, egresses);
        }
        let mut tally = Tally::default();
        self.send(sources, egresses, mechanism, &mut tally);
        if !self.refused.is_empty() {
            self.send_refused_singly(sources, egresses, mechanism, &mut tally);
        }
        let counters = sources.counters;
        counters.core(CoreCounter::Sends, tally.sends);
        counters.core(CoreCounter::Sent, tally.sent);
        counters.core(CoreCounter::SentBytes, tally.sent_bytes);
    }

    fn plan_run(&mut self, index: usize, sources: &Sources<'_>, egresses: &EgressTable) {
        let run = &sources.batch.runs()[index];
        let route = sources.routes.at(run.rule).expect("the table names only slots that are held");
        let counters = sources.counters;
        counters.add(route.record.of_rule(RuleCounter::Packets), u64::from(run.count));
        counters.add(route.record.of_rule(RuleCounter::Bytes), u64::from(run.bytes));
        for (place, output) in route.outputs.iter().enumerate() {
            let (index_of_egress, id) = match output.leave {
                Leave::Socket { index, id } => (index, id),
                Leave::Nothing(error) => {
                    not_sent(sources, run, place, error);
                    continue;
                }
            };
            let Some(egress) = egresses.at(index_of_egress, id) else {
                not_sent(sources, run, place, EgressError::NoSocket);
                continue;
            };
            let sending = Sending {
                run: index as u32,
                output: place as u32,
                egress: (index_of_egress, id),
                first: 0,
                count: run.count,
            };
            if sources.tracer.is_marked() {
                sending.trace(Step::Handed { output: sending.output }, sources, egresses);
            }
            if egress.takes_run(run.segment_bytes) {
                self.sendings.push(sending);
            } else {
                self.sendings.extend(sending.singly());
            }
        }
    }

    fn send_refused_singly(
        &mut self,
        sources: &Sources<'_>,
        egresses: &mut EgressTable,
        mechanism: &mut impl Mechanism,
        tally: &mut Tally,
    ) {
        sources.counters.core(CoreCounter::GsoRefused, self.refused.len() as u64);
        self.sendings.clear();
        for refused in self.refused.drain(..) {
            if let Some(egress) = egresses.at_mut(refused.egress.0) {
                egress.refuse_runs();
            }
            self.sendings.extend(refused.singly());
        }
        self.send(sources, egresses, mechanism, tally);
    }

    fn send(
        &mut self,
        sources: &Sources<'_>,
        egresses: &EgressTable,
        mechanism: &mut impl Mechanism,
        tally: &mut Tally,
    ) {
        let Self { sendings, refused } = self;
        let requests = sendings.iter().map(|sending| sending.request(sources, egresses));
        mechanism.send_all(sources.gather, requests, |place, outcome| {
            let sending = sendings[place];
            tally.sends += 1;
            match outcome {
                Err(errno) if sending.count > 1 && may_refuse_the_run(errno) => {
                    refused.push(sending);
                }
                outcome => {
                    if sources.tracer.is_marked() {
                        sending.trace_outcome(outcome, sources, egresses);
                    }
                    sending.count_outcome(outcome, sources, tally);
                }
            }
        });
    }
}

impl Sending {
    /// The same payloads, each by itself.
    fn singly(self) -> impl Iterator<Item = Self> {
        (self.first..self.first + self.count).map(move |first| Self { first, count: 1, ..self })
    }

    fn output<'a>(&self, sources: &Sources<'a>) -> &'a HeldOutput {
        let run = &sources.batch.runs()[self.run as usize];
        let route = sources.routes.at(run.rule).expect("the table names only slots that are held");
        &route.outputs[self.output as usize]
    }

    fn request<'a>(&self, sources: &Sources<'a>, egresses: &'a EgressTable) -> SendRequest<'a> {
        let run = &sources.batch.runs()[self.run as usize];
        let first = run.payloads().start + self.first as usize;
        let (place, id) = self.egress;
        let egress = egresses.at(place, id);
        SendRequest {
            socket: egress.expect("no socket is closed during a batch").socket.as_fd(),
            place: place as u32,
            destination: &self.output(sources).destination,
            payloads: first..first + self.count as usize,
            segment_bytes: (self.count > 1).then_some(run.segment_bytes as u16),
        }
    }

    /// Traces a step of the payloads that are traced.
    #[cold]
    fn trace(&self, step: Step, sources: &Sources<'_>, egresses: &EgressTable) {
        let run = &sources.batch.runs()[self.run as usize];
        let first = run.payloads().start + self.first as usize;
        let egress = egresses.at(self.egress.0, self.egress.1);
        trace(sources, run, first..first + self.count as usize, |route| Copy {
            step,
            source: egress.map(|egress| egress.own.address),
            destination: route.destination(self.output),
        });
    }

    #[cold]
    fn trace_outcome(&self, outcome: Outcome, sources: &Sources<'_>, egresses: &EgressTable) {
        let output = self.output;
        let step = match outcome {
            Ok(_) => Step::Sent { output },
            Err(errno) => {
                let (error, errno) = (egress_error(errno), errno.0 as u16);
                Step::Failed { output, error, errno }
            }
        };
        self.trace(step, sources, egresses);
    }

    fn count_outcome(&self, outcome: Outcome, sources: &Sources<'_>, tally: &mut Tally) {
        let (output, count) = (self.output(sources), u64::from(self.count));
        match outcome {
            Ok(bytes) => {
                tally.sent += count;
                tally.sent_bytes += bytes as u64;
                let counters = sources.counters;
                counters.add(output.record.of_output(OutputCounter::Sent), count);
                counters.add(output.record.of_output(OutputCounter::SentBytes), bytes as u64);
            }
            Err(errno) => count_error(sources.counters, output, egress_error(errno), self.count),
        }
    }
}

/// A run cannot even be tried to be sent to the output at a place of its rule.
fn not_sent(sources: &Sources<'_>, run: &Run, output: usize, error: EgressError) {
    let route = sources.routes.at(run.rule).expect("the table names only slots that are held");
    count_error(sources.counters, &route.outputs[output], error, run.count);
    if sources.tracer.is_marked() {
        let output = output as u32;
        trace(sources, run, run.payloads(), |route| Copy {
            step: Step::Failed { output, error, errno: 0 },
            source: None,
            destination: route.destination(output),
        });
    }
}

/// Traces what happens to a run's copies of the payloads at these places.
#[cold]
fn trace(
    sources: &Sources<'_>,
    run: &Run,
    places: Range<usize>,
    copy: impl FnOnce(&HeldRoute) -> Copy,
) {
    if let Some(route) = sources.routes.at(run.rule) {
        sources.tracer.copies(places, &copy(route), sources.counters);
    }
}

fn count_error(counters: &Counters, output: &HeldOutput, error: EgressError, count: u32) {
    counters.egress_error(error, u64::from(count));
    counters.add(output.record.of_error(error), u64::from(count));
}
