//! What the supervisor tells a worker: one JSON object, with the descriptors that it is about, a
//! message of a `SOCK_SEQPACKET` socket pair.
//!
//! Whatever a message says is checked while it is read: no number that [`decode`] lets through is
//! outside the ledger's places, so that a bad message is refused and never a panic.

mod chunks;
mod confinement;
pub mod launch;
mod route;
#[cfg(test)]
mod tests;
mod trace;
mod wire;

use std::net::SocketAddr;
use std::num::NonZeroU32;

use mcr_core::endpoint::InterfaceName;
use mcr_core::ids::{EgressId, IfIndex, IngressId, RuleId, RuleSlot};
use mcr_core::interfaces::{HardwareAddress, LinkLayer};
use mcr_core::route::{Route, StateHash};
use mcr_core::trace::Subject;
use serde::{Deserialize, Serialize};

use crate::limits::MAX_MESSAGE_BYTES;
use crate::log::Levels;

pub use chunks::sync_chunks;
pub use confinement::{Confinement, Lack};

/// One command and the generation of the desired state that it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerMessage {
    /// The generation that the worker's ledger names once the command is carried out.
    pub generation: u64,
    /// The command.
    pub command: WorkerCommand,
}

/// A command to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum WorkerCommand {
    /// Read frames from the packet socket that comes with the message.
    OpenIngress(Ingress),
    /// Stop reading from an ingress socket and close it.
    CloseIngress {
        /// The set of sockets.
        #[serde(with = "wire::ingress_id")]
        ingress: IngressId,
    },
    /// Send by the UDP socket that comes with the message, where routes say so.
    OpenEgress {
        /// The name that routes have for it.
        #[serde(with = "wire::egress_id")]
        egress: EgressId,
        /// The interface's MTU in bytes, which bounds the segments of a GSO run.
        mtu: u32,
        /// The address and port that it is bound to. They, the interface and its hardware address
        /// tell own transmissions.
        source: SocketAddr,
        /// The interface.
        #[serde(with = "wire::ifindex")]
        ifindex: IfIndex,
        /// The interface's hardware address, where it has one.
        hardware: Option<HardwareAddress>,
    },
    /// Close an egress socket; no route names it any more.
    CloseEgress {
        /// The set of sockets.
        #[serde(with = "wire::egress_id")]
        egress: EgressId,
    },
    /// Take a route in, in place of the one that has its slot.
    AddRule {
        /// The route.
        #[serde(with = "route")]
        route: Route,
    },
    /// Drop a route.
    RemoveRule {
        /// Its slot.
        #[serde(with = "wire::rule_slot")]
        slot: RuleSlot,
        /// The rule that must be there; another one stays.
        #[serde(with = "wire::rule_id")]
        id: RuleId,
    },
    /// Nothing: the change to this generation is another worker's.
    Pass,
    /// The full set of routes follows; relay by the present one until it is whole.
    SyncBegin,
    /// Some of that set.
    SyncRules {
        /// The routes, at most [`ROUTES_PER_MESSAGE`](crate::limits::ROUTES_PER_MESSAGE), with
        /// at most [`OUTPUTS_PER_MESSAGE`](crate::limits::OUTPUTS_PER_MESSAGE) together.
        #[serde(with = "route::list")]
        routes: Vec<Route>,
    },
    /// The set is whole: relay by it from now on. A worker that was told something else refuses,
    /// and keeps what it has.
    SyncCommit {
        /// The hash of the whole state that has been told.
        #[serde(with = "wire::StateHashDef")]
        hash: StateHash,
    },
    /// Trace by exactly these orders from now on. An order that is in force already goes on.
    SetTraces {
        /// The revision that the worker's ledger names once it does.
        revision: u64,
        /// The orders, at most `mcr_core::limits::TRACES`, each at a place of its own.
        #[serde(deserialize_with = "trace::at_most_all")]
        orders: Vec<TraceOrder>,
    },
    /// Let log records through by these levels.
    SetLogLevel {
        /// How often they have changed: what the ledger says once they are in force.
        revision: u64,
        /// The levels of all areas.
        levels: Levels,
    },
    /// Finish what is in flight and exit.
    Stop,
}

/// A trace: its subject, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceOrder {
    /// Its number; never used again.
    pub id: u64,
    /// The place in the ledger of its count of datagrams, below `mcr_core::limits::TRACES`.
    #[serde(deserialize_with = "trace::place")]
    pub place: usize,
    /// Its subject.
    #[serde(with = "trace::SubjectDef")]
    pub subject: Subject,
    /// The first datagram of so many, again and again.
    pub one_in: NonZeroU32,
    /// Not more of them than this.
    pub datagrams: u64,
}

/// A packet socket with its receive ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingress {
    /// The name by which it is closed.
    #[serde(with = "wire::ingress_id")]
    pub ingress: IngressId,
    /// The number of its ring record in the ledger, below `mcr_core::limits::INGRESSES`.
    #[serde(with = "wire::ring_place")]
    pub place: usize,
    /// The interface's number.
    #[serde(with = "wire::ifindex")]
    pub ifindex: IfIndex,
    /// The interface's name, for log records.
    #[serde(with = "wire::interface")]
    pub interface: InterfaceName,
    /// The first header of its frames.
    #[serde(with = "wire::LinkLayerDef")]
    pub link: LinkLayer,
    /// The interface's MTU in bytes.
    pub mtu: u32,
    /// Bytes of a ring slot.
    #[serde(deserialize_with = "wire::not_zero")]
    pub slot_bytes: u32,
    /// Slots of the ring.
    #[serde(deserialize_with = "wire::not_zero")]
    pub slots: u32,
}

/// The message's bytes, at most [`MAX_MESSAGE_BYTES`] for every legal route, and for the routes of
/// [`sync_chunks`].
///
/// # Panics
/// If the output slots of a route do not follow each other: the message holds only the first.
pub fn encode(message: &WorkerMessage) -> Vec<u8> {
    serde_json::to_vec(message).expect("text and numbers always become JSON")
}

/// Reads a message.
pub fn decode(bytes: &[u8]) -> Result<WorkerMessage, DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// Why a message is not one.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_MESSAGE_BYTES`].
    #[error("a message of {0} bytes: at most {MAX_MESSAGE_BYTES} are read")]
    TooLong(usize),
    /// Not JSON, not of the expected form, or a number that no supervisor gives.
    #[error("not a worker command: {0}")]
    Malformed(#[from] serde_json::Error),
}
