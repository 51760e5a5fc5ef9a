//! The log levels that every worker is to have.

use mcr_api::log::Levels;
use mcr_api::worker::WorkerCommand;

/// The levels, and how often they have changed: a worker's ledger says which it has.
#[derive(Debug, Default)]
pub(crate) struct LogLevels {
    revision: u64,
    levels: Levels,
}

impl LogLevels {
    /// Workers begin with the default.
    pub(crate) fn new(levels: Levels) -> Self {
        Self { revision: u64::from(levels != Levels::default()), levels }
    }

    pub(crate) fn set(&mut self, levels: Levels) {
        self.revision += 1;
        self.levels = levels;
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// All of them, so that it does not matter what came of the command before.
    pub(crate) fn command(&self) -> WorkerCommand {
        WorkerCommand::SetLogLevel { revision: self.revision, levels: self.levels.clone() }
    }
}
