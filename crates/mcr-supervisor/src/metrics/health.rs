//! Whether the relay is alive, and whether it does all that its configuration asks for.

use std::time::Duration;

use mcr_api::control::{WorkerState, WorkerStatus};
use mcr_core::plan::Demand;
use mcr_core::rule_set::DeclaredRule;

use crate::limits;
use crate::supervisor::Supervisor;

/// How it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// Whether a worker relays.
    pub(super) is_alive: bool,
    /// The lacks that keep workers and configured rules from working, a line each.
    pub(super) lacks: Vec<String>,
    /// How much more of that there is.
    pub(super) more: usize,
}

impl Health {
    /// Looks at the workers' ledgers and the configured rules.
    pub(super) fn of(supervisor: &Supervisor) -> Self {
        let Supervisor { state, workers, .. } = supervisor;
        let settled = workers.settled_generation();
        let statuses = workers.statuses(&state.holdings);
        let idle = statuses.iter().filter_map(|status| lack_of_worker(status, settled));
        // Rules that clients add may wait for an interface to come; those of the file stand for
        // what the operator wants of this host.
        let configured = state.configured.iter().filter_map(|id| state.rules.get(*id));
        let waiting = configured.filter_map(|declared| {
            let is_active = state.is_active(declared.id);
            lack_of_rule(declared, is_active, state.demands.get(&declared.id)?)
        });
        let mut lacks = idle.chain(waiting);
        Self {
            is_alive: workers.any_alive(),
            lacks: lacks.by_ref().take(limits::LACKS_TOLD).collect(),
            more: lacks.count(),
        }
    }

    /// Whether nothing is missing.
    pub(super) fn is_ready(&self) -> bool {
        self.is_alive && self.lacks.is_empty()
    }

    /// The page that says so, or what is missing.
    pub(super) fn page(&self) -> String {
        if self.is_ready() {
            return "ready\n".into();
        }
        if self.lacks.is_empty() {
            return "no worker shows a sign of life\n".into();
        }
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        let lines: Vec<&str> = self.lacks.iter().chain(&more).map(String::as_str).collect();
        lines.join("\n") + "\n"
    }
}

/// What keeps a worker from relaying everything; `settled` is a generation that it must have
/// reached by now.
fn lack_of_worker(status: &WorkerStatus, settled: u64) -> Option<String> {
    let why = match status.state {
        WorkerState::Running if !is_turning(status) => "its loop stands still".to_owned(),
        WorkerState::Running if is_settled(status, settled) => return None,
        WorkerState::Running => {
            format!("it holds generation {} of {settled}", status.generation)
        }
        WorkerState::Starting => "it is starting".into(),
        WorkerState::Resyncing => "it is being sent the full rule set".into(),
        WorkerState::Stopping => "it is stopping".into(),
        WorkerState::BackingOff => {
            let exit = status.last_exit.as_deref().unwrap_or("it ended");
            let left = status.backoff_left_ms.unwrap_or(0);
            format!("another one starts in {left} ms, for the last one ended: {exit}")
        }
    };
    Some(format!("worker {} on core {}: {why}", status.worker, status.core))
}

/// Whether a worker's loop turned just now.
pub(super) fn is_turning(status: &WorkerStatus) -> bool {
    let age = status.heartbeat_age_ms.map(Duration::from_millis);
    age.is_some_and(|age| age <= limits::HEARTBEAT_LATE)
}

/// Whether a worker holds what was declared a moment ago; what is being declared now is on its way.
pub(super) fn is_settled(status: &WorkerStatus, settled: u64) -> bool {
    status.in_sync || status.generation >= settled
}

/// The lacks that keep a rule from receiving, or an output of it from sending.
fn lack_of_rule(declared: &DeclaredRule, is_active: bool, demand: &Demand) -> Option<String> {
    let cause = demand.pending.iter().find(|pending| pending.blocks());
    let state = match (is_active, cause) {
        (true, None) => return None,
        (true, Some(_)) => "has an output that cannot send",
        (false, _) => "is pending",
    };
    let DeclaredRule { id, rule, .. } = declared;
    let name = rule.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let cause = cause.map(|cause| format!("; {cause}")).unwrap_or_default();
    Some(format!("rule {id}{name} {state}: {}{cause}", rule.input))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> WorkerStatus {
        WorkerStatus {
            worker: 1,
            core: 3,
            pid: Some(77),
            state: WorkerState::Running,
            io: None,
            confinement: None,
            generation: 9,
            in_sync: true,
            rules: 2,
            heartbeat_age_ms: Some(100),
            overloaded: false,
            longest_turn_us: 900,
            restarts: 0,
            backoff_left_ms: None,
            commands_lost: 0,
            repairs: 0,
            last_exit: None,
        }
    }

    #[test]
    fn a_worker_that_serves_lacks_nothing() {
        assert_eq!(lack_of_worker(&running(), 9), None);
        // A change a moment ago is on its way to it.
        assert_eq!(lack_of_worker(&WorkerStatus { in_sync: false, ..running() }, 9), None);
    }

    #[test]
    fn what_a_worker_lacks_is_told() {
        let told = |change: fn(&mut WorkerStatus)| {
            let mut status = running();
            change(&mut status);
            lack_of_worker(&status, 9).unwrap()
        };
        let stands = told(|status| status.heartbeat_age_ms = Some(600));
        assert_eq!(stands, "worker 1 on core 3: its loop stands still");
        assert_eq!(told(|status| status.heartbeat_age_ms = None), stands);
        let behind = told(|status| (status.in_sync, status.generation) = (false, 8));
        assert_eq!(behind, "worker 1 on core 3: it holds generation 8 of 9");
        let backs_off = told(|status| {
            status.state = WorkerState::BackingOff;
            status.last_exit = Some("exit code 101".into());
            status.backoff_left_ms = Some(800);
        });
        assert!(backs_off.ends_with("starts in 800 ms, for the last one ended: exit code 101"));
        for state in [WorkerState::Starting, WorkerState::Resyncing, WorkerState::Stopping] {
            let status = WorkerStatus { state, ..running() };
            assert!(lack_of_worker(&status, 9).is_some(), "{state:?}");
        }
    }

    #[test]
    fn a_page_says_all_or_how_much_more() {
        let ready = Health { is_alive: true, lacks: Vec::new(), more: 0 };
        assert!(ready.is_ready() && ready.page() == "ready\n");
        let lacking = Health { is_alive: true, lacks: vec!["this".into()], more: 2 };
        assert!(!lacking.is_ready() && lacking.page() == "this\nand 2 more\n");
        assert!(!Health { is_alive: false, ..ready }.is_ready());
    }
}
