//! The answer to `GetStats`: ledgers, what is retained, and rates, put together.

use mcr_api::control::{
    CoreRates, CoreReport, CoreStats, OutputStats, RingClass, RingStats, RuleStats, Stats,
};
use mcr_core::ids::{RuleId, WorkerId};
use mcr_core::ledger::RingCounter;
use mcr_core::plan;
use mcr_core::rule::Rule;
use mcr_core::rule_set::DeclaredRule;
use mcr_sys::ledger::LedgerReader;
use mcr_sys::process::monotonic_ns;

use super::rates::{self, RuleRates};
use super::reading::{self, OutputTally, RingTally, RuleTally, Seen};
use super::retained::add_ring;
use super::sampler::Sampler;
use crate::limits;
use crate::resources::ingress::RingPlace;
use crate::state::State;
use crate::supervisor::Supervisor;
use crate::workers::{Workers, mechanism};

/// The rules and rings to show.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Selected<'a> {
    /// This rule only.
    pub(crate) rule: Option<RuleId>,
    /// The one interface to show.
    pub(crate) interface: Option<&'a str>,
}

impl Selected<'_> {
    fn takes_interface(&self, name: &str) -> bool {
        self.interface.is_none_or(|selected| selected == name)
    }

    pub(crate) fn takes_rule(&self, rule: &Rule) -> bool {
        let outputs = rule.outputs.iter().map(|output| &output.endpoint);
        let mut endpoints = outputs.chain([&rule.input.endpoint]);
        endpoints.any(|endpoint| self.takes_interface(endpoint.interface.as_str()))
    }
}

/// The counters and their rates; of the rules only one that is selected by its id.
pub(crate) fn stats(supervisor: &Supervisor, selected: &Selected<'_>) -> Stats {
    let Supervisor { state, workers, sampler, started, .. } = supervisor;
    let now = monotonic_ns();
    let cores: Vec<CoreReport> = workers
        .ledgers()
        .map(|(worker, core, ledger)| CoreReport {
            worker: worker.0,
            core: core as u32,
            io: ledger.and_then(mechanism),
            counters: core_stats(state, worker, ledger),
            batch_sizes: batch_sizes(state, worker, ledger),
            rates: core_rates(sampler, worker, ledger, now),
        })
        .collect();
    let totals = sum(&cores);
    let rule = selected.rule.and_then(|id| state.rules.get(id));
    let rule = rule.filter(|declared| selected.takes_rule(&declared.rule));
    Stats {
        uptime_s: now.saturating_sub(*started) as f64 / 1e9,
        rates: rates::of_totals(&sampler.totals, &totals, now),
        unaccounted: totals.unaccounted(),
        totals,
        cores,
        ring_memory_bytes: state.holdings.ingresses.ring_bytes(),
        send_buffers: state.holdings.egresses.buffers(),
        long_frame_queues: state.holdings.ingresses.buffers(),
        rings: ring_stats(supervisor, selected, now),
        rules: rule.map(|declared| rule_stats(declared, supervisor)).into_iter().collect(),
    }
}

/// The counters of a rule in all workers, living and dead.
pub(crate) fn rule_tally(declared: &DeclaredRule, state: &State, workers: &Workers) -> RuleTally {
    let mut sum = state.retained.rule(declared.id).cloned().unwrap_or_default();
    // A pending rule's, too: the workers have its records until another rule takes them.
    let ledgers = workers.ledgers().filter_map(|(_, _, ledger)| ledger);
    for tally in ledgers.filter_map(|ledger| reading::rule(ledger, declared)) {
        sum.add(&tally);
    }
    sum
}

/// The counters of all cores.
pub(super) fn core_totals(state: &State, workers: &Workers) -> CoreStats {
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

/// The counters of a worker's place, its dead processes included.
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

/// A worker's batches by their size, its dead processes' included.
pub(crate) fn batch_sizes(
    state: &State,
    worker: WorkerId,
    ledger: Option<&LedgerReader>,
) -> Vec<u64> {
    let mut sum = state.retained.batch_sizes(worker).to_vec();
    reading::add_each(&mut sum, &ledger.map(reading::batches_by_size).unwrap_or_default());
    sum
}

fn core_rates(
    sampler: &Sampler,
    worker: WorkerId,
    ledger: Option<&LedgerReader>,
    now: u64,
) -> CoreRates {
    let history = sampler.cores.get(&worker);
    let both = ledger.zip(history);
    both.map(|(ledger, history)| rates::of_core(history, ledger, now)).unwrap_or_default()
}

/// The counters of a rule, and their rates.
pub(crate) fn rule_stats(declared: &DeclaredRule, supervisor: &Supervisor) -> RuleStats {
    let now = monotonic_ns();
    let Supervisor { state, workers, sampler, .. } = supervisor;
    let tally = rule_tally(declared, state, workers);
    let rates = RuleRates::new(sampler.rules.get(&declared.id), sampler.quiet_until, now);
    let outputs = declared.rule.outputs.iter().enumerate().map(|(place, output)| {
        let counted = tally.outputs.get(place).copied().unwrap_or_default();
        let OutputTally { sent, bytes, .. } = counted;
        let [sent_per_s, bits_per_s, errors_per_s] = rates.output(place, &counted);
        OutputStats {
            to: output.endpoint.to_string(),
            sent,
            bytes,
            sent_per_s,
            bits_per_s,
            errors: reading::named_errors(&counted),
            errors_per_s,
            unreachable: state.unreachable.reports(output.endpoint.socket_address()),
            replies: state.replies(declared.id, place),
            doubtful: state.doubtful(declared.id, place, sent),
        }
    });
    let [packets_per_s, bits_per_s] = rates.matched(&tally);
    let seen = tally.last_seen;
    RuleStats {
        id: declared.id.0,
        name: declared.rule.name.as_ref().map(ToString::to_string),
        input: declared.rule.input.to_string(),
        state: state.rule_state(declared.id),
        packets: tally.packets,
        bytes: tally.bytes,
        packets_per_s,
        bits_per_s,
        last_packet_age_ms: seen.map(|seen| now.saturating_sub(seen.at) / 1_000_000),
        last_source: seen.and_then(|seen| seen.source).map(|source| source.to_string()),
        source_workers: source_workers(declared, workers, seen, now),
        outputs: outputs.collect(),
    }
}

/// How many workers have lately had datagrams of the source of a rule's last datagram.
fn source_workers(declared: &DeclaredRule, workers: &Workers, last: Option<Seen>, now: u64) -> u64 {
    let Some(source) = last.and_then(|last| last.source) else { return 0 };
    let since = now.saturating_sub(limits::SOURCE_MEMORY.as_nanos() as u64);
    let ledgers = workers.ledgers().filter_map(|(_, _, ledger)| ledger);
    let seen = ledgers.filter_map(|ledger| reading::rule(ledger, declared)?.last_seen);
    seen.filter(|seen| seen.source == Some(source) && seen.at >= since).count() as u64
}

/// The counters of living workers' rings, those of their dead predecessors included.
pub(crate) fn ring_stats(
    supervisor: &Supervisor,
    selected: &Selected<'_>,
    now: u64,
) -> Vec<RingStats> {
    let Supervisor { state, workers, sampler, .. } = supervisor;
    let rings = state.holdings.ingresses.rings();
    let rings = rings.filter(|ring| selected.takes_interface(ring.key.interface.as_str()));
    let of_ring = |ring: &RingPlace| -> Vec<RingStats> {
        let ledgers = workers.ledgers().filter_map(|(worker, _, ledger)| Some((worker, ledger?)));
        let of_worker = |(worker, ledger)| {
            let tally = reading::ring(ledger, ring)?;
            let samples = sampler.rings.get(&(ring.id, worker));
            let rates = samples.map(|samples| rates::of_ring(samples, &tally, now));
            let before = state.retained.ring(worker, ring.id);
            Some(ring_stat(ring, worker, &tally.after(before), rates.unwrap_or_default()))
        };
        ledgers.filter_map(of_worker).collect()
    };
    rings.flat_map(of_ring).collect()
}

fn ring_stat(
    ring: &RingPlace,
    worker: WorkerId,
    tally: &RingTally,
    [received_per_s, kernel_drops_per_s]: [f64; 2],
) -> RingStats {
    RingStats {
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
        received_per_s,
        kernel_drops_per_s,
    }
}
