use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use mcr_core::endpoint::Endpoint;
use mcr_core::ids::{IfIndex, IngressId};
use mcr_core::interfaces::LinkLayer;
use mcr_core::ledger::{CoreCounter, OutputCounter, Record, RuleCounter, WORDS, core};
use mcr_core::plan::{IngressKey, RingClass};
use mcr_core::rule::{InputKey, Rule};
use mcr_core::rule_set::RuleSet;
use mcr_sys::ledger::{LedgerMemory, LedgerWriter};

use super::*;

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

    let mut retained = Retained::default();
    retained.keep_worker(WORKER, &reader, [&eth0].into_iter(), rules.iter());
    retained.keep_unread(WORKER, PacketStatistics { received: 20, dropped: 3 });
    let stats = retained.core(WORKER).unwrap();
    assert_eq!((stats.received, stats.frames_read, stats.kernel_drops), (120, 90, 30));
    assert_eq!(stats.unaccounted().received, 0);
    retained.keep_worker(WORKER, &reader, std::iter::empty(), rules.iter());
    assert_eq!(retained.rule(id).unwrap().packets, 10);
    retained.forget_rule(id);
    assert_eq!(retained.rule(id), None);
}

#[test]
fn what_a_worker_had_in_hand_when_it_died_has_a_name() {
    let (writer, reader) = ledger();
    let set = |word: usize, value| writer[word].store(value, Ordering::Relaxed);
    let eth0 = ring(1, 0);
    // Of 100 frames read 8 came since the kernel was last asked; the last batch, of 5, is not
    // counted any further, and of the one before only 3 of 4 copies.
    count(&writer, &eth0, [(RECEIVED, 92), (DROPS, 0), (READ, 100)]);
    set(core(CoreCounter::FramesRead), 95);
    set(core(CoreCounter::Datagrams), 95);
    set(core(CoreCounter::Matched), 95);
    set(core(CoreCounter::Copies), 95);
    set(core(CoreCounter::Sent), 94);
    let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
    let mut rules = RuleSet::default();
    let input = InputKey { endpoint: endpoint("239.0.0.1:1@eth0"), source: None };
    let outputs = vec![endpoint("239.0.0.2:1@eth1").into()];
    let id = rules.add(Rule { name: None, input, outputs, exclusive: false }).unwrap().id;
    let declared = rules.get(id).unwrap();
    let output = Record::output(declared.output_slots().next().unwrap());
    for (record, counter, value) in [
        (Record::rule(declared.slot), RuleCounter::Packets.index(), 95),
        (output, OutputCounter::Sent.index(), 94),
    ] {
        set(record.tag(), id.0);
        set(record.tag() + 1 + counter, value);
    }

    let mut retained = Retained::default();
    retained.keep_worker(WORKER, &reader, [&eth0].into_iter(), rules.iter());
    // Its sockets received these 8 and 6 more, which nobody read.
    retained.keep_unread(WORKER, PacketStatistics { received: 14, dropped: 0 });
    let stats = retained.core(WORKER).unwrap();
    assert_eq!((stats.received, stats.frames_read, stats.kernel_drops), (106, 95, 11));
    assert_eq!(stats.errors["worker_died"], 1);
    assert_eq!(stats.unaccounted(), mcr_api::control::Unaccounted::default());
    let output = retained.rule(id).unwrap().outputs[0];
    assert_eq!((output.sent, output.errors[EgressError::WorkerDied.index()]), (94, 1));
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
