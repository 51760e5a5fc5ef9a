//! The whole way of a datagram on the loopback interface of a namespace of our own: what it comes
//! to, and that it takes nothing from the heap.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::AsFd;

use mcr_api::worker::TraceOrder;
use mcr_core::ids::{EgressId, IfIndex, IngressId, OutputSlot, RuleId, RuleSlot, WorkerId};
use mcr_core::interfaces::LinkLayer;
use mcr_core::ledger::{self, Header, OutputCounter, RingCounter};
use mcr_core::route::{Route, RouteKey, RouteOutput, Via};
use mcr_core::table::{self, OwnSocket};
use mcr_core::trace::Subject;
use mcr_core::verdict::EgressError;
use mcr_lab::namespace::Namespace;
use mcr_lab::user_namespace::require_namespaces;
use mcr_sys::allocations::{CountingAllocator, allocations};
use mcr_sys::filter::{Admission, Interval, LinkHeader, Program};
use mcr_sys::ledger::{LedgerMemory, LedgerReader, LedgerWriter};
use mcr_sys::packet::{PacketSocket, RingGeometry};
use mcr_sys::poll::Poll;
use mcr_sys::ring::RxRing;
use mcr_sys::uring::Uring;
use nix::sys::socket::{setsockopt, sockopt};

use super::*;
use crate::commands::close_read_out;
use crate::egress::{self, Egress};
use crate::ingress::Opened;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const GEOMETRY: RingGeometry = RingGeometry { slot_bytes: 2_048, slots: 512 };
const EGRESS: EgressId = EgressId(1);
/// A rule with three outputs, one of them to a network that there is no way to.
const WIDE: u16 = 4_000;
/// A rule with one output.
const NARROW: u16 = 4_001;
/// A port that no rule wants.
const UNWANTED: u16 = 4_002;

struct Bench {
    plane: DataPlane,
    log: Log,
    ledger: LedgerReader,
    receiver: UdpSocket,
    // Nothing is read from it; it keeps the pipe open.
    _log_reader: std::io::PipeReader,
}

fn circles() -> Circles {
    let memory = LedgerMemory::create("sightings", circle::WORDS).unwrap();
    Circles::new(LedgerWriter::map(memory.as_fd(), circle::WORDS).unwrap())
}

impl Bench {
    fn new() -> Self {
        let memory = LedgerMemory::create("test", ledger::WORDS).unwrap();
        let counters = Counters::new(LedgerWriter::map(memory.as_fd(), ledger::WORDS).unwrap());
        let (log_reader, log_writer) = std::io::pipe().unwrap();
        let mut bench = Self {
            plane: DataPlane::new(counters, circles()),
            log: Log::new(log_writer.into(), WorkerId(0)),
            ledger: LedgerReader::map(memory.as_fd(), ledger::WORDS).unwrap(),
            receiver: UdpSocket::bind("127.0.0.1:0").unwrap(),
            _log_reader: log_reader,
        };
        bench.receiver.set_nonblocking(true).unwrap();
        bench.open();
        bench
    }

    fn open(&mut self) {
        let loopback = nix::net::if_::if_nametoindex("lo").unwrap();
        let socket = PacketSocket::open(GEOMETRY).unwrap();
        socket.bind(loopback).unwrap();
        let ports = vec![WIDE, NARROW, UNWANTED];
        let interval = Interval { first: 0x7f00_0001, last: 0x7f00_0001, ports };
        let admission = Admission {
            link: LinkHeader::Ethernet,
            v4: vec![interval],
            v6: vec![],
            strangers: None,
        };
        socket.set_filter(&Program::admit(&admission)).unwrap();
        let ring = RxRing::map(socket.try_clone().unwrap(), GEOMETRY).unwrap();
        let opened = Opened {
            id: IngressId(1),
            ifindex: IfIndex(loopback),
            interface: "lo".parse().unwrap(),
            link: LinkLayer::Ethernet,
            place: 0,
        };
        self.plane.ingresses.push(Ingress::new(opened, ring));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.set_nonblocking(true).unwrap();
        let source = sender.local_addr().unwrap();
        let egress = table::Egress { ifindex: IfIndex(1), hardware: None };
        let own = OwnSocket { address: source, egress };
        let opened = egress::Opened { id: EGRESS, mtu: 65_535, own };
        self.plane.egresses.insert(Egress::new(opened, sender.into()));
        let (here, nowhere) = (self.receiver.local_addr().unwrap(), "203.0.113.1:9");
        self.add_route(1, WIDE, &[here, here, nowhere.parse().unwrap()], loopback);
        self.add_route(2, NARROW, &[here], loopback);
    }

    fn add_route(&mut self, slot: u32, port: u16, to: &[SocketAddr], ifindex: u32) {
        let output = |(place, destination): (u32, &SocketAddr)| RouteOutput {
            slot: OutputSlot(10 * slot + place),
            destination: *destination,
            via: Via::Egress(EGRESS),
        };
        let route = Route {
            id: RuleId(slot.into()),
            slot: RuleSlot(slot),
            key: RouteKey {
                ifindex: IfIndex(ifindex),
                address: "127.0.0.1".parse().unwrap(),
                port,
            },
            source: None,
            outputs: (0..).zip(to).map(output).collect(),
        };
        let DataPlane { routes, egresses, counters, .. } = &mut self.plane;
        routes.insert(route, egresses, counters);
    }

    fn trace_everything(&mut self) {
        let ifindex = nix::net::if_::if_nametoindex("lo").unwrap();
        let subjects = [
            Subject::Rule(RuleId(1)),
            Subject::Rule(RuleId(2)),
            Subject::Unmatched(IfIndex(ifindex)),
        ];
        let order = |(place, subject)| TraceOrder {
            id: place as u64,
            place,
            subject,
            one_in: NonZeroU32::MIN,
            datagrams: u64::MAX,
        };
        let orders = (0..).zip(subjects).map(order).collect();
        self.plane.tracer.set(1, orders, &self.plane.counters);
    }

    fn core(&self, counter: CoreCounter) -> u64 {
        self.ledger.load(ledger::core(counter))
    }

    /// Empties the receiver; returns how many datagrams it had.
    fn received(&self) -> usize {
        let mut buffer = [0; 2_048];
        std::iter::from_fn(|| self.receiver.recv(&mut buffer).ok()).count()
    }
}

/// Runs of equal sizes and single datagrams, of two rules in turns, super-frames within a slot and
/// beyond it, and what no rule wants.
fn send_all_kinds() -> u64 {
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |bytes: usize, port| sender.send_to(&vec![7; bytes], ("127.0.0.1", port)).unwrap();
    for n in 0..20 {
        send(500, WIDE);
        send(300 + n, NARROW);
        send(400, NARROW);
        send(0, NARROW);
        send(100, UNWANTED);
    }
    let single = 5 * 20;
    for (segment, whole) in [(100, 950), (300, 2_850)] {
        setsockopt(&sender, sockopt::UdpGsoSegment, &segment).unwrap();
        send(whole, WIDE);
        send(whole, NARROW);
    }
    single + 4 * 10
}

fn relays_without_allocating(mut mechanism: impl Mechanism) {
    let mut bench = Bench::new();
    let egress = bench.plane.egresses.at(0, EGRESS).unwrap();
    mechanism.admit(0, egress.socket.as_fd()).unwrap();
    for round in 1..=3 {
        let sent = round * send_all_kinds();
        if round == 3 {
            bench.trace_everything();
        }
        let before = allocations();
        // In the second round each turn is over after its first chunk, and copies are dear.
        let turn = Turn { now: 0, until: if round == 2 { 0 } else { u64::MAX } };
        let mut pauses = 0;
        while bench.plane.turn(turn, &mut mechanism, &bench.log) {
            pauses += u32::from(bench.plane.is_sending());
            if round == 2 {
                bench.plane.transmitter.pace.measure(1, u64::MAX);
            }
        }
        assert_eq!(allocations(), before, "round {round}");
        assert_eq!(pauses > 0, round == 2, "{pauses} pauses");
        // Of both kinds of super-frame each rule got ten; 20 of 100 single ones are unwanted.
        let (wide, narrow) = (round * (20 + 20), round * (60 + 20));
        assert_eq!(bench.core(CoreCounter::Datagrams), sent);
        assert_eq!(bench.core(CoreCounter::FramesRead), round * (100 + 4));
        assert_eq!(bench.core(CoreCounter::Matched), wide + narrow);
        assert_eq!(bench.ledger.load(ledger::dropped(DropReason::NoRule)), round * 20);
        assert_eq!(bench.core(CoreCounter::Sent), 2 * wide + narrow);
        let no_route = ledger::egress_error(EgressError::NoRoute);
        assert_eq!(bench.ledger.load(no_route), wide);
        let of_narrow = ledger::Record::output(OutputSlot(20)).of_output(OutputCounter::Sent);
        assert_eq!(bench.ledger.load(of_narrow), narrow);
        assert_eq!(bench.received() as u64, 2 * 40 + 80);
    }
    // In the last round, of each datagram: received, decided, and of each copy: handed, ended.
    let events = bench.ledger.load(ledger::header(Header::TraceEvents));
    assert_eq!(events, 40 * (2 + 3 * 2) + 80 * (2 + 2) + 20 * 2);
}

/// A ring that is closed with frames in it, as where its interface is gone.
#[test]
fn what_is_left_in_a_ring_is_dropped_with_it() {
    in_own_namespace(|| {
        let mut bench = Bench::new();
        let mut mechanism = Poll::new();
        send_all_kinds();
        while bench.plane.turn(Turn { now: 0, until: u64::MAX }, &mut mechanism, &bench.log) {}
        send_all_kinds();
        bench.plane.ingresses[0].count_end(&bench.plane.counters);
        let ring = |counter| bench.ledger.load(ledger::Record::ring(0).of_ring(counter));
        let [received, read, dropped] =
            [RingCounter::Received, RingCounter::FramesRead, RingCounter::KernelDrops].map(ring);
        assert_eq!((received, read, dropped), (2 * 104, 104, 104));
    });
}

/// A ring that is given up lets nothing in any more; what is in it goes out.
#[test]
fn what_is_left_in_a_ring_is_read_before_it_closes() {
    in_own_namespace(|| {
        let mut bench = Bench::new();
        let mut mechanism = Poll::new();
        send_all_kinds();
        bench.plane.ingresses[0].begin_closing(0);
        close_read_out(&mut bench.plane, &mut mechanism, 0);
        assert_eq!(bench.plane.ingresses.len(), 1, "it is not read yet");
        while bench.plane.turn(Turn { now: 0, until: u64::MAX }, &mut mechanism, &bench.log) {}
        close_read_out(&mut bench.plane, &mut mechanism, 0);
        assert!(bench.plane.ingresses.is_empty() && !bench.plane.is_closing_ring());
        let ring = |counter| bench.ledger.load(ledger::Record::ring(0).of_ring(counter));
        let [received, read, dropped] =
            [RingCounter::Received, RingCounter::FramesRead, RingCounter::KernelDrops].map(ring);
        assert_eq!((received, read, dropped), (104, 104, 0));
        assert_eq!(bench.ledger.load(ledger::Record::ring(0).tag()), 0);
    });
}

/// Runs `body` in a namespace of its own, or says SKIP where namespaces are refused.
fn in_own_namespace(body: impl FnOnce() + Send) {
    match require_namespaces() {
        Ok(()) => Namespace::new("test").unwrap().enter(body),
        Err(refusal) => println!("SKIP: {refusal}"),
    }
}

#[test]
fn the_counting_allocator_counts() {
    let before = allocations();
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(allocations(), before + 1);
}

#[test]
fn io_uring_relays_without_allocating() {
    in_own_namespace(|| match Uring::new(1) {
        Ok(uring) => relays_without_allocating(uring),
        Err(refusal) => println!("SKIP: {refusal}"),
    });
}

#[test]
fn poll_relays_without_allocating() {
    in_own_namespace(|| relays_without_allocating(Poll::new()));
}
