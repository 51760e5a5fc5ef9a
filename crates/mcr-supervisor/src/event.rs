//! Events of the supervisor's one loop.

use std::sync::Arc;

use mcr_api::config::Config;
use mcr_api::control::Command;
use mcr_core::ids::WorkerId;
use mcr_core::interfaces::Interfaces;
use mcr_core::plan::Resource;
use mcr_sys::icmp::Unreachable;
use tokio::sync::oneshot;

use crate::asked::Ticket;
use crate::configuration::ReloadError;
use crate::control::{Asker, Peer, Reply};
use crate::interfaces::Silent;
use crate::metrics;
use crate::resources::Refusal;
use crate::resources::ingress::{NewSpare, Opened, Opening, Retired};

/// Something to react to.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client asks.
    Request { command: Command, from: Arc<Peer>, reply: oneshot::Sender<Reply> },
    /// A worker process ended.
    WorkerExited { worker: WorkerId, incarnation: u64, how: String },
    /// A worker's command socket, once full, has room again.
    WorkerWritable { worker: WorkerId, incarnation: u64 },
    /// The kernel has answered for a membership or an exclusion.
    Acquired { resource: Resource, ticket: Ticket, outcome: Result<(), Refusal> },
    /// The sockets of an ingress were opened, or refused.
    IngressOpened { opening: Opening, outcome: Result<Opened, Refusal> },
    /// A spare socket was opened, or refused.
    SpareOpened(NewSpare),
    /// A dead worker's socket has left its steering group; its set may have a spare again.
    Retired { retired: Retired, spare: Option<NewSpare> },
    /// The interfaces were read again.
    Observed(Interfaces),
    /// Other neighbours of outputs are silent than before.
    Neighbours(Silent),
    /// The network says that datagrams did not arrive.
    Unreachable(Vec<Unreachable>),
    /// The configuration file is to be read again (SIGHUP).
    Reload,
    /// It has been, for a client or after a signal.
    ConfigurationRead { read: Result<Config, ReloadError>, asker: Asker },
    /// The metrics' server asks.
    Metrics(metrics::Question),
    /// The daemon is to end (SIGTERM, SIGINT).
    Terminate,
}

impl Event {
    /// For the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Request { .. } => "request",
            Self::WorkerExited { .. } => "exit of a worker",
            Self::WorkerWritable { .. } => "room in a worker's socket",
            Self::Acquired { .. } => "answer of the kernel",
            Self::IngressOpened { .. } => "opened rings",
            Self::SpareOpened(_) => "opened spare ring",
            Self::Retired { .. } => "retired ring",
            Self::Observed(_) => "interfaces",
            Self::Neighbours(_) => "neighbours",
            Self::Unreachable(_) => "ICMP reports",
            Self::Reload => "reload",
            Self::ConfigurationRead { .. } => "configuration",
            Self::Metrics(_) => "metrics",
            Self::Terminate => "end",
        }
    }
}
