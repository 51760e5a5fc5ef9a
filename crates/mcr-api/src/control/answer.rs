//! The answers to commands other than `GetStats`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Event, Stats, Traces, TracesEnded, Tracing};
use crate::log::Levels;
use crate::rule::RuleSpec;
use crate::worker::Confinement;
use crate::worker::launch::Mechanism;

/// Any answer, as the daemon writes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To `GetVersion`.
    Version(Version),
    /// To `AddRule`.
    Added(Added),
    /// To `RemoveRule`.
    Removed(Removed),
    /// To `Reload`.
    Reloaded(Reloaded),
    /// To `ListRules`.
    Rules(Rules),
    /// To `ListWorkers`.
    Workers(Workers),
    /// To `GetStats`.
    Stats(Box<Stats>),
    /// To `GetEvents`.
    Events(Events),
    /// To `Subscribe`.
    Subscribed(Subscribed),
    /// To `SetLogLevel`.
    LogLevels(Levels),
    /// To `EnableTrace`.
    Tracing(Tracing),
    /// To `DisableTrace`.
    TracesEnded(TracesEnded),
    /// To `GetTrace`.
    Traces(Traces),
}

/// The daemon that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The daemon's version.
    pub version: String,
    /// Its [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION).
    pub protocol: u32,
}

/// A rule is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// Its id.
    pub rule: u64,
    /// Whether it is new; `false` where the identical rule was held already.
    pub created: bool,
    /// Whether every live worker has it; `false` where the answer did not wait any longer.
    pub applied: bool,
    /// Whether it can relay.
    pub state: RuleState,
    /// Problems that keep it or one of its outputs from relaying, or from being exclusive.
    pub problems: Vec<String>,
}

/// A rule is held no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The id that it had.
    pub rule: u64,
    /// Whether every live worker has dropped it.
    pub applied: bool,
}

/// The configuration file is carried out as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Rules that it had not, or had otherwise.
    pub new: usize,
    /// Rules that it has no longer, or has otherwise now.
    pub gone: usize,
    /// Rules that were not touched.
    pub kept: usize,
    /// Whether every live worker has all of it; `false` where the answer did not wait any longer.
    pub applied: bool,
}

/// Every rule, in the order of ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<RuleStatus>,
}

/// A rule and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// Its id.
    pub id: u64,
    /// The rule as declared.
    #[serde(flatten)]
    pub rule: RuleSpec,
    /// Whether it can relay.
    pub state: RuleState,
    /// What keeps it or one of its outputs from relaying, or from being exclusive; may be there in
    /// either state.
    pub problems: Vec<String>,
}

/// The latest events, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// The events.
    pub events: Vec<Event>,
}

/// Events follow, one JSON object a line, until either side closes the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// The number of the latest event at this moment; 0: there has been none. Less than one that a
    /// client knows of: the daemon has been started anew.
    pub latest: u64,
}

/// Whether a rule can relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleState {
    /// Its input is being read.
    Active,
    /// It waits for its input's interface.
    #[default]
    Pending,
}

impl fmt::Display for RuleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Every worker, in the order of numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workers {
    /// The generation that the workers should have.
    pub generation: u64,
    /// How frames are divided among them: `cpu`, by the core that received them, every worker with
    /// every rule, or `hash`, by their destination, each worker with its share of the rules.
    #[serde(default)]
    pub steering: String,
    /// The longest that the supervisor's loop was busy in one turn since its start, in
    /// microseconds: as long clients and other workers had to wait.
    #[serde(default)]
    pub supervisor_longest_turn_us: u64,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
}

/// How a worker is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number, from 0.
    pub worker: u32,
    /// The processor that it is pinned to.
    pub core: u32,
    /// Its process; `None` while there is none.
    pub pid: Option<u32>,
    /// The worker's state.
    pub state: WorkerState,
    /// How it reaches the kernel; `None` until it has said so.
    pub io: Option<Mechanism>,
    /// How far it is confined; `None` until it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confinement: Option<Confinement>,
    /// The last generation that it has applied whole.
    pub generation: u64,
    /// Whether it holds exactly what it should.
    pub in_sync: bool,
    /// How many rules it holds.
    pub rules: u64,
    /// Milliseconds since its loop last turned; `None` before it first did.
    pub heartbeat_age_ms: Option<u64>,
    /// Whether its rings overflow although it never rests: it sheds frames, and goes on.
    #[serde(default)]
    pub overloaded: bool,
    /// Microseconds of the longest turn of its loop since its start.
    #[serde(default)]
    pub longest_turn_us: u64,
    /// How often it has been replaced.
    pub restarts: u64,
    /// Milliseconds until the next start of one that died repeatedly; `None` where none is awaited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_left_ms: Option<u64>,
    /// Commands that did not fit its socket since the daemon's start; repairs bring what they said.
    #[serde(default)]
    pub commands_lost: u64,
    /// How often it was sent the full rule set because it held another one.
    #[serde(default)]
    pub repairs: u64,
    /// How the last one ended, such as `killed by signal 9`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
}

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Its process is being set up.
    Starting,
    /// It relays.
    Running,
    /// It relays, and is being sent the full rule set.
    Resyncing,
    /// It died repeatedly, and the next start is being held back.
    BackingOff,
    /// It finishes what is in flight.
    Stopping,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
