//! Samples of each thing that counts, and the rates that come of them.

use std::collections::BTreeMap;
use std::ops::Bound;

use mcr_api::control::{CoreRates, CoreStats, Rates};
use mcr_core::counters::sum;
use mcr_core::ledger::{CoreCounter, RingCounter, core, dropped, egress_error};
use mcr_core::verdict::{DropReason, EgressError};
use mcr_sys::ledger::LedgerReader;
use mcr_sys::process::monotonic_ns;

use super::reading::{self, OutputTally, RingTally, RuleTally};
use super::report::{core_totals, rule_tally};
use super::sampler::{Sampler, Samples};
use crate::limits;
use crate::state::State;
use crate::workers::Workers;

/// The place of the counters of [`Rates`] in a sample of the totals.
#[derive(Clone, Copy)]
enum Total {
    Received,
    Matched,
    Sent,
    SentBytes,
    Drops,
    Errors,
    KernelDrops,
}

/// The samples of a core, before its drops and errors by reason.
const CORE_COUNTERS: [CoreCounter; 5] = [
    CoreCounter::BusyNs,
    CoreCounter::FramesRead,
    CoreCounter::Batches,
    CoreCounter::Sent,
    CoreCounter::WakeUps,
];
const CORE_DROPS: usize = CORE_COUNTERS.len();
const CORE_ERRORS: usize = CORE_DROPS + DropReason::COUNT;

const RING_RECEIVED: usize = 0;
const RING_KERNEL_DROPS: usize = 1;

const RULE_PACKETS: usize = 0;
const RULE_BYTES: usize = 1;
/// Of each output: sent, bytes, errors.
const RULE_OUTPUTS: usize = 2;
const OUTPUT_COUNTERS: usize = 3;

/// Takes the next slice of the round of samples.
pub(crate) fn sample(state: &State, workers: &Workers, sampler: &mut Sampler) {
    let now = monotonic_ns();
    let cursor = sampler.cursor();
    if cursor.is_none() {
        sample_cores(state, workers, sampler, now);
        let totals = total_counters(&core_totals(state, workers));
        let is_quiet = sampler.totals.are_all(&totals);
        sampler.totals.push(now, totals);
        if is_quiet {
            return sampler.skip_round(now);
        }
    }
    let after = cursor.map_or(Bound::Unbounded, Bound::Excluded);
    let slice = state.rules.range((after, Bound::Unbounded)).take(limits::SAMPLED_AT_ONCE);
    let mut last = None;
    for declared in slice {
        let counters = rule_counters(&rule_tally(declared, state, workers));
        sampler.rules.entry(declared.id).or_default().push(now, counters);
        last = Some(declared.id);
    }
    sampler.advance(last);
}

/// Cores and rings, of which there are few. What a dead worker's had counted is no matter here: a
/// counter that falls has no rate until it has samples of its own.
fn sample_cores(state: &State, workers: &Workers, sampler: &mut Sampler, now: u64) {
    let rings = || state.holdings.ingresses.rings();
    sampler.rings.retain(|(ring, _), _| rings().any(|place| place.id == *ring));
    let ledgers = workers.ledgers().filter_map(|(worker, _, ledger)| Some((worker, ledger?)));
    for (worker, ledger) in ledgers {
        sampler.cores.entry(worker).or_default().push(now, core_counters(ledger));
        for ring in rings() {
            if let Some(tally) = reading::ring(ledger, ring) {
                let history = sampler.rings.entry((ring.id, worker)).or_default();
                history.push(now, ring_counters(&tally));
            }
        }
    }
}

pub(super) fn total_counters(totals: &CoreStats) -> Box<[u64]> {
    // In the order of `Total`.
    [
        totals.received,
        totals.matched,
        totals.sent,
        totals.sent_bytes,
        sum(totals.drops.values().copied()),
        sum(totals.errors.values().copied()),
        totals.kernel_drops,
    ]
    .into()
}

/// The rates of everything together.
pub(super) fn of_totals(samples: &Samples, totals: &CoreStats, now: u64) -> Rates {
    let counters = total_counters(totals);
    let rate = |total: Total| {
        let place = total as usize;
        samples.per_second(place, now, 0, counters[place])
    };
    Rates {
        received_per_s: rate(Total::Received),
        matched_per_s: rate(Total::Matched),
        sent_per_s: rate(Total::Sent),
        sent_bits_per_s: 8.0 * rate(Total::SentBytes),
        drops_per_s: rate(Total::Drops),
        errors_per_s: rate(Total::Errors),
        kernel_drops_per_s: rate(Total::KernelDrops),
    }
}

pub(super) fn core_counters(ledger: &LedgerReader) -> Box<[u64]> {
    let counters = CORE_COUNTERS.iter().map(|counter| core(*counter));
    let drops = DropReason::ALL.iter().map(|reason| dropped(*reason));
    let errors = EgressError::ALL.iter().map(|error| egress_error(*error));
    counters.chain(drops).chain(errors).map(|word| ledger.load(word)).collect()
}

/// The rates of one core.
pub(super) fn of_core(samples: &Samples, ledger: &LedgerReader, now: u64) -> CoreRates {
    let counters = core_counters(ledger);
    let rate = |place: usize| samples.per_second(place, now, 0, counters[place]);
    let named = |first: usize, names: &mut dyn Iterator<Item = &'static str>| {
        let named = (first..).zip(names).map(|(place, name)| (name.to_owned(), rate(place)));
        named.collect::<BTreeMap<_, _>>()
    };
    let [busy_ns, frames_per_s, batches_per_s, sent_per_s, wake_ups_per_s] =
        std::array::from_fn(rate);
    CoreRates {
        busy_share: (busy_ns / 1e9).min(1.0),
        frames_per_s,
        batches_per_s,
        sent_per_s,
        wake_ups_per_s,
        drops_per_s: named(CORE_DROPS, &mut DropReason::ALL.iter().map(|reason| reason.name())),
        errors_per_s: named(CORE_ERRORS, &mut EgressError::ALL.iter().map(|error| error.name())),
    }
}

pub(super) fn ring_counters(tally: &RingTally) -> Box<[u64]> {
    [tally.of(RingCounter::Received), tally.of(RingCounter::KernelDrops)].into()
}

/// Frames received and dropped by the kernel, a second.
pub(super) fn of_ring(samples: &Samples, tally: &RingTally, now: u64) -> [f64; 2] {
    let counters = ring_counters(tally);
    [RING_RECEIVED, RING_KERNEL_DROPS]
        .map(|place| samples.per_second(place, now, 0, counters[place]))
}

pub(super) fn rule_counters(tally: &RuleTally) -> Box<[u64]> {
    let outputs = tally.outputs.iter().flat_map(output_counters);
    [tally.packets, tally.bytes].into_iter().chain(outputs).collect()
}

fn output_counters(tally: &OutputTally) -> [u64; OUTPUT_COUNTERS] {
    [tally.sent, tally.bytes, sum(tally.errors)]
}

/// The rates of one rule.
pub(super) struct RuleRates<'a> {
    samples: Option<&'a Samples>,
    quiet_until: u64,
    now: u64,
}

impl<'a> RuleRates<'a> {
    pub(super) fn new(samples: Option<&'a Samples>, quiet_until: u64, now: u64) -> Self {
        Self { samples, quiet_until, now }
    }

    fn per_second(&self, place: usize, count: u64) -> f64 {
        let rate = |samples: &Samples| samples.per_second(place, self.now, self.quiet_until, count);
        self.samples.map_or(0.0, rate)
    }

    /// Datagrams and payload bits that matched.
    pub(super) fn matched(&self, tally: &RuleTally) -> [f64; 2] {
        let packets = self.per_second(RULE_PACKETS, tally.packets);
        [packets, 8.0 * self.per_second(RULE_BYTES, tally.bytes)]
    }

    /// Copies and payload bits sent to the output at a place, and copies not sent.
    pub(super) fn output(&self, place: usize, tally: &OutputTally) -> [f64; OUTPUT_COUNTERS] {
        let first = RULE_OUTPUTS + place * OUTPUT_COUNTERS;
        let counters = output_counters(tally);
        let [sent, bytes, errors] =
            std::array::from_fn(|n| self.per_second(first + n, counters[n]));
        [sent, 8.0 * bytes, errors]
    }
}
