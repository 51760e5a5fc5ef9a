//! The answer to `GetStats`: ledgers, what is retained, and rates, put together.

use std::ops::Bound;

use mcr_api::control::{
    CoreReport, CoreStats, OutputStats, Rates, RingClass, RingStats, RuleStats, Stats,
};
use mcr_core::ids::WorkerId;
use mcr_core::ledger::RingCounter;
use mcr_core::plan;
use mcr_core::rule_set::DeclaredRule;
use mcr_sys::ledger::LedgerReader;
use mcr_sys::process::monotonic_ns;

use super::reading::{self, OutputTally, RuleTally};
use super::retained::add_ring;
use super::sampler::{Sampler, Samples};
use crate::limits;
use crate::resources::ingress::RingPlace;
use crate::state::State;
use crate::workers::{Workers, mechanism};

/// Where the counters of [`Rates`] stand in a sample of the totals, and those of a rule in one of
/// its own.
#[derive(Clone, Copy)]
enum Place {
    Received,
    Matched,
    Sent,
    SentBytes,
    Drops,
    Errors,
    KernelDrops,
}
const PACKETS: usize = 0;
const BYTES: usize = 1;
const FIRST_OUTPUT: usize = 2;

/// Everything counted, and by how much it grows.
pub(crate) fn stats(state: &State, workers: &Workers, sampler: &Sampler, started: u64) -> Stats {
    let now = monotonic_ns();
    let cores: Vec<CoreReport> = workers
        .ledgers()
        .map(|(worker, core, ledger)| CoreReport {
            worker: worker.0,
            core: core as u32,
            io: ledger.and_then(mechanism),
            counters: core_stats(state, worker, ledger),
        })
        .collect();
    let totals = sum(&cores);
    let rules = state.rules.iter().map(|rule| rule_stats(rule, state, workers, sampler, now));
    Stats {
        uptime_s: now.saturating_sub(started) as f64 / 1e9,
        rates: rates(&sampler.totals, &totals, now),
        unaccounted: totals.unaccounted(),
        totals,
        cores,
        rings: ring_stats(state, workers),
        rules: rules.collect(),
    }
}

/// Takes the next slice of the round of samples.
pub(crate) fn sample(state: &State, workers: &Workers, sampler: &mut Sampler) {
    let now = monotonic_ns();
    let cursor = sampler.cursor();
    if cursor.is_none() {
        let totals = total_counters(&totals(state, workers));
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
        let tally = rule_tally(declared, state, workers);
        let outputs = tally.outputs.iter().map(|output| output.sent);
        let counters = [tally.packets, tally.bytes].into_iter().chain(outputs).collect();
        sampler.rules.entry(declared.id).or_default().push(now, counters);
        last = Some(declared.id);
    }
    sampler.advance(last);
}

/// What a rule counted in all workers, living and dead.
pub(crate) fn rule_tally(declared: &DeclaredRule, state: &State, workers: &Workers) -> RuleTally {
    let mut sum = state.retained.rule(declared.id).cloned().unwrap_or_default();
    // A pending rule's, too: the workers have its records until another rule takes them.
    let ledgers = workers.ledgers().filter_map(|(_, _, ledger)| ledger);
    for tally in ledgers.filter_map(|ledger| reading::rule(ledger, declared)) {
        sum.add(&tally);
    }
    sum
}

fn totals(state: &State, workers: &Workers) -> CoreStats {
    let mut totals = reading::zero_stats();
    for (worker, _, ledger) in workers.ledgers() {
        totals.add(&core_stats(state, worker, ledger));
    }
    totals
}

fn sum(cores: &[CoreReport]) -> CoreStats {
    let mut totals = reading::zero_stats();
    for core in cores {
        totals.add(&core.counters);
    }
    totals
}

/// What a worker's place has counted, its dead processes included.
pub(crate) fn core_stats(
    state: &State,
    worker: WorkerId,
    ledger: Option<&LedgerReader>,
) -> CoreStats {
    let mut sum = state.retained.core(worker).cloned().unwrap_or_else(reading::zero_stats);
    let Some(ledger) = ledger else {
        return sum;
    };
    // The rings first: what is read from them meanwhile is then only missing here, and never seems
    // to have been read before it was received.
    for tally in state.holdings.ingresses.rings().filter_map(|ring| reading::ring(ledger, ring)) {
        add_ring(&mut sum, &tally);
    }
    state.retained.add_closing(worker, ledger, &mut sum);
    sum.add(&reading::core_stats(ledger));
    sum
}

fn total_counters(totals: &CoreStats) -> Box<[u64]> {
    // In the order of `Place`.
    [
        totals.received,
        totals.matched,
        totals.sent,
        totals.sent_bytes,
        totals.drops.values().sum(),
        totals.errors.values().sum(),
        totals.kernel_drops,
    ]
    .into()
}

fn rates(samples: &Samples, totals: &CoreStats, now: u64) -> Rates {
    let counters = total_counters(totals);
    let rate = |place: Place| {
        let place = place as usize;
        samples.per_second(place, now, 0, counters[place])
    };
    Rates {
        received_per_s: rate(Place::Received),
        matched_per_s: rate(Place::Matched),
        sent_per_s: rate(Place::Sent),
        sent_bits_per_s: 8.0 * rate(Place::SentBytes),
        drops_per_s: rate(Place::Drops),
        errors_per_s: rate(Place::Errors),
        kernel_drops_per_s: rate(Place::KernelDrops),
    }
}

fn rule_stats(
    declared: &DeclaredRule,
    state: &State,
    workers: &Workers,
    sampler: &Sampler,
    now: u64,
) -> RuleStats {
    let tally = rule_tally(declared, state, workers);
    let none = Samples::default();
    let history = sampler.rules.get(&declared.id).unwrap_or(&none);
    let per_second = |place, count| history.per_second(place, now, sampler.quiet_until, count);
    let outputs = declared.rule.outputs.iter().enumerate().map(|(place, output)| {
        let counted = tally.outputs.get(place).copied().unwrap_or_default();
        let OutputTally { sent, bytes, .. } = counted;
        OutputStats {
            to: output.endpoint.to_string(),
            sent,
            bytes,
            sent_per_s: per_second(FIRST_OUTPUT + place, sent),
            errors: reading::named_errors(&counted),
            unreachable: state.unreachable.reports(output.endpoint.socket_address()),
        }
    });
    RuleStats {
        id: declared.id.0,
        name: declared.rule.name.as_ref().map(ToString::to_string),
        input: declared.rule.input.to_string(),
        packets: tally.packets,
        bytes: tally.bytes,
        packets_per_s: per_second(PACKETS, tally.packets),
        bits_per_s: 8.0 * per_second(BYTES, tally.bytes),
        outputs: outputs.collect(),
    }
}

/// What every ring of every living worker has counted.
pub(crate) fn ring_stats(state: &State, workers: &Workers) -> Vec<RingStats> {
    let rings = state.holdings.ingresses.rings();
    let of_ring = |ring: &RingPlace| -> Vec<RingStats> {
        let ledgers = workers.ledgers().filter_map(|(worker, _, ledger)| Some((worker, ledger?)));
        ledgers.filter_map(|(worker, ledger)| ring_stat(ring, worker, ledger)).collect()
    };
    rings.flat_map(of_ring).collect()
}

fn ring_stat(ring: &RingPlace, worker: WorkerId, ledger: &LedgerReader) -> Option<RingStats> {
    let tally = reading::ring(ledger, ring)?;
    Some(RingStats {
        worker: worker.0,
        interface: ring.key.interface.to_string(),
        class: match ring.key.class {
            plan::RingClass::Small => RingClass::Small,
            plan::RingClass::Standard => RingClass::Standard,
            plan::RingClass::Jumbo => RingClass::Jumbo,
        },
        slots: tally.of(RingCounter::Slots),
        slot_bytes: tally.of(RingCounter::SlotBytes),
        in_use: tally.of(RingCounter::InUse),
        high_water: tally.of(RingCounter::HighWater),
        exhausted: tally.of(RingCounter::Exhausted),
        received: tally.of(RingCounter::Received),
        kernel_drops: tally.of(RingCounter::KernelDrops),
        frames_read: tally.of(RingCounter::FramesRead),
    })
}
