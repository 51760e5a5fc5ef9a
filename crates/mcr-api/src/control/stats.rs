//! The answer to `GetStats`: every counter since the daemon's start, and the rates of the last
//! second. What an answer does not say is taken to be nothing, so that a client may be newer than
//! the daemon.

use std::collections::BTreeMap;

use mcr_core::counters::{add, sum};
use serde::{Deserialize, Serialize};

use super::RuleState;
use crate::worker::launch::Mechanism;

/// Every counter. Counters without a unit in their name count datagrams, frames or events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Seconds since the daemon's start.
    pub uptime_s: f64,
    /// The sum over the cores.
    pub totals: CoreStats,
    /// Rates over all cores.
    pub rates: Rates,
    /// The numbers that the totals leave open.
    pub unaccounted: Unaccounted,
    /// Each worker's counters.
    pub cores: Vec<CoreReport>,
    /// Memory of all receive rings in bytes, spare ones and those being closed included.
    #[serde(default)]
    pub ring_memory_bytes: u64,
    /// Buffers of egress sockets.
    #[serde(default)]
    pub send_buffers: BufferStats,
    /// Queues of packet sockets for frames longer than a slot of a ring.
    #[serde(default)]
    pub long_frame_queues: BufferStats,
    /// Each receive ring.
    pub rings: Vec<RingStats>,
    /// Each rule.
    pub rules: Vec<RuleStats>,
}

/// Socket buffers of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferStats {
    /// Bytes asked for.
    pub wanted_bytes: u64,
    /// Bytes of the smallest that the kernel gave since the daemon's start: less where
    /// `net.core.wmem_max` or `net.core.rmem_max` limits it.
    pub smallest_bytes: u64,
}

/// Counters of one core, or of all cores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreStats {
    /// Frames that passed the sockets' filters, those dropped by the kernel included.
    pub received: u64,
    /// Of these, frames that the kernel dropped because a ring was full.
    pub kernel_drops: u64,
    /// Frames read from the rings.
    pub frames_read: u64,
    /// Their bytes, from the link-layer header on.
    pub bytes_read: u64,
    /// Datagrams in them: a super-frame of GRO, LRO or a local sender's GSO is several, any other
    /// frame one.
    pub datagrams: u64,
    /// Datagrams that a rule matched.
    pub matched: u64,
    /// Copies that the matched rules wanted sent: the sum of their fan-out.
    pub copies: u64,
    /// Copies that the kernel took.
    pub sent: u64,
    /// Their payload bytes.
    pub sent_bytes: u64,
    /// Datagrams not forwarded, by the name of the reason (`mcr_core::verdict::DropReason`); every
    /// reason is present.
    pub drops: BTreeMap<String, u64>,
    /// Copies not sent, by the name of the reason (`mcr_core::verdict::EgressError`); every reason
    /// is present.
    pub errors: BTreeMap<String, u64>,
    /// Batches of frames read.
    pub batches: u64,
    /// Send operations; a run of many copies sent as one by GSO is one.
    pub sends: u64,
    /// Waits that ended.
    pub wake_ups: u64,
    /// System calls of the workers' loops: to send, to wait, to look for commands.
    pub system_calls: u64,
    /// Nanoseconds spent other than waiting.
    pub busy_ns: u64,
    /// GSO runs that the kernel refused and that went singly.
    pub gso_refused: u64,
    /// Commands carried out.
    pub commands: u64,
    /// Commands that could not be understood or done.
    pub commands_refused: u64,
    /// Turns of the workers' loops longer than 2 ms.
    #[serde(default)]
    pub long_turns: u64,
    /// Log records lost because the pipe was full.
    pub log_records_dropped: u64,
    /// Rings found to take nothing any more; each was made anew.
    #[serde(default)]
    pub stuck_rings: u64,
}

impl CoreStats {
    /// Takes another's counters in.
    pub fn add(&mut self, other: &Self) {
        let counters = [
            (&mut self.received, other.received),
            (&mut self.kernel_drops, other.kernel_drops),
            (&mut self.frames_read, other.frames_read),
            (&mut self.bytes_read, other.bytes_read),
            (&mut self.datagrams, other.datagrams),
            (&mut self.matched, other.matched),
            (&mut self.copies, other.copies),
            (&mut self.sent, other.sent),
            (&mut self.sent_bytes, other.sent_bytes),
            (&mut self.batches, other.batches),
            (&mut self.sends, other.sends),
            (&mut self.wake_ups, other.wake_ups),
            (&mut self.system_calls, other.system_calls),
            (&mut self.busy_ns, other.busy_ns),
            (&mut self.gso_refused, other.gso_refused),
            (&mut self.commands, other.commands),
            (&mut self.commands_refused, other.commands_refused),
            (&mut self.long_turns, other.long_turns),
            (&mut self.log_records_dropped, other.log_records_dropped),
            (&mut self.stuck_rings, other.stuck_rings),
        ];
        for (sum, count) in counters {
            add(sum, count);
        }
        add_each(&mut self.drops, &other.drops);
        add_each(&mut self.errors, &other.errors);
    }

    /// The numbers that these counters leave open.
    pub fn unaccounted(&self) -> Unaccounted {
        let rest = |whole: u64, parts: u64| whole.wrapping_sub(parts).cast_signed();
        let matched = [self.matched].into_iter().chain(self.drops.values().copied());
        let sent = [self.sent].into_iter().chain(self.errors.values().copied());
        Unaccounted {
            received: rest(self.received, sum([self.frames_read, self.kernel_drops])),
            datagrams: rest(self.datagrams, sum(matched)),
            copies: rest(self.copies, sum(sent)),
        }
    }
}

fn add_each(sums: &mut BTreeMap<String, u64>, others: &BTreeMap<String, u64>) {
    for (name, count) in others {
        add(sums.entry(name.clone()).or_default(), *count);
    }
}

/// The accounting identity's three differences. All are 0 when no datagram is on its way; a reader
/// of a running relay sees the few in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unaccounted {
    /// Received, less those read and those dropped by the kernel: frames that wait in the rings.
    pub received: i64,
    /// Datagrams read, less those matched and those dropped.
    pub datagrams: i64,
    /// Copies wanted, less those sent and those that failed.
    pub copies: i64,
}

/// Events a second, over the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Frames received, those dropped by the kernel included.
    pub received_per_s: f64,
    /// Datagrams that a rule matched.
    pub matched_per_s: f64,
    /// Copies sent.
    pub sent_per_s: f64,
    /// Payload bits sent.
    pub sent_bits_per_s: f64,
    /// Frames not forwarded, for every reason.
    pub drops_per_s: f64,
    /// Copies not sent, for every reason.
    pub errors_per_s: f64,
    /// Frames dropped by the kernel.
    pub kernel_drops_per_s: f64,
}

/// One worker's counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CoreReport {
    /// The worker's number.
    pub worker: u32,
    /// The processor that it is pinned to.
    pub core: u32,
    /// How it reaches the kernel; `None` until it has said so.
    pub io: Option<Mechanism>,
    /// Its counters.
    #[serde(flatten)]
    pub counters: CoreStats,
    /// Batches by their size: at place `n` those of 2^n
    /// to 2^(n+1) - 1 frames.
    pub batch_sizes: Vec<u64>,
    /// By how much that grew in each second, over the last one.
    pub rates: CoreRates,
}

/// Rates of one worker, over the last second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CoreRates {
    /// The part of the time, from 0 to 1, spent other than waiting.
    pub busy_share: f64,
    /// Frames read.
    pub frames_per_s: f64,
    /// Batches of frames read.
    pub batches_per_s: f64,
    /// Copies sent.
    pub sent_per_s: f64,
    /// Waits that ended.
    pub wake_ups_per_s: f64,
    /// Datagrams not forwarded, by the name of the reason; every reason is present.
    pub drops_per_s: BTreeMap<String, f64>,
    /// Copies not sent, by the name of the reason; every reason is present.
    pub errors_per_s: BTreeMap<String, f64>,
}

/// The receive ring of one worker on one interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RingStats {
    /// The worker's number.
    pub worker: u32,
    /// The interface's name.
    pub interface: String,
    /// The ring's class.
    pub class: RingClass,
    /// Its slots.
    pub slots: u64,
    /// Bytes of a slot.
    pub slot_bytes: u64,
    /// Slots that held unread frames when last looked.
    pub in_use: u64,
    /// The most slots ever seen in use.
    pub high_water: u64,
    /// How often every slot was found in use.
    pub exhausted: u64,
    /// Frames that passed the socket's filter, those dropped by the kernel included.
    pub received: u64,
    /// Of these, frames that the kernel dropped for want of a slot.
    pub kernel_drops: u64,
    /// Frames read from the ring.
    pub frames_read: u64,
    /// Frames received a second.
    pub received_per_s: f64,
    /// Frames dropped by the kernel a second.
    pub kernel_drops_per_s: f64,
}

/// The size of a ring's slots, by the interface's MTU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RingClass {
    /// 2 KiB.
    #[default]
    Small,
    /// 4 KiB.
    Standard,
    /// 16 KiB.
    Jumbo,
}

/// Statistics of one rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleStats {
    /// The rule's id.
    pub id: u64,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its input, and the source of an (S,G) rule: `239.1.1.1:5000@eth0 from 10.0.0.7`.
    pub input: String,
    /// Whether it can relay.
    pub state: RuleState,
    /// Datagrams that matched.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Datagrams a second.
    pub packets_per_s: f64,
    /// Payload bits a second.
    pub bits_per_s: f64,
    /// Milliseconds since its last datagram; `None` before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_packet_age_ms: Option<u64>,
    /// Its sender, as `ADDRESS:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_source: Option<String>,
    /// Workers to which datagrams of that source came in the last ten seconds. Several work side by
    /// side, and do not keep the order between them.
    pub source_workers: u64,
    /// Its outputs, in the order of the rule.
    pub outputs: Vec<OutputStats>,
}

/// Statistics of one output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputStats {
    /// The output: `ADDRESS:PORT@INTERFACE`.
    pub to: String,
    /// Copies that the kernel took.
    pub sent: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Copies a second.
    pub sent_per_s: f64,
    /// Payload bits a second.
    pub bits_per_s: f64,
    /// Copies not sent, by the name of the reason; only reasons that occurred.
    pub errors: BTreeMap<String, u64>,
    /// Copies not sent a second, for every reason.
    pub errors_per_s: f64,
    /// Reports from the network (ICMP destination unreachable) that a copy sent did not arrive.
    pub unreachable: u64,
    /// Datagrams that came to its source port, where it is MCR's own. Outputs that share the port
    /// share the count, and it begins anew with the port.
    pub replies: u64,
    /// Copies sent while the output's neighbour (the host or its gateway) did not answer ARP or
    /// neighbour discovery. The kernel took them, and most likely dropped them later.
    pub doubtful: u64,
}
