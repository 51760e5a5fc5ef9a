//! Metrics and health over HTTP.
//!
//! A thread of its own serves HTTP, so that no client takes the supervisor's time. It asks the
//! supervisor's loop a [`Question`] at a time, at most so often however many ask: what there is to
//! export comes in slices, since one of all rules would hold up the healing. Nothing asks a
//! worker.

mod exposition;
mod gather;
mod health;
mod pages;
mod rows;
mod series;
mod server;

use mcr_core::ids::RuleId;
use tokio::sync::oneshot;

pub(crate) use server::Server;

use crate::supervisor::Supervisor;
use health::Health;
use rows::{Overview, RuleRow};

/// Questions of the server to the supervisor's loop.
#[derive(Debug)]
pub(crate) enum Question {
    /// How it is.
    Health(oneshot::Sender<Health>),
    /// Everything but what is counted for each rule.
    Overview(oneshot::Sender<Box<Overview>>),
    /// The next rules after that one, in the order of ids; an empty answer ends them.
    Rules {
        /// `None`: from the first.
        after: Option<RuleId>,
        /// The receiver of the answer.
        reply: oneshot::Sender<Vec<RuleRow>>,
    },
}

/// Answers on the supervisor's loop.
pub(crate) fn answer(supervisor: &Supervisor, question: Question) {
    // A server that has stopped waiting needs no answer.
    match question {
        Question::Health(reply) => _ = reply.send(Health::of(supervisor)),
        Question::Overview(reply) => _ = reply.send(Box::new(Overview::of(supervisor))),
        Question::Rules { after, reply } => _ = reply.send(rows::rules_after(supervisor, after)),
    }
}
