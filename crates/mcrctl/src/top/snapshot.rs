//! Snapshots of the daemon, and the thread that asks for them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use mcr_api::control::{
    Command, RuleState, RuleStats, Rules, Selection, Stats, WorkerStatus, Workers,
};

use crate::client::{ClientError, Connection};
use crate::limits;

/// Everything that `top` shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// The counters and rates.
    pub(super) stats: Stats,
    /// The workers.
    pub(super) workers: Vec<WorkerStatus>,
    /// The problems that keep rules from relaying, by their ids; only rules with problems.
    pub(super) problems: BTreeMap<u64, Vec<String>>,
}

/// Asks the daemon for snapshots, over one connection.
pub(super) struct Observer {
    connection: Connection,
    problems: BTreeMap<u64, Vec<String>>,
    /// When these were read, and how many rules there were then and were pending.
    read: Option<(Instant, [usize; 2])>,
}

impl Observer {
    /// One of the daemon at this path.
    pub(super) fn new(control: &Path) -> Self {
        Self { connection: Connection::new(control), problems: BTreeMap::new(), read: None }
    }

    /// The daemon as it is now.
    pub(super) fn look(&mut self) -> Result<Snapshot, ClientError> {
        let everything = Command::GetStats(Selection::default());
        let stats: Stats = self.connection.read(&everything)?;
        let Workers { workers, .. } = self.connection.read(&Command::ListWorkers {})?;
        self.look_for_problems(&stats.rules)?;
        Ok(Snapshot { stats, workers, problems: self.problems.clone() })
    }

    fn look_for_problems(&mut self, rules: &[RuleStats]) -> Result<(), ClientError> {
        let pending = rules.iter().filter(|rule| rule.state == RuleState::Pending).count();
        let now = [rules.len(), pending];
        let is_fresh =
            |(at, then): (Instant, _)| at.elapsed() < limits::PROBLEMS_AGE && then == now;
        if self.read.is_some_and(is_fresh) {
            return Ok(());
        }
        let Rules { rules } = self.connection.read(&Command::ListRules {})?;
        let troubled = rules.into_iter().filter(|rule| !rule.problems.is_empty());
        self.problems = troubled.map(|rule| (rule.id, rule.problems)).collect();
        self.read = Some((Instant::now(), now));
        Ok(())
    }
}
