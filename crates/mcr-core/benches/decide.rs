//! The cost of the decision about a frame, and of its parts.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use mcr_core::circle;
use mcr_core::forward::{ChecksumStatus, Coalescing, Frame, forward};
use mcr_core::ids::{IfIndex, RuleSlot};
use mcr_core::interfaces::LinkLayer;
use mcr_core::route::RouteKey;
use mcr_core::table::{Egress, ForwardingTable, OwnSocket};
use mcr_core::wire::Datagram;

const INGRESS: IfIndex = IfIndex(2);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
const PAYLOADS: [usize; 4] = [64, 200, 1_000, 1_472];
const RULES: [u32; 4] = [1, 100, 10_000, 100_000];

/// The destination that a rule waits for: ten ports a group.
fn key(rule: u32) -> RouteKey {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(239, 1, 0, 0).to_bits() + rule / 10);
    RouteKey { ifindex: INGRESS, address: address.into(), port: 5_000 + (rule % 10) as u16 }
}

fn table(rules: u32) -> ForwardingTable {
    let mut table = ForwardingTable::new();
    for rule in 0..rules {
        table.insert(key(rule), None, RuleSlot(rule));
    }
    let address = "10.2.0.1:40000".parse().expect("an address");
    table.insert_own(OwnSocket { address, egress: Egress { ifindex: INGRESS, hardware: None } });
    table
}

fn frame_bytes(rule: u32, payload: usize) -> Vec<u8> {
    let RouteKey { address: IpAddr::V4(group), port, .. } = key(rule) else {
        unreachable!("the keys are IPv4")
    };
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [1, 0, 0x5e, 1, 0, 0])
        .ipv4(SOURCE.octets(), group.octets(), 16)
        .udp(4_000, port);
    let mut frame = Vec::new();
    builder.write(&mut frame, &vec![0xa5; payload]).expect("a vector takes all");
    frame
}

fn frame(bytes: &[u8], checksum: ChecksumStatus) -> Frame<'_> {
    Frame {
        bytes,
        original_len: bytes.len() as u32,
        ifindex: INGRESS,
        link: LinkLayer::Ethernet,
        checksum,
        vlan_tagged: false,
        for_other_host: false,
        coalescing: Coalescing::Single,
    }
}

/// Places in a rule set, far from each other and without end.
fn places(rules: u32) -> impl FnMut() -> u32 {
    let mut last = 0_u32;
    move || {
        // Knuth's multiplicative step.
        last = last.wrapping_add(2_654_435_769);
        ((u64::from(last) * u64::from(rules)) >> 32) as u32
    }
}

fn parse(c: &mut Criterion) {
    let bytes = frame_bytes(0, 1_000);
    c.bench_function("parse", |b| {
        b.iter(|| Datagram::parse(LinkLayer::Ethernet, black_box(&bytes)).is_ok());
    });
}

fn checksum(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for payload in PAYLOADS {
        let bytes = frame_bytes(0, payload);
        let datagram = Datagram::parse(LinkLayer::Ethernet, &bytes).expect("a good frame");
        group.throughput(Throughput::Bytes(payload as u64));
        group.bench_with_input(BenchmarkId::from_parameter(payload), &datagram, |b, datagram| {
            b.iter(|| black_box(datagram).checksum_is_valid());
        });
    }
    group.finish();
}

/// The cost of the brake on circles for each datagram, and for each that it looks at.
fn circles(c: &mut Criterion) {
    let payload = [0xa5; 1_000];
    let words: Vec<AtomicU64> = (0..circle::WORDS).map(|_| AtomicU64::new(0)).collect();
    let source = SocketAddr::new(SOURCE.into(), 4_000);
    let glance = |slot| circle::glance(RuleSlot(slot), black_box(&payload));
    let mut slot = 0;
    c.bench_function("circle: glance", |b| b.iter(|| glance(0).is_sampled()));
    c.bench_function("circle: sight", |b| {
        b.iter(|| {
            slot += 1;
            circle::sight(&words, glance(slot), source, 0)
        });
    });
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup at random");
    for rules in RULES {
        let table = table(rules);
        let mut place = places(rules);
        group.bench_function(BenchmarkId::from_parameter(rules), |b| {
            b.iter(|| table.lookup(black_box(&key(place())), SOURCE.into()));
        });
    }
    group.finish();
}

fn whole(c: &mut Criterion) {
    let table = table(1);
    for (name, status) in [
        ("forward, checksum known good", ChecksumStatus::Valid),
        ("forward", ChecksumStatus::Unverified),
    ] {
        let mut group = c.benchmark_group(name);
        for payload in PAYLOADS {
            let bytes = frame_bytes(0, payload);
            group.bench_function(BenchmarkId::from_parameter(payload), |b| {
                b.iter(|| forward(&table, black_box(&frame(&bytes, status))));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, parse, checksum, circles, lookup, whole);
criterion_main!(benches);
