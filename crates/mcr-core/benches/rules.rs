//! What a change of the rules costs: one rule added to and removed from a set of many, in the
//! supervisor's rule set and in a worker's table.

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mcr_core::endpoint::Endpoint;
use mcr_core::ids::{IfIndex, RuleSlot};
use mcr_core::route::RouteKey;
use mcr_core::rule::{InputKey, Rule};
use mcr_core::rule_set::RuleSet;
use mcr_core::table::ForwardingTable;

const RULES: [u32; 4] = [1, 100, 10_000, 99_999];

fn group(second: u8, rule: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(239, second, 0, 0).to_bits() + rule / 10)
}

fn port(rule: u32) -> u16 {
    5_000 + (rule % 10) as u16
}

fn endpoint(address: Ipv4Addr, port: u16, interface: &str) -> Endpoint {
    format!("{address}:{port}@{interface}").parse().expect("an endpoint")
}

fn rule(number: u32) -> Rule {
    let input = endpoint(group(1, number), port(number), "in0");
    let output = endpoint(group(3, number), port(number), "out0");
    Rule {
        name: None,
        input: InputKey { endpoint: input, source: None },
        outputs: vec![output.into()],
        exclusive: false,
    }
}

fn rule_set(c: &mut Criterion) {
    let mut bench = c.benchmark_group("rule set, add and remove");
    for rules in RULES {
        let mut set = RuleSet::default();
        for number in 0..rules {
            set.add(rule(number)).expect("rules without conflict");
        }
        let new = rule(rules);
        bench.bench_function(BenchmarkId::from_parameter(rules), |b| {
            b.iter(|| {
                let added = set.add(black_box(new.clone())).expect("a rule without conflict");
                set.remove(added.id)
            });
        });
    }
    bench.finish();
}

fn table(c: &mut Criterion) {
    let key = |rule: u32| RouteKey {
        ifindex: IfIndex(2),
        address: group(1, rule).into(),
        port: port(rule),
    };
    let mut bench = c.benchmark_group("forwarding table, insert and remove");
    for rules in RULES {
        let mut table = ForwardingTable::new();
        for number in 0..rules {
            table.insert(key(number), None, RuleSlot(number));
        }
        let new = key(rules);
        bench.bench_function(BenchmarkId::from_parameter(rules), |b| {
            b.iter(|| {
                table.insert(black_box(new), None, RuleSlot(rules));
                table.remove(&new, None)
            });
        });
    }
    bench.finish();
}

criterion_group!(benches, rule_set, table);
criterion_main!(benches);
