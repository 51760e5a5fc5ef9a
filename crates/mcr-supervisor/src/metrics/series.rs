//! The number that each metric shows.

use std::collections::BTreeMap;

use mcr_api::control::{CoreStats, RingStats};
use mcr_api::metrics::Metric;

use super::rows::{OutputRow, Overview, RuleRow, WorkerRow};

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A number of things.
    Count(u64),
    /// Any other number.
    Real(f64),
    /// How many things there were of each size, at place `n` of 2^n to 2^(n+1) - 1, and the sum of
    /// the sizes.
    Sizes(&'a [u64], u64),
}

impl From<bool> for Value<'_> {
    fn from(is_so: bool) -> Self {
        Self::Count(is_so.into())
    }
}

/// A metric and its number for one of the things that have it; `None` leaves the sample out.
type Series<T> = (Metric, fn(&T) -> Option<Value<'_>>);

/// Of the daemon.
pub(super) const DAEMON: &[Series<Overview>] = &[
    (Metric::Uptime, |o| Some(Value::Real(o.uptime_s))),
    (Metric::Ready, |o| Some(o.is_ready.into())),
    (Metric::SupervisorLongestTurn, |o| Some(Value::Real(o.longest_turn_s))),
    (Metric::RingMemory, |o| count(o.ring_bytes)),
    (Metric::ControlClients, |o| count(o.control_clients as u64)),
    (Metric::AuditRecords, |o| count(o.audit_records)),
];

/// Of each worker.
pub(super) const WORKER: &[Series<WorkerRow>] = &[
    (Metric::WorkerUp, |w| Some(w.is_up.into())),
    (Metric::WorkerInSync, |w| Some(w.is_in_sync.into())),
    (Metric::WorkerHeartbeatAge, |w| w.heartbeat_age_ms.map(|age| Value::Real(age as f64 / 1e3))),
    (Metric::WorkerOverloaded, |w| Some(w.is_overloaded.into())),
    (Metric::WorkerLongestTurn, |w| Some(Value::Real(w.longest_turn_us as f64 / 1e6))),
    (Metric::WorkerLongTurns, |w| count(w.counters.long_turns)),
    (Metric::WorkerRestarts, |w| count(w.restarts)),
    (Metric::WorkerRepairs, |w| count(w.repairs)),
    (Metric::WorkerCommandsLost, |w| count(w.commands_lost)),
    (Metric::WorkerReceived, |w| count(w.counters.received)),
    (Metric::WorkerKernelDropped, |w| count(w.counters.kernel_drops)),
    (Metric::WorkerRead, |w| count(w.counters.frames_read)),
    (Metric::WorkerReadBytes, |w| count(w.counters.bytes_read)),
    (Metric::WorkerDatagrams, |w| count(w.counters.datagrams)),
    (Metric::WorkerMatched, |w| count(w.counters.matched)),
    (Metric::WorkerCopies, |w| count(w.counters.copies)),
    (Metric::WorkerSent, |w| count(w.counters.sent)),
    (Metric::WorkerSentBytes, |w| count(w.counters.sent_bytes)),
    (Metric::WorkerBatchSize, |w| {
        let sizes = Some(&*w.batch_sizes).filter(|sizes| !sizes.is_empty());
        sizes.map(|sizes| Value::Sizes(sizes, w.counters.frames_read))
    }),
    (Metric::WorkerSends, |w| count(w.counters.sends)),
    (Metric::WorkerGsoRefused, |w| count(w.counters.gso_refused)),
    (Metric::WorkerWakeUps, |w| count(w.counters.wake_ups)),
    (Metric::WorkerSystemCalls, |w| count(w.counters.system_calls)),
    (Metric::WorkerBusy, |w| Some(Value::Real(w.counters.busy_ns as f64 / 1e9))),
    (Metric::WorkerCommands, |w| count(w.counters.commands)),
    (Metric::WorkerCommandsRefused, |w| count(w.counters.commands_refused)),
    (Metric::WorkerLogRecordsDropped, |w| count(w.counters.log_records_dropped)),
    (Metric::WorkerStuckRings, |w| count(w.counters.stuck_rings)),
];

/// A metric and its numbers by reason.
type ByReason<T> = (Metric, fn(&T) -> &BTreeMap<String, u64>);

/// Of each worker, by reason.
pub(super) const WORKER_BY_REASON: &[ByReason<CoreStats>] = &[
    (Metric::WorkerDrops, |counters| &counters.drops),
    (Metric::WorkerEgressErrors, |counters| &counters.errors),
];

/// Of each ring.
pub(super) const RING: &[Series<RingStats>] = &[
    (Metric::RingSlots, |r| count(r.slots)),
    (Metric::RingSlotBytes, |r| count(r.slot_bytes)),
    (Metric::RingUsed, |r| count(r.in_use)),
    (Metric::RingHighWater, |r| count(r.high_water)),
    (Metric::RingExhausted, |r| count(r.exhausted)),
    (Metric::RingReceived, |r| count(r.received)),
    (Metric::RingKernelDropped, |r| count(r.kernel_drops)),
    (Metric::RingRead, |r| count(r.frames_read)),
];

/// Of each rule.
pub(super) const RULE: &[Series<RuleRow>] = &[
    (Metric::RuleActive, |r| Some(r.is_active.into())),
    (Metric::RuleReceived, |r| count(r.packets)),
    (Metric::RuleReceivedBytes, |r| count(r.bytes)),
    (Metric::RuleLastPacket, |r| r.last_packet_s.map(Value::Real)),
];

/// Of each output, beside its errors.
pub(super) const OUTPUT: &[Series<OutputRow>] = &[
    (Metric::OutputSent, |o| count(o.tally.sent)),
    (Metric::OutputSentBytes, |o| count(o.tally.bytes)),
    (Metric::OutputUnreachable, |o| count(o.unreachable)),
    (Metric::OutputReplies, |o| count(o.replies)),
    (Metric::OutputDoubtful, |o| count(o.doubtful)),
];

#[expect(clippy::unnecessary_wraps, reason = "what a series gives")]
fn count(number: u64) -> Option<Value<'static>> {
    Some(Value::Count(number))
}
