//! The daemon's settings at its start, and why it may refuse to.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use mcr_api::config::{ConfigError, ControlConfig};
use mcr_api::log::Format;
use mcr_api::worker::launch::{Io, Sandbox, Scheduling};
use mcr_core::rule_set::Refused;
use mcr_core::steering::Steering;
use mcr_sys::SetupError;
use mcr_sys::filter::MAX_HASHED_MEMBERS;

/// The settings of [`crate::run`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The control socket's path.
    pub control: PathBuf,
    /// Owner and groups of the control sockets; `None`: as the configuration file says.
    pub control_owner: ControlConfig,
    /// The core of each worker, at least one, each once, all allowed to this process.
    pub cores: Vec<usize>,
    /// How workers are to send and wait.
    pub io: Io,
    /// How frames are divided among the workers; `None`: as the configuration file says.
    pub steering: Option<Steering>,
    /// How workers are to be scheduled.
    pub scheduling: Scheduling,
    /// How long workers look for frames, after the last one, before they wait, in microseconds.
    pub busy_poll_us: u32,
    /// Whether workers give up what relaying does not need.
    pub sandbox: Sandbox,
    /// The user that workers then run as; `None`: `mcr-worker` where there is one, else `nobody`.
    pub worker_user: Option<String>,
    /// The address of the metrics; `None`: as the configuration file says.
    pub metrics: Option<SocketAddr>,
    /// How lines of the log are written; `None`: as the configuration file says, or else as it
    /// suits where they go.
    pub log_format: Option<Format>,
}

/// Why the daemon did not start; each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration file cannot be read.
    #[error("configuration file {path}: {cause}{}", readers(cause))]
    ConfigFile {
        /// The configuration file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The configuration file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A rule of the configuration file does not go with the others.
    #[error("{path}:{line}: {cause}")]
    ConfigRule {
        /// The configuration file.
        path: PathBuf,
        /// The line of the rule.
        line: usize,
        /// Why.
        cause: Refused,
    },
    /// A steering program has room for no more workers.
    #[error(
        "steering by hash serves at most {most} workers, and there would be {workers}: give mcrd \
         fewer --cores, or steer by cpu",
        most = MAX_HASHED_MEMBERS
    )]
    TooManyWorkers {
        /// As many as there are cores.
        workers: usize,
    },
    /// There is no such user to run workers as.
    #[error(
        "there is no user {0:?} to run workers as: make it (useradd --system), or give mcrd \
             another one (--worker-user)"
    )]
    WorkerUser(String),
    /// The process may not do what a relay does.
    #[error(transparent)]
    Permission(SetupError),
    /// Another daemon, or another program, serves the control path.
    #[error("{0}")]
    Live(String),
    /// The control socket cannot be made.
    #[error("{0}")]
    ControlPath(String),
    /// There is no such user or group to own the control socket.
    #[error("{0}")]
    ControlOwner(String),
    /// The control socket cannot be given to that user or group.
    #[error("{0}")]
    ControlNotGiven(String),
    /// The address for the metrics cannot be had.
    #[error("metrics at {address}: {cause}: {}", remedy(cause))]
    MetricsAddress {
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// No worker works.
    #[error("no worker could be started: {0}")]
    Workers(String),
    /// The machine does not give what every daemon of MCR needs.
    #[error("{0}")]
    Machine(String),
    /// The kernel refused what every program may ask for.
    #[error("{what}: {cause}")]
    System {
        /// The call.
        what: &'static str,
        /// The kernel's answer.
        cause: io::Error,
    },
}

/// Why root may not read a file.
fn readers(cause: &io::Error) -> &'static str {
    if cause.kind() == io::ErrorKind::PermissionDenied {
        ": mcrd reads it by its user's own rights, also as root: let that user read it, and its \
         directory"
    } else {
        ""
    }
}

/// The remedy where an address cannot be listened at.
fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; end it, or give mcrd another port (--metrics, or \
             [metrics] listen)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface has that address; give mcrd one of this host's, such as 127.0.0.1 \
             (--metrics, or [metrics] listen)"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE; give mcrd a higher one (--metrics, or \
             [metrics] listen)"
        }
        _ => "give mcrd another address (--metrics, or [metrics] listen)",
    }
}
