//! A worker that was taken over may write anything into its ledger: every reader must stand it.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use mcr_api::control::CoreStats;
use mcr_core::endpoint::Endpoint;
use mcr_core::ids::{IfIndex, IngressId, WorkerId};
use mcr_core::interfaces::{Interfaces, LinkLayer};
use mcr_core::ledger::{LastSeen, Record, RingCounter, WORDS};
use mcr_core::plan::{IngressKey, RingClass};
use mcr_core::rule::{InputKey, Rule};
use mcr_core::rule_set::{DeclaredRule, RuleSet};
use mcr_core::steering::Steering;
use mcr_sys::ledger::{LedgerMemory, LedgerReader, LedgerWriter};
use mcr_sys::packet::PacketStatistics;
use mcr_sys::process::monotonic_ns;

use super::rates::{self, RuleRates};
use super::reading;
use super::report;
use super::retained::{Retained, add_ring};
use super::sampler::Samples;
use crate::doubts::Doubts;
use crate::hands::Hands;
use crate::holdings::Holdings;
use crate::news::News;
use crate::resources::ingress::RingPlace;
use crate::state::State;

const WORKERS: [WorkerId; 2] = [WorkerId(0), WorkerId(1)];

/// Any words, and the same ones in each run (xorshift64, Marsaglia 2003).
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Small numbers and the greatest ones come as well.
        match state % 4 {
            0 => u64::MAX - state % 7,
            1 => state % 7,
            _ => state,
        }
    }
}

/// Its writer writes all that is ever read here: the words up to the end of one output's record,
/// of the rule's and of the ring's; only their tags are right, so that they are read.
struct Hostile {
    writer: LedgerWriter,
    reader: LedgerReader,
}

impl Hostile {
    fn new() -> Self {
        let memory = LedgerMemory::create("test", WORDS).unwrap();
        let writer = LedgerWriter::map(memory.as_fd(), WORDS).unwrap();
        let reader = LedgerReader::map(memory.as_fd(), WORDS).unwrap();
        Self { writer, reader }
    }

    fn write(&self, ring: &RingPlace, rule: &DeclaredRule, mut word: impl FnMut() -> u64) {
        let store = |place: usize, value| self.writer[place].store(value, Ordering::Relaxed);
        let outputs = rule.output_slots().map(Record::output);
        let of_rule = outputs.chain([Record::rule(rule.slot)]).map(|record| (record, rule.id.0));
        let of_ring = (Record::ring(ring.place), u64::from(ring.id.0) + 1);
        for place in 0..of_ring.0.tag() {
            store(place, word());
        }
        for (record, tag) in of_rule.chain([of_ring]) {
            store(record.tag(), tag);
            for place in record.counters() {
                store(place, word());
            }
        }
    }
}

fn ring() -> RingPlace {
    let key = IngressKey {
        ifindex: IfIndex(1),
        interface: "eth0".parse().unwrap(),
        link: LinkLayer::Ethernet,
        class: RingClass::Small,
    };
    RingPlace { id: IngressId(1), place: 0, key }
}

fn rules() -> RuleSet {
    let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
    let mut rules = RuleSet::default();
    let input = InputKey { endpoint: endpoint("239.0.0.1:1@eth0"), source: None };
    let outputs = vec![endpoint("239.0.0.2:1@eth1").into(), endpoint("239.0.0.3:1@eth1").into()];
    rules.add(Rule { name: None, input, outputs, exclusive: false }).unwrap();
    rules
}

fn state() -> State {
    let (events, _) = tokio::sync::mpsc::channel(1);
    let holdings = Holdings::alone(Steering::Hash, &[0, 1]);
    let doubts = Doubts::new(tokio::sync::mpsc::unbounded_channel().0);
    State::new(Interfaces::default(), holdings, doubts, News::default(), Hands::new(events))
}

fn are_rates(rates: impl IntoIterator<Item = f64>) {
    for rate in rates {
        assert!(rate.is_finite() && rate >= 0.0, "{rate}");
    }
}

/// The readings of some workers, and those of them before.
#[derive(Default)]
struct Reading {
    state: Option<State>,
    totals: Samples,
    core: Samples,
    ring: Samples,
    rule: Samples,
    round: u64,
}

impl Reading {
    /// Reads everything, makes it rates since the time before, and buries the workers.
    fn round(&mut self, workers: &[Hostile], ring: &RingPlace, rule: &DeclaredRule) {
        self.round += 1;
        let now = self.round * 1_000_000_000;
        let state = self.state.get_or_insert_with(state);
        let mut totals = reading::zero_stats();
        let mut of_rule = state.retained.rule(rule.id).cloned().unwrap_or_default();
        for (id, Hostile { reader, .. }) in WORKERS.into_iter().zip(workers) {
            let mut core = report::core_stats(state, id, Some(reader));
            let of_ring = reading::ring(reader, ring).unwrap();
            add_ring(&mut core, &of_ring);
            totals.add(&core);
            of_rule.add(&reading::rule(reader, rule).unwrap());
            _ = report::batch_sizes(state, id, Some(reader));
            _ = of_ring.after(state.retained.ring(id, ring.id)).of(RingCounter::Received);

            let core = rates::of_core(&self.core, reader, now);
            assert!((0.0..=1.0).contains(&core.busy_share));
            are_rates(core.drops_per_s.into_values());
            are_rates(rates::of_ring(&self.ring, &of_ring, now));
            self.core.push(now, rates::core_counters(reader));
            self.ring.push(now, rates::ring_counters(&of_ring));
        }
        assert!(of_rule.last_seen.is_none_or(|seen| seen.at <= monotonic_ns()));
        let per_s = RuleRates::new(Some(&self.rule), 0, now);
        are_rates(per_s.matched(&of_rule));
        for (place, output) in of_rule.outputs.iter().enumerate() {
            are_rates(per_s.output(place, output));
            _ = reading::named_errors(output);
        }
        are_rates([rates::of_totals(&self.totals, &totals, now).errors_per_s]);
        self.totals.push(now, rates::total_counters(&totals));
        self.rule.push(now, rates::rule_counters(&of_rule));
        _ = totals.unaccounted();
        bury(&mut state.retained, workers, ring, rule, self.round);
    }
}

fn bury(
    retained: &mut Retained,
    workers: &[Hostile],
    ring: &RingPlace,
    rule: &DeclaredRule,
    round: u64,
) {
    let ledgers = || WORKERS.into_iter().zip(workers.iter().map(|worker| &worker.reader));
    // Every second time its ring is being closed meanwhile.
    if round.is_multiple_of(2) {
        retained.ring_closing(ring, round, ledgers());
        let mut stats = reading::zero_stats();
        for (id, ledger) in ledgers() {
            retained.add_closing(id, ledger, &mut stats);
        }
        _ = retained.settle_rings(ledgers().map(|(id, ledger)| (id, ledger, u64::MAX)));
    }
    for (id, ledger) in ledgers() {
        retained.keep_worker(id, ledger, [ring].into_iter(), [rule].into_iter());
        retained.keep_unread(id, PacketStatistics { received: u32::MAX.into(), dropped: 0 });
    }
}

#[test]
fn no_words_of_one_worker_or_two_make_a_reader_fail() {
    let (ring, rules) = (ring(), rules());
    let rule = rules.iter().next().unwrap();
    let workers = [Hostile::new(), Hostile::new()];
    for count in 1..=workers.len() {
        let workers = &workers[..count];
        let mut reading = Reading::default();
        for _ in 0..3 {
            for worker in workers {
                worker.write(&ring, rule, || u64::MAX);
            }
            reading.round(workers, &ring, rule);
        }
        let mut words = random(0x006d_6372);
        for _ in 0..100 {
            for worker in workers {
                worker.write(&ring, rule, &mut words);
            }
            reading.round(workers, &ring, rule);
        }
    }
}

#[test]
fn one_that_lies_hides_nothing_that_others_count_later() {
    let mut sums = reading::zero_stats();
    sums.add(&CoreStats { sent: u64::MAX, ..CoreStats::default() });
    let mut samples = Samples::default();
    samples.push(1, rates::total_counters(&sums));
    sums.add(&CoreStats { sent: 1_001, ..CoreStats::default() });
    samples.push(1_000_000_001, rates::total_counters(&sums));
    sums.add(&CoreStats { sent: 500, ..CoreStats::default() });
    let rates = rates::of_totals(&samples, &sums, 2_000_000_001);
    assert!((rates.sent_per_s - 500.0).abs() < 1e-9, "{}", rates.sent_per_s);
}

#[test]
fn what_is_still_to_come_has_not_been_seen() {
    let (ring, rules) = (ring(), rules());
    let rule = rules.iter().next().unwrap();
    let worker = Hostile::new();
    let seen = |at| {
        worker.write(&ring, rule, || 4);
        let place = Record::rule(rule.slot).of_last_seen(LastSeen::At);
        worker.writer[place].store(at, Ordering::Relaxed);
        reading::rule(&worker.reader, rule).unwrap().last_seen.map(|seen| seen.at)
    };
    let now = monotonic_ns();
    assert_eq!(seen(now), Some(now));
    assert_eq!(seen(now + 3_600_000_000_000), None);
    assert_eq!(seen(u64::MAX), None);
}
