use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use mcr_core::endpoint::Endpoint;
use mcr_core::ids::{IfIndex, IngressId};
use mcr_core::interfaces::LinkLayer;
use mcr_core::ledger::{CoreCounter, Record, RuleCounter, WORDS, batch_sizes, core};
use mcr_core::plan::{IngressKey, RingClass};
use mcr_core::rule::{InputKey, Rule};
use mcr_core::rule_set::RuleSet;
use mcr_sys::ledger::{LedgerMemory, LedgerWriter};

use super::*;
use crate::stats::reading::OutputTally;

const WORKER: WorkerId = WorkerId(0);

fn ledger() -> (LedgerWriter, LedgerReader) {
    let memory = LedgerMemory::create("test", WORDS).unwrap();
    let writer = LedgerWriter::map(memory.as_fd(), WORDS).unwrap();
    (writer, LedgerReader::map(memory.as_fd(), WORDS).unwrap())
}

fn ring(id: u32, place: usize) -> RingPlace {
    let key = IngressKey {
        ifindex: IfIndex(1),
        interface: "eth0".parse().unwrap(),
        link: LinkLayer::Ethernet,
        class: RingClass::Small,
    };
    RingPlace { id: IngressId(id), place, key }
}

fn count(ledger: &LedgerWriter, ring: &RingPlace, counts: [(RingCounter, u64); 3]) {
    let record = Record::ring(ring.place);
    ledger[record.tag()].store(u64::from(ring.id.0) + 1, Ordering::Relaxed);
    for (counter, value) in counts {
        ledger[record.of_ring(counter)].store(value, Ordering::Relaxed);
    }
}

const RECEIVED: RingCounter = RingCounter::Received;
const DROPS: RingCounter = RingCounter::KernelDrops;
const READ: RingCounter = RingCounter::FramesRead;

#[test]
fn a_dead_workers_counters_stay_and_its_unread_frames_are_drops() {
    let (writer, reader) = ledger();
    let eth0 = ring(1, 0);
    count(&writer, &eth0, [(RECEIVED, 100), (DROPS, 7), (READ, 90)]);
    writer[core(CoreCounter::FramesRead)].store(90, Ordering::Relaxed);
    let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
    let mut rules = RuleSet::default();
    let input = InputKey { endpoint: endpoint("239.0.0.1:1@eth0"), source: None };
    let outputs = vec![endpoint("239.0.0.2:1@eth1").into()];
    let id = rules.add(Rule { name: None, input, outputs, exclusive: false }).unwrap().id;
    let record = Record::rule(rules.get(id).unwrap().slot);
    writer[record.tag()].store(id.0, Ordering::Relaxed);
    writer[record.of_rule(RuleCounter::Packets)].store(5, Ordering::Relaxed);
    writer[batch_sizes().start].store(9, Ordering::Relaxed);

    let mut retained = Retained::default();
    retained.keep_worker(WORKER, &reader, [&eth0].into_iter(), rules.iter());
    retained.begin_handover(WORKER);
    retained.keep_unread(WORKER, PacketStatistics { received: 20, dropped: 3 });
    let stats = retained.core(WORKER).unwrap();
    assert_eq!((stats.received, stats.frames_read, stats.kernel_drops), (120, 90, 30));
    assert_eq!(stats.unaccounted().received, 0);
    let of_ring = |retained: &Retained| {
        retained.ring(WORKER, eth0.id).map(|ring| [RECEIVED, DROPS, READ].map(|c| ring.of(c)))
    };
    assert_eq!(of_ring(&retained), Some([100, 10, 90]));
    retained.keep_worker(WORKER, &reader, [&eth0].into_iter(), rules.iter());
    assert_eq!(retained.rule(id).unwrap().packets, 10);
    assert_eq!(retained.batch_sizes(WORKER)[0], 18);
    assert_eq!(of_ring(&retained), Some([200, 20, 180]));
    retained.ring_closing(&eth0, 7, std::iter::empty());
    assert_eq!(of_ring(&retained), None);
    retained.forget_rule(id);
    assert_eq!(retained.rule(id), None);
}

#[test]
fn what_a_worker_left_half_counted_gets_a_name() {
    let (writer, reader) = ledger();
    let eth0 = ring(1, 0);
    // It had read a batch of eight, of which three were sent when it died.
    count(&writer, &eth0, [(RECEIVED, 0), (DROPS, 0), (READ, 8)]);
    let counts = [(CoreCounter::FramesRead, 8), (CoreCounter::Datagrams, 8)];
    for (counter, value) in counts.into_iter().chain([
        (CoreCounter::Matched, 8),
        (CoreCounter::Copies, 16),
        (CoreCounter::Sent, 3),
    ]) {
        writer[core(counter)].store(value, Ordering::Relaxed);
    }
    let mut retained = Retained::default();
    retained.keep_worker(WORKER, &reader, [&eth0].into_iter(), std::iter::empty());
    let stats = retained.core(WORKER).unwrap();
    assert_eq!(stats.unaccounted(), mcr_api::control::Unaccounted::default());
    assert_eq!((stats.errors["abandoned"], stats.kernel_drops), (13, 0));

    let sent = |sent| OutputTally { sent, ..OutputTally::default() };
    let mut tally =
        RuleTally { packets: 8, outputs: vec![sent(8), sent(3)], ..RuleTally::default() };
    tally.close_account();
    let abandoned = |place: usize| tally.outputs[place].errors[EgressError::Abandoned.index()];
    assert_eq!((abandoned(0), abandoned(1)), (0, 5));
}

#[test]
fn what_was_read_early_is_not_counted_as_unread() {
    let (writer, reader) = ledger();
    let eth0 = ring(1, 0);
    // Of 100 frames read 8 came since the worker last asked the kernel for its figures.
    count(&writer, &eth0, [(RECEIVED, 92), (DROPS, 0), (READ, 100)]);
    writer[core(CoreCounter::FramesRead)].store(100, Ordering::Relaxed);
    let mut retained = Retained::default();
    retained.keep_worker(WORKER, &reader, [&eth0].into_iter(), std::iter::empty());
    // Its sockets know of these 8, and of 6 more that nobody read.
    retained.begin_handover(WORKER);
    retained.keep_unread(WORKER, PacketStatistics { received: 14, dropped: 0 });
    let stats = retained.core(WORKER).unwrap();
    assert_eq!((stats.received, stats.frames_read, stats.kernel_drops), (106, 100, 6));
}

#[test]
fn a_closed_rings_counters_are_taken_over_when_the_worker_is_done_with_it() {
    let (writer, reader) = ledger();
    let eth0 = ring(1, 3);
    count(&writer, &eth0, [(RECEIVED, 10), (DROPS, 0), (READ, 10)]);
    let mut retained = Retained::default();
    let ledgers = || [(WORKER, &reader)].into_iter();
    retained.ring_closing(&eth0, 8, ledgers());
    assert!(retained.settle_rings([(WORKER, &reader, 7)].into_iter()).is_empty());
    // The worker reads on for a while, and then gives the record up.
    count(&writer, &eth0, [(RECEIVED, 12), (DROPS, 1), (READ, 11)]);
    writer[Record::ring(3).tag()].store(0, Ordering::Relaxed);
    let mut stats = CoreStats::default();
    retained.add_closing(WORKER, &reader, &mut stats);
    assert_eq!((stats.received, stats.kernel_drops), (12, 1));
    assert_eq!(retained.settle_rings([(WORKER, &reader, 8)].into_iter()), [3]);
    let stats = retained.core(WORKER).unwrap();
    assert_eq!((stats.received, stats.kernel_drops), (12, 1));
    assert!(retained.settle_rings([(WORKER, &reader, 9)].into_iter()).is_empty());
}

#[test]
fn a_ring_that_no_worker_had_is_settled_at_once() {
    let (_writer, reader) = ledger();
    let mut retained = Retained::default();
    retained.ring_closing(&ring(1, 3), 8, [(WORKER, &reader)].into_iter());
    assert_eq!(retained.settle_rings(std::iter::empty()), [3]);
    assert!(retained.core(WORKER).is_none());
}
