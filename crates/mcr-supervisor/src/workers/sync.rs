//! A synchronisation: everything that a worker must hold, streamed to it as its socket takes it.
//!
//! There is no snapshot. Cursors walk what is held at the time, and what changes meanwhile waits in
//! a backlog that is told before the walk goes on; so the worker always knows all changes behind
//! the cursor, and the commit carries the generation of the moment in which it is sent.

use std::collections::VecDeque;

use mcr_api::worker::{WorkerCommand, encode, sync_chunks};
use mcr_core::ids::{EgressId, IngressId, RuleId, WorkerId};

use crate::holdings::{Change, Holdings};
use crate::limits;

/// One worker's synchronisation.
#[derive(Debug)]
pub(crate) struct Sync {
    stage: Stage,
    backlog: VecDeque<Change>,
}

/// The last thing sent; `None` where nothing of the kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Nothing,
    Ingresses(Option<IngressId>),
    Egresses(Option<EgressId>),
    Routes(Option<RuleId>),
    /// Everything of this generation.
    Whole(u64),
}

/// The next message, and where its sending leads.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) message: Vec<u8>,
    /// The subject of the message, for its descriptor.
    pub(crate) change: Option<Change>,
    /// `None`: it was the first of the backlog.
    leads_to: Option<Stage>,
}

impl Sync {
    pub(crate) fn new() -> Self {
        Self { stage: Stage::Nothing, backlog: VecDeque::new() }
    }

    /// Whether the commit has been sent; changes then go to the worker directly again.
    pub(crate) fn is_whole(&self) -> bool {
        self.committed().is_some()
    }

    /// The generation that the commit named, once it has been sent.
    pub(crate) fn committed(&self) -> Option<u64> {
        match self.stage {
            Stage::Whole(generation) => Some(generation),
            _ => None,
        }
    }

    /// Something has changed.
    pub(crate) fn changed(&mut self, change: Change) {
        if self.stage == Stage::Nothing {
            // The walk has yet to begin, and will meet it.
            return;
        }
        self.backlog.push_back(change);
        if self.backlog.len() > limits::SYNC_BACKLOG {
            *self = Self::new();
        }
    }

    /// The next message; `None` when all has been sent. Call [`Self::sent`] when it was.
    pub(crate) fn next(&mut self, holdings: &Holdings, worker: WorkerId) -> Option<Step> {
        while let Some(&change) = self.backlog.front() {
            let concerns = holdings.owner(change).is_none_or(|owner| owner == worker);
            if let Some(command) = holdings.command(change).filter(|_| concerns) {
                let message = holdings.encode(command);
                return Some(Step { message, change: Some(change), leads_to: None });
            }
            self.backlog.pop_front();
        }
        match self.stage {
            Stage::Nothing => {
                Some(step(holdings, WorkerCommand::SyncBegin, Stage::Ingresses(None)))
            }
            Stage::Ingresses(last) => next_ingress(holdings, worker, last),
            Stage::Egresses(last) => next_egress(holdings, worker, last),
            Stage::Routes(last) => Some(next_routes(holdings, worker, last)),
            Stage::Whole(_) => None,
        }
    }

    /// The step has been sent.
    pub(crate) fn sent(&mut self, step: &Step) {
        match step.leads_to {
            Some(stage) => self.stage = stage,
            None => {
                self.backlog.pop_front();
            }
        }
    }
}

fn step(holdings: &Holdings, command: WorkerCommand, stage: Stage) -> Step {
    Step { message: holdings.encode(command), change: None, leads_to: Some(stage) }
}

fn next_ingress(holdings: &Holdings, worker: WorkerId, last: Option<IngressId>) -> Option<Step> {
    let Some(id) = holdings.ingresses.after(last) else {
        return next_egress(holdings, worker, None);
    };
    let change = Change::IngressOpened(id);
    let message = holdings.encode(holdings.command(change)?);
    let leads_to = Some(Stage::Ingresses(Some(id)));
    Some(Step { message, change: Some(change), leads_to })
}

/// The sockets go before the routes that name them.
fn next_egress(holdings: &Holdings, worker: WorkerId, last: Option<EgressId>) -> Option<Step> {
    let Some(id) = holdings.egresses.after(last) else {
        return Some(next_routes(holdings, worker, None));
    };
    let change = Change::EgressOpened(id);
    let message = holdings.encode(holdings.command(change)?);
    let leads_to = Some(Stage::Egresses(Some(id)));
    Some(Step { message, change: Some(change), leads_to })
}

fn next_routes(holdings: &Holdings, worker: WorkerId, last: Option<RuleId>) -> Step {
    let routes = holdings.routes_after(last, worker).cloned();
    let position = holdings.position(worker);
    let Some(message) = sync_chunks(position.generation, routes).next() else {
        let commit = WorkerCommand::SyncCommit { hash: position.hash };
        return step(holdings, commit, Stage::Whole(position.generation));
    };
    let reached = match &message.command {
        WorkerCommand::SyncRules { routes } => routes.last().map(|route| route.id),
        _ => last,
    };
    Step { message: encode(&message), change: None, leads_to: Some(Stage::Routes(reached)) }
}

#[cfg(test)]
mod tests;
