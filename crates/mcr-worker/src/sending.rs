//! One send of a batch: what the kernel is given for it, and how its end is counted.

use std::ops::Range;
use std::os::fd::AsFd;

use mcr_core::ids::EgressId;
use mcr_core::ledger::OutputCounter;
use mcr_core::trace::Step;
use mcr_core::verdict::EgressError;
use mcr_sys::send::{Outcome, SendRequest};

use crate::batch::Run;
use crate::counters::Counters;
use crate::egress::egress_error;
use crate::routes::{HeldOutput, HeldRoute};
use crate::trace::Copy;
use crate::transmit::{Sources, Tally};

/// Some payloads of a run on their way to one output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) run: u32,
    pub(crate) output: u32,
    pub(crate) egress: (usize, EgressId),
    /// The first payload, counted within the run.
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl Sending {
    /// The first of the payloads, by itself; it is one of these no more.
    pub(crate) fn take_one(&mut self) -> Option<Self> {
        self.count = self.count.checked_sub(1)?;
        self.first += 1;
        Some(Self { first: self.first - 1, count: 1, ..*self })
    }

    pub(crate) fn run<'a>(&self, sources: &Sources<'a>) -> &'a Run {
        &sources.batch.runs()[self.run as usize]
    }

    pub(crate) fn output<'a>(&self, sources: &Sources<'a>) -> &'a HeldOutput {
        &sources.route(self.run(sources)).outputs[self.output as usize]
    }

    pub(crate) fn request<'a>(&self, sources: &Sources<'a>) -> SendRequest<'a> {
        let run = self.run(sources);
        let first = run.payloads().start + self.first as usize;
        let (place, id) = self.egress;
        let egress = sources.egresses.at(place, id);
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
    pub(crate) fn trace(&self, step: Step, sources: &Sources<'_>) {
        let run = self.run(sources);
        let first = run.payloads().start + self.first as usize;
        let egress = sources.egresses.at(self.egress.0, self.egress.1);
        trace(sources, run, first..first + self.count as usize, |route| Copy {
            step,
            source: egress.map(|egress| egress.own.address),
            destination: route.destination(self.output),
        });
    }

    #[cold]
    pub(crate) fn trace_outcome(&self, outcome: Outcome, sources: &Sources<'_>) {
        let output = self.output;
        let step = match outcome {
            Ok(_) => Step::Sent { output },
            Err(errno) => {
                let (error, errno) = (egress_error(errno), errno.0 as u16);
                Step::Failed { output, error, errno }
            }
        };
        self.trace(step, sources);
    }

    pub(crate) fn count_outcome(&self, outcome: Outcome, sources: &Sources<'_>, tally: &mut Tally) {
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
pub(crate) fn not_sent(sources: &Sources<'_>, run: &Run, output: usize, error: EgressError) {
    count_error(sources.counters, &sources.route(run).outputs[output], error, run.count);
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
    sources.tracer.copies(places, &copy(sources.route(run)), sources.counters);
}

fn count_error(counters: &Counters, output: &HeldOutput, error: EgressError, count: u32) {
    counters.egress_error(error, u64::from(count));
    counters.add(output.record.of_error(error), u64::from(count));
}
