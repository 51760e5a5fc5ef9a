//! The control socket: who listens, what is asked, what is answered.

mod clients;
mod commands;
mod connection;
mod ownership;
mod pace;
mod peer;
mod server;
mod slices;
mod socket;
mod subscriber;
mod traces;
mod waiting;

use std::sync::Arc;
use std::time::Instant;

use mcr_api::control::{Answer, Command, ErrorBody};
use mcr_core::ledger::{Header, header};
use mcr_sys::ledger::LedgerReader;
use tokio::sync::oneshot;

pub(crate) use clients::Clients;
pub(crate) use commands::{answer, code};
pub(crate) use ownership::Ownership;
pub(crate) use peer::{Gate, Peer, Users};
pub(crate) use server::{Entrance, Host, serve};
pub(crate) use socket::{ControlSocket, SocketError, make_directory};

use crate::audit::{Audit, By, Change};
pub(crate) use slices::{Part, Slices};
pub(crate) use waiting::{Done, Waiting};

use crate::limits;
use crate::news::Subscription;

/// The supervisor's reply to a request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) result: Result<Answer, ErrorBody>,
    /// The condition to wait for before it is passed on.
    pub(crate) applying: Option<Applying>,
    /// The answer for the client after it.
    pub(crate) subscription: Option<Subscription>,
}

/// The client that waits for a reply, and the change that it asked for.
#[derive(Debug)]
pub(crate) struct Asker {
    /// `None`: nothing, so nothing is audited.
    pub(crate) change: Option<Change>,
    /// `None`: nobody, as after a signal.
    pub(crate) reply: Option<oneshot::Sender<Reply>>,
}

impl Asker {
    /// Whoever has sent SIGHUP.
    pub(crate) fn signal() -> Self {
        Self { change: Change::of(&Command::Reload {}, By::Signal), reply: None }
    }

    /// Audits what has come of it, and tells who waits.
    pub(crate) fn answer(self, audit: &mut Audit, reply: Reply) {
        if let Some(change) = &self.change {
            audit.write(change, &reply.result);
        }
        if let Some(asker) = self.reply {
            // A client that has gone meanwhile needs no answer.
            _ = asker.send(reply);
        }
    }
}

impl From<Result<Answer, ErrorBody>> for Reply {
    fn from(result: Result<Answer, ErrorBody>) -> Self {
        Self { result, applying: None, subscription: None }
    }
}

/// A change on its way to the workers.
#[derive(Debug)]
pub(crate) struct Applying {
    /// What of the ledgers shows it, and from which number on.
    pub(crate) shown_by: Header,
    pub(crate) number: u64,
    pub(crate) ledgers: Vec<Arc<LedgerReader>>,
}

impl Applying {
    /// Waits, in the client's own task, until every worker has applied it; false after
    /// [`limits::APPLY_WAIT`].
    async fn is_applied(&self) -> bool {
        let begun = Instant::now();
        let [mut sleep, longest] = limits::APPLY_SLEEPS;
        while !self.is_applied_now() {
            match begun.elapsed() {
                waited if waited >= limits::APPLY_WAIT => return false,
                waited if waited < limits::APPLY_SPIN => tokio::task::yield_now().await,
                _ => {
                    tokio::time::sleep(sleep).await;
                    sleep = longest.min(2 * sleep);
                }
            }
        }
        true
    }

    fn is_applied_now(&self) -> bool {
        let word = header(self.shown_by);
        self.ledgers.iter().all(|ledger| ledger.load_acquire(word) >= self.number)
    }
}
