//! A perfect run, for tests to spoil.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use mcr_api::control::{CoreStats, OutputStats, RuleStats, Stats};

use super::kernel_alone::KernelAlone;
use super::relaying::{Arrivals, Relayed};
use super::stage::{OUTPUTS, Output, input};
use crate::account::StreamReport;
use crate::generator::GeneratorReport;
use crate::histogram::Latency;

const SENT: u64 = 200_000;

pub(super) fn kernel_alone() -> KernelAlone {
    KernelAlone {
        sent: 2_000,
        routable: vec![2_000, 2_000],
        unroutable: vec![0, 0],
        refused: 2_000,
    }
}

pub(super) fn relayed() -> Relayed {
    let elapsed = Duration::from_secs(10);
    Relayed {
        generator: GeneratorReport {
            sent: BTreeMap::from([(0, SENT)]),
            elapsed,
            forgiven: Duration::ZERO,
        },
        stats: stats(),
        arrivals: OUTPUTS.map(arrivals).to_vec(),
        link_drops: BTreeMap::from([("src0", 0), ("out0", 0), ("out1", 0)]),
    }
}

fn arrivals(output: Output) -> Arrivals {
    let latency = Latency { samples: SENT, p50_ns: 44_000, p99_ns: 120_000, max_ns: 12_345_678 };
    let origin = SocketAddr::new(output.relay_address(), 40_000);
    let stream = StreamReport {
        received: SENT,
        unique: SENT,
        duplicated: 0,
        reordered: 0,
        corrupt: 0,
        beyond_limit: 0,
        next_sequence: SENT,
        latency,
        origins: BTreeSet::from([origin]),
        last_origin: Some(origin),
        ttls: BTreeSet::from([64]),
    };
    Arrivals { output, stream, strays: 0, socket_drops: 0 }
}

fn stats() -> Stats {
    let totals = CoreStats {
        received: SENT,
        frames_read: SENT,
        datagrams: SENT,
        matched: SENT,
        copies: 3 * SENT,
        sent: 3 * SENT,
        ..CoreStats::default()
    };
    let output = |output: Output| OutputStats {
        to: output.endpoint(),
        sent: SENT,
        bytes: 1_000 * SENT,
        ..OutputStats::default()
    };
    let rule = RuleStats {
        id: 1,
        name: Some("demo".into()),
        input: input(),
        packets: SENT,
        bytes: 1_000 * SENT,
        outputs: OUTPUTS.map(output).to_vec(),
        ..RuleStats::default()
    };
    Stats { totals, rules: vec![rule], ..Stats::default() }
}
