//! The metrics by name: what Prometheus, dashboards and alert rules rely on.
//!
//! The supervisor exports exactly these; `docs/observing.md` and what is in `packaging/` are tested
//! against them. Names and units follow OpenMetrics 1.0 and the Prometheus naming practices: the
//! unit stands last in the name, before the `_total` of a counter.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, while the daemon lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, in buckets.
    Histogram,
    /// Says something in its labels; its value is 1.
    Info,
}

impl Kind {
    /// The type's name in OpenMetrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// The suffix of its samples' names.
    pub const fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total"],
            Self::Gauge => &[""],
            Self::Histogram => &["_bucket", "_sum", "_count"],
            Self::Info => &["_info"],
        }
    }
}

/// The description of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// The family's name, its unit included and the suffix of its kind not.
    pub family: &'static str,
    /// The unit, with which the family's name ends; empty where there is none.
    pub unit: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The labels' names, in the order in which they are written.
    pub labels: &'static [&'static str],
    /// Its meaning, in a sentence.
    pub help: &'static str,
}

/// Makes the enum of all metrics: `Member = kind "family" unit [labels], help;`.
macro_rules! metrics {
    ($(
        $member:ident = $kind:ident $family:literal $unit:literal $labels:expr, $help:literal;
    )*) => {
        /// A metric family.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $help] $member,)*
        }

        impl Metric {
            /// Every metric, in the order in which they are exported.
            pub const ALL: &[Self] = &[$(Self::$member,)*];

            /// Its description.
            pub const fn description(self) -> &'static Description {
                match self {
                    $(Self::$member => &Description {
                        family: $family,
                        unit: $unit,
                        kind: Kind::$kind,
                        labels: $labels,
                        help: $help,
                    },)*
                }
            }
        }
    };
}

const NONE: &[&str] = &[];
const WORKER: &[&str] = &["worker", "core"];
const WORKER_REASON: &[&str] = &["worker", "core", "reason"];
const RING: &[&str] = &["worker", "interface", "class"];
const RULE: &[&str] = &["rule", "name", "input"];
const OUTPUT: &[&str] = &["rule", "name", "output"];
const OUTPUT_REASON: &[&str] = &["rule", "name", "output", "reason"];

metrics! {
    Build = Info "mcr_build" "" &["version"], "The version of mcrd.";
    Uptime = Gauge "mcr_uptime_seconds" "seconds" NONE, "Time since the daemon's start.";
    Ready = Gauge "mcr_ready" "" NONE, "1 where /readyz answers 200, else 0.";
    Rules = Gauge "mcr_rules" "" &["state"],
        "Rules that can relay (active) and that wait for an interface or a socket (pending).";
    SeriesOmitted = Gauge "mcr_metrics_series_omitted" "" NONE,
        "Series of rings, rules and outputs left out here, beyond their limit.";
    ConnectionsDropped = Counter "mcr_metrics_connections_dropped" "" NONE,
        "Connections to this exporter closed early, to make room for newer ones.";

    SupervisorLongestTurn = Gauge "mcr_supervisor_longest_turn_seconds" "seconds" NONE,
        "The longest that the supervisor's loop was busy in one turn, since its start.";
    RingMemory = Gauge "mcr_ring_memory_bytes" "bytes" NONE,
        "Memory of all receive rings, spare ones and those being closed included.";

    ControlClients = Gauge "mcr_control_clients" "" NONE, "Clients of the control sockets.";
    ControlRefusals = Counter "mcr_control_refusals" "" &["reason"],
        "Clients and requests of the control sockets refused, slowed or left, by reason.";
    AuditRecords = Counter "mcr_audit_records" "" NONE,
        "Changes asked for and audited: the number of the latest audit line.";

    WorkerUp = Gauge "mcr_worker_up" "" WORKER,
        "1 where the worker relays and its loop turns, else 0.";
    WorkerInSync = Gauge "mcr_worker_in_sync" "" WORKER,
        "1 where it holds every rule that was declared a moment ago, else 0.";
    WorkerHeartbeatAge = Gauge "mcr_worker_heartbeat_age_seconds" "seconds" WORKER,
        "Time since its loop last turned; absent where there is no process.";
    WorkerOverloaded = Gauge "mcr_worker_overloaded" "" WORKER,
        "1 where its rings overflow although it never rests, else 0.";
    WorkerLongestTurn = Gauge "mcr_worker_longest_turn_seconds" "seconds" WORKER,
        "Longest turn of its loop since its start.";
    WorkerLongTurns = Counter "mcr_worker_long_turns" "" WORKER,
        "Turns of its loop longer than 2 ms.";
    WorkerRestarts = Counter "mcr_worker_restarts" "" WORKER,
        "Times that its process was started anew.";
    WorkerRepairs = Counter "mcr_worker_repairs" "" WORKER,
        "Times that it was sent everything because it held something else than it should.";
    WorkerCommandsLost = Counter "mcr_worker_commands_lost" "" WORKER,
        "Commands that did not fit its socket, and were repaired.";
    WorkerReceived = Counter "mcr_worker_received_frames" "frames" WORKER,
        "Frames that passed the kernel's filter, those dropped by the kernel included.";
    WorkerKernelDropped = Counter "mcr_worker_kernel_dropped_frames" "frames" WORKER,
        "Of these, frames that the kernel dropped for want of a ring slot.";
    WorkerRead = Counter "mcr_worker_read_frames" "frames" WORKER, "Frames read from the rings.";
    WorkerReadBytes = Counter "mcr_worker_read_bytes" "bytes" WORKER,
        "Bytes of the frames read, from the link-layer header on.";
    WorkerDatagrams = Counter "mcr_worker_datagrams" "" WORKER,
        "Datagrams in the frames read; only a super-frame is more than one.";
    WorkerMatched = Counter "mcr_worker_matched_datagrams" "datagrams" WORKER,
        "Datagrams that a rule matched.";
    WorkerDrops = Counter "mcr_worker_drops" "" WORKER_REASON,
        "Datagrams not forwarded, by drop reason.";
    WorkerCopies = Counter "mcr_worker_wanted_copies" "copies" WORKER,
        "Copies that the matched rules wanted sent: the sum of their fan-out.";
    WorkerSent = Counter "mcr_worker_sent_copies" "copies" WORKER, "Copies that the kernel took.";
    WorkerSentBytes = Counter "mcr_worker_sent_bytes" "bytes" WORKER,
        "Payload bytes of the copies sent.";
    WorkerEgressErrors = Counter "mcr_worker_egress_errors" "" WORKER_REASON,
        "Copies not sent, by egress error.";
    WorkerBatchSize = Histogram "mcr_worker_batch_size" "" WORKER,
        "Batches of frames read, by how many frames they had.";
    WorkerSends = Counter "mcr_worker_sends" "" WORKER,
        "Send operations; a GSO run of many copies is one.";
    WorkerGsoRefused = Counter "mcr_worker_gso_refused" "" WORKER,
        "GSO runs that the kernel refused as a whole and took singly.";
    WorkerWakeUps = Counter "mcr_worker_wake_ups" "" WORKER, "Waits that ended.";
    WorkerSystemCalls = Counter "mcr_worker_system_calls" "" WORKER,
        "System calls of the loop: sends, waits, looks for commands.";
    WorkerBusy = Counter "mcr_worker_busy_seconds" "seconds" WORKER,
        "Time spent other than waiting, so busy polling, too; its rate is the core's busy share.";
    WorkerCommands = Counter "mcr_worker_commands" "" WORKER, "Commands carried out.";
    WorkerCommandsRefused = Counter "mcr_worker_commands_refused" "" WORKER,
        "Commands that could not be understood or done.";
    WorkerLogRecordsDropped = Counter "mcr_worker_log_records_dropped" "" WORKER,
        "Log records lost because the pipe to the supervisor was full.";
    WorkerStuckRings = Counter "mcr_worker_stuck_rings" "" WORKER,
        "Rings found to take nothing any more; each was made anew.";

    RingSlots = Gauge "mcr_ring_slots" "slots" RING, "Slots of the receive ring.";
    RingSlotBytes = Gauge "mcr_ring_slot_bytes" "bytes" RING, "Bytes of a slot.";
    RingUsed = Gauge "mcr_ring_used_slots" "slots" RING,
        "Slots that held unread frames when last looked.";
    RingHighWater = Gauge "mcr_ring_high_water_slots" "slots" RING,
        "The most slots ever seen in use.";
    RingExhausted = Counter "mcr_ring_exhausted" "" RING,
        "Times that every slot was found in use.";
    RingReceived = Counter "mcr_ring_received_frames" "frames" RING,
        "Frames that passed the socket's filter, those dropped by the kernel included.";
    RingKernelDropped = Counter "mcr_ring_kernel_dropped_frames" "frames" RING,
        "Of these, frames that the kernel dropped for want of a slot.";
    RingRead = Counter "mcr_ring_read_frames" "frames" RING, "Frames read from the ring.";

    RuleActive = Gauge "mcr_rule_active" "" RULE,
        "1 where the rule can relay, 0 where it is pending.";
    RuleReceived = Counter "mcr_rule_received_packets" "packets" RULE,
        "Datagrams that the rule matched.";
    RuleReceivedBytes = Counter "mcr_rule_received_bytes" "bytes" RULE,
        "Payload bytes of the datagrams that the rule matched.";
    RuleLastPacket = Gauge "mcr_rule_last_packet_timestamp_seconds" "seconds" RULE,
        "When the last datagram came that the rule matched, in Unix time; absent before the first.";

    OutputSent = Counter "mcr_output_sent_packets" "packets" OUTPUT, "Copies that the kernel took.";
    OutputSentBytes = Counter "mcr_output_sent_bytes" "bytes" OUTPUT,
        "Payload bytes of the copies sent.";
    OutputUnreachable = Counter "mcr_output_unreachable_reports" "reports" OUTPUT,
        "ICMP destination-unreachable reports about copies sent to that destination.";
    OutputReplies = Counter "mcr_output_replies" "" OUTPUT,
        "Datagrams that came to the output's source port, where it is MCR's own.";
    OutputDoubtful = Counter "mcr_output_doubtful" "" OUTPUT,
        "Copies sent while the output's host or gateway did not answer ARP or neighbour discovery.";
    OutputErrors = Counter "mcr_output_errors" "" OUTPUT_REASON,
        "Copies not sent, by egress error; only for errors that have occurred.";
}

impl Metric {
    /// The names of its samples: what a query asks for.
    pub fn samples(self) -> impl Iterator<Item = String> {
        let description = self.description();
        description.kind.suffixes().iter().map(|suffix| format!("{}{suffix}", description.family))
    }

    /// The family's name without its unit.
    pub fn stem(self) -> &'static str {
        let Description { family, unit, .. } = *self.description();
        let stem = family.strip_suffix(unit).unwrap_or(family);
        if unit.is_empty() { stem } else { stem.trim_end_matches('_') }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn is_name(text: &str) -> bool {
        let mut characters = text.chars();
        characters.next().is_some_and(|c| c.is_ascii_lowercase())
            && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in Metric::ALL {
            let Description { family, unit, labels, .. } = *metric.description();
            assert!(is_name(family) && family.starts_with("mcr_"), "{family}");
            assert!(labels.iter().all(|label| is_name(label) && *label != "le"), "{family}");
            let ends_with_unit = unit.is_empty() || family.ends_with(&format!("_{unit}"));
            assert!(ends_with_unit, "{family} does not end with its unit {unit}");
            assert!(
                !["_total", "_info", "_count", "_sum", "_bucket", "_created"]
                    .iter()
                    .any(|reserved| family.ends_with(reserved))
            );
        }
    }

    #[test]
    fn help_is_a_sentence_that_needs_no_escape() {
        for metric in Metric::ALL {
            let help = metric.description().help;
            assert!(help.ends_with('.') && !help.contains(['\\', '"', '\n']), "{help}");
        }
    }

    #[test]
    fn no_two_samples_share_a_name() {
        let names: Vec<String> = Metric::ALL.iter().flat_map(|metric| metric.samples()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn a_stem_and_a_unit_make_the_family() {
        assert_eq!(Metric::WorkerBusy.stem(), "mcr_worker_busy");
        assert_eq!(Metric::RingSlots.stem(), "mcr_ring");
        assert_eq!(Metric::WorkerUp.stem(), "mcr_worker_up");
        let busy: Vec<_> = Metric::WorkerBusy.samples().collect();
        assert_eq!(busy, ["mcr_worker_busy_seconds_total"]);
    }
}
