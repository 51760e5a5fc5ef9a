//! Exported numbers, as the supervisor's loop hands them over: no text is made of them yet.

use std::ops::Bound;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcr_api::control::{CoreStats, RingStats, WorkerState, WorkerStatus};
use mcr_core::ids::RuleId;
use mcr_core::rule::Rule;
use mcr_core::rule_set::DeclaredRule;
use mcr_core::verdict::EgressError;
use mcr_sys::process::monotonic_ns;

use super::health::{self, Health};
use crate::limits;
use crate::state::State;
use crate::stats::reading::OutputTally;
use crate::stats::report::{self, Selected};
use crate::supervisor::Supervisor;
use crate::workers::Workers;

/// Everything but what is counted for each rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overview {
    pub(super) uptime_s: f64,
    pub(super) is_ready: bool,
    pub(super) active_rules: usize,
    pub(super) rules: usize,
    /// Outputs of all rules.
    pub(super) outputs: usize,
    /// Clients of the control sockets.
    /// Of the supervisor's loop, in seconds.
    pub(super) longest_turn_s: f64,
    pub(super) ring_bytes: u64,
    pub(super) control_clients: usize,
    /// Why clients and what they asked was refused, and how often.
    pub(super) control_refusals: Vec<(&'static str, u64)>,
    /// Audit lines so far.
    pub(super) audit_records: u64,
    pub(super) workers: Vec<WorkerRow>,
    pub(super) rings: Vec<RingStats>,
}

/// One worker's place.
#[derive(Clone, Debug)]
pub(super) struct WorkerRow {
    pub(super) worker: u32,
    pub(super) core: u32,
    pub(super) is_up: bool,
    pub(super) is_in_sync: bool,
    pub(super) heartbeat_age_ms: Option<u64>,
    pub(super) is_overloaded: bool,
    pub(super) longest_turn_us: u64,
    pub(super) restarts: u64,
    pub(super) repairs: u64,
    pub(super) commands_lost: u64,
    pub(super) counters: CoreStats,
    pub(super) batch_sizes: Vec<u64>,
}

/// One rule and what it counted.
#[derive(Clone, Debug)]
pub(crate) struct RuleRow {
    pub(super) id: RuleId,
    pub(super) rule: Rule,
    pub(super) is_active: bool,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// When the last one came, in seconds of Unix time.
    pub(super) last_packet_s: Option<f64>,
    /// In the order of the rule's outputs.
    pub(super) outputs: Vec<OutputRow>,
}

/// One output and what it counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutputRow {
    pub(super) tally: OutputTally,
    /// Reports that its destination is unreachable.
    pub(super) unreachable: u64,
    /// Datagrams that came to its source port.
    pub(super) replies: u64,
    /// Datagrams sent while its neighbour did not answer.
    pub(super) doubtful: u64,
}

impl OutputRow {
    /// The errors that have occurred.
    pub(super) fn errors(&self) -> impl Iterator<Item = (EgressError, u64)> {
        let counts = EgressError::ALL.iter().copied().zip(self.tally.errors);
        counts.filter(|(_, count)| *count > 0)
    }
}

impl Overview {
    /// Reads the ledgers' small part.
    pub(super) fn of(supervisor: &Supervisor) -> Self {
        let Supervisor { state, workers, started, .. } = supervisor;
        let settled = workers.settled_generation();
        let statuses = workers.statuses(&state.holdings);
        let ledgers = workers.ledgers();
        let counted = ledgers.map(|(worker, _, ledger)| Counted {
            counters: report::core_stats(state, worker, ledger),
            batch_sizes: report::batch_sizes(state, worker, ledger),
        });
        let rows = statuses.iter().zip(counted);
        Self {
            uptime_s: monotonic_ns().saturating_sub(*started) as f64 / 1e9,
            is_ready: Health::of(supervisor).is_ready(),
            active_rules: state.active_rules(),
            rules: state.rules.len(),
            outputs: state.rules.iter().map(|declared| declared.rule.outputs.len()).sum(),
            longest_turn_s: supervisor.turns.longest().as_secs_f64(),
            ring_bytes: state.holdings.ingresses.ring_bytes(),
            control_clients: supervisor.clients.connected_count(),
            control_refusals: supervisor.clients.refusals(),
            audit_records: supervisor.audit.latest(),
            workers: rows.map(|(status, counted)| worker(status, settled, counted)).collect(),
            rings: report::ring_stats(supervisor, &Selected::default(), monotonic_ns()),
        }
    }
}

/// The next slice of rules.
pub(super) fn rules_after(supervisor: &Supervisor, after: Option<RuleId>) -> Vec<RuleRow> {
    let Supervisor { state, workers, .. } = supervisor;
    let after = after.map_or(Bound::Unbounded, Bound::Excluded);
    let slice = state.rules.range((after, Bound::Unbounded)).take(limits::EXPORTED_AT_ONCE);
    let clocks = Clocks::now();
    slice.map(|declared| rule(declared, state, workers, &clocks)).collect()
}

/// Two clocks at one moment.
struct Clocks {
    monotonic_ns: u64,
    unix: Duration,
}

impl Clocks {
    fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        // A clock that is set to before 1970 is as good as that.
        Self { monotonic_ns: monotonic_ns(), unix: unix.unwrap_or_default() }
    }

    /// What the other clock said when the monotonic one said this: to the hundredth of a second, so
    /// that the same moment looks the same at each look.
    fn unix_s(&self, monotonic_ns: u64) -> f64 {
        let age = Duration::from_nanos(self.monotonic_ns.saturating_sub(monotonic_ns));
        let hundredths = self.unix.saturating_sub(age).as_millis() / 10;
        hundredths as f64 / 100.0
    }
}

/// The counters of a worker's place.
struct Counted {
    counters: CoreStats,
    batch_sizes: Vec<u64>,
}

fn worker(status: &WorkerStatus, settled: u64, counted: Counted) -> WorkerRow {
    let relays = matches!(status.state, WorkerState::Running | WorkerState::Resyncing);
    WorkerRow {
        worker: status.worker,
        core: status.core,
        is_up: relays && health::is_turning(status),
        is_in_sync: relays && health::is_settled(status, settled),
        heartbeat_age_ms: status.heartbeat_age_ms,
        is_overloaded: status.overloaded,
        longest_turn_us: status.longest_turn_us,
        restarts: status.restarts,
        repairs: status.repairs,
        commands_lost: status.commands_lost,
        counters: counted.counters,
        batch_sizes: counted.batch_sizes,
    }
}

fn rule(declared: &DeclaredRule, state: &State, workers: &Workers, clocks: &Clocks) -> RuleRow {
    let tally = report::rule_tally(declared, state, workers);
    let outputs = declared.rule.outputs.iter().enumerate().map(|(place, output)| {
        let tally = tally.outputs.get(place).copied().unwrap_or_default();
        OutputRow {
            tally,
            unreachable: state.unreachable.reports(output.endpoint.socket_address()),
            replies: state.replies(declared.id, place),
            doubtful: state.doubtful(declared.id, place, tally.sent),
        }
    });
    RuleRow {
        id: declared.id,
        rule: declared.rule.clone(),
        is_active: state.is_active(declared.id),
        packets: tally.packets,
        bytes: tally.bytes,
        last_packet_s: tally.last_seen.map(|seen| clocks.unix_s(seen.at)),
        outputs: outputs.collect(),
    }
}
