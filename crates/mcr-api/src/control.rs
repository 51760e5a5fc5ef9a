//! The control protocol: one JSON object a line over a Unix stream socket, requests answered in
//! order.

mod access;
mod answer;
mod error;
mod event;
mod request;
mod response;
mod stats;
#[cfg(test)]
mod tests;
mod trace;

pub use crate::worker::launch::{Mechanism, Sandbox};
pub use crate::worker::{Confinement, Lack};
pub use mcr_core::steering::Steering;

pub use access::{Access, read_only_path};
pub use answer::{
    Added, Answer, Events, Reloaded, Removed, RuleState, RuleStatus, Rules, Subscribed, Version,
    WorkerState, WorkerStatus, Workers,
};
pub use error::{ErrorBody, ErrorCode};
pub use event::{About, Event, EventKind};
pub use request::{Command, RefusedRequest, Request, RuleReference, Selection};
pub use response::Response;
pub use stats::{
    BufferStats, CoreRates, CoreReport, CoreStats, OutputStats, Rates, RingClass, RingStats,
    RuleStats, Stats, Unaccounted,
};
pub use trace::{
    TraceCursor, TraceEvent, TraceOrder, TraceReading, TraceStep, TraceSubject, Traces,
    TracesEnded, Tracing,
};

/// Rises with every change that an old client or daemon would misunderstand.
pub const PROTOCOL_VERSION: u32 = 1;

/// Default path of the daemon's control socket.
pub const DEFAULT_CONTROL_PATH: &str = "/run/mcr/control.sock";
