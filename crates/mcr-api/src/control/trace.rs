//! Traces: what is asked for, and the steps of datagrams' lives that come of it.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::RuleReference;

/// The subject of a trace: exactly one of a rule and an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceOrder {
    /// The datagrams that are this rule's, those included that something is wrong with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleReference>,
    /// Datagrams that come in by this interface and match no rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The first of so many datagrams, again and again; `None`: every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_in: Option<NonZeroU32>,
    /// The trace ends after so many datagrams; `None`: only with its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datagrams: Option<u64>,
    /// The trace ends after so many seconds; `None`: after
    /// [`TRACE_SECONDS`](crate::limits::TRACE_SECONDS). Asking for the same trace again gives it
    /// its time anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<NonZeroU32>,
}

/// Traces to end or to read: a rule's, an interface's, or both `None`, all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSubject {
    /// The rule's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleReference>,
    /// The interface's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// A selection of the events that the workers keep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceReading {
    /// Only this rule's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleReference>,
    /// Only those of what came in by this interface and was no rule's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Only those after the ones that an earlier answer held: its cursor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cursor: Vec<TraceCursor>,
}

/// How far the events of one worker process have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceCursor {
    /// The worker's number.
    pub worker: u32,
    /// The number of its process, since a new one begins anew.
    pub incarnation: u64,
    /// The number of the next event.
    pub next: u64,
}

/// To `EnableTrace`: it is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracing {
    /// The number of the first event to come.
    pub cursor: Vec<TraceCursor>,
    /// When it ends at the latest, in seconds from now.
    pub seconds: u32,
    /// Whether every live worker traces; `false` where the answer did not wait any longer.
    pub applied: bool,
}

/// To `DisableTrace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracesEnded {
    /// How many were on.
    pub ended: usize,
}

/// To `GetTrace`: events in the order of their times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// The events.
    pub events: Vec<TraceEvent>,
    /// The position to read on from.
    pub cursor: Vec<TraceCursor>,
    /// Events after the cursor asked with that had been overwritten before they were read, of all
    /// traces together.
    pub missed: u64,
    /// Traces that are on.
    pub running: usize,
}

/// One step in a datagram's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// When, in nanoseconds since 1970 (UTC).
    pub time_ns: u64,
    /// The worker that had it.
    pub worker: u32,
    /// The number of its process.
    pub incarnation: u64,
    /// That process's number for the datagram, the same in all steps.
    pub datagram: u64,
    /// The rule's id; `None`: no rule's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u64>,
    /// The interface that it came in by.
    pub interface: String,
    /// Whether its frame begins with an Ethernet header, and not with IP's.
    pub ethernet: bool,
    /// The step.
    #[serde(flatten)]
    pub step: TraceStep,
    /// Its source; of a copy, the source that it is sent from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SocketAddr>,
    /// Its destination; of a copy, the destination that it is sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<SocketAddr>,
    /// Bytes of its frame as received.
    pub length: u32,
    /// The first of them, at most `mcr_core::trace::HEAD_BYTES`, in hexadecimal digits.
    pub head: String,
}

/// A step in the life of a datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum TraceStep {
    /// The kernel had received it.
    Received,
    /// Its rule takes it, for so many outputs.
    Forwarded {
        /// How many.
        outputs: u32,
    },
    /// It is not forwarded.
    Dropped {
        /// Why: the name of a `mcr_core::verdict::DropReason`.
        reason: String,
    },
    /// A copy is on its way.
    Handed {
        /// The place of the output in its rule, from 0.
        output: u32,
    },
    /// The kernel took that copy.
    Sent {
        /// The place.
        output: u32,
    },
    /// It did not.
    Failed {
        /// The place.
        output: u32,
        /// Why: the name of a `mcr_core::verdict::EgressError`.
        error: String,
        /// The kernel's error number (errno(3)); 0 where it was not asked.
        errno: u16,
    },
}
