//! Made-up numbers for tests: of everything something, and no two alike.

use mcr_api::control::{CoreStats, RingClass, RingStats};
use mcr_core::endpoint::Endpoint;
use mcr_core::ids::RuleId;
use mcr_core::rule::{InputKey, Rule};
use mcr_core::verdict::{DropReason, EgressError};

use super::super::rows::{OutputRow, Overview, RuleRow, WorkerRow};
use crate::stats::reading::OutputTally;

/// Two workers, one of them dead, with two rings.
pub(in super::super) fn overview() -> Overview {
    Overview {
        uptime_s: 12.5,
        is_ready: true,
        active_rules: 3,
        rules: 4,
        outputs: 5,
        longest_turn_s: 0.004,
        ring_bytes: 25_165_824,
        control_clients: 6,
        control_refusals: vec![("rate", 7), ("idle", 8)],
        audit_records: 9,
        workers: vec![worker(0, Some(250)), worker(1, None)],
        rings: vec![ring("eth0", RingClass::Small), ring("eth1", RingClass::Jumbo)],
    }
}

fn worker(worker: u32, heartbeat_age_ms: Option<u64>) -> WorkerRow {
    let first = 1_000_000 * u64::from(worker + 1);
    let counted = |place: usize| first + place as u64;
    let drops = DropReason::ALL.iter().map(|r| (r.name().to_owned(), counted(r.index())));
    let errors = EgressError::ALL.iter().map(|e| (e.name().to_owned(), counted(e.index() + 50)));
    let counters = CoreStats {
        received: counted(100),
        kernel_drops: counted(101),
        frames_read: counted(102),
        bytes_read: counted(103),
        datagrams: counted(104),
        matched: counted(105),
        copies: counted(106),
        sent: counted(107),
        sent_bytes: counted(108),
        drops: drops.collect(),
        errors: errors.collect(),
        batches: counted(109),
        sends: counted(110),
        wake_ups: counted(111),
        system_calls: counted(112),
        busy_ns: counted(500_000_000),
        gso_refused: counted(114),
        commands: counted(115),
        commands_refused: counted(116),
        long_turns: counted(121),
        log_records_dropped: counted(117),
        stuck_rings: counted(118),
    };
    WorkerRow {
        worker,
        core: 2 * worker,
        is_up: heartbeat_age_ms.is_some(),
        is_in_sync: heartbeat_age_ms.is_some(),
        heartbeat_age_ms,
        is_overloaded: worker == 0,
        longest_turn_us: counted(1_000),
        restarts: counted(118),
        repairs: counted(119),
        commands_lost: counted(120),
        counters,
        batch_sizes: vec![5, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    }
}

fn ring(interface: &str, class: RingClass) -> RingStats {
    RingStats {
        worker: 0,
        interface: interface.into(),
        class,
        slots: 4_096,
        slot_bytes: 2_048,
        in_use: 17,
        high_water: 18,
        exhausted: 19,
        received: 1_020,
        kernel_drops: 21,
        frames_read: 999,
        ..RingStats::default()
    }
}

/// A rule with so many outputs, each of which had one kind of error.
pub(in super::super) fn rule_row(id: u64, outputs: usize) -> RuleRow {
    let endpoint = |text: String| text.parse::<Endpoint>().expect("an endpoint");
    let to = |port| endpoint(format!("10.0.0.{id}:{port}@eth1")).into();
    let input = endpoint(format!("239.0.0.{id}:5000@eth0"));
    let mut errors = [0; EgressError::COUNT];
    errors[EgressError::QueueFull.index()] = 3;
    let tally = OutputTally { sent: 70 + id, bytes: 7_000 + id, errors };
    RuleRow {
        id: RuleId(id),
        rule: Rule {
            name: Some(format!("rule-{id}").parse().expect("a name")),
            input: InputKey { endpoint: input, source: None },
            outputs: (1..=outputs).map(to).collect(),
            exclusive: false,
        },
        is_active: true,
        packets: 80 + id,
        bytes: 8_000 + id,
        last_packet_s: Some(1_800_000_000.25),
        outputs: vec![OutputRow { tally, unreachable: id, replies: id, doubtful: id }; outputs],
    }
}
