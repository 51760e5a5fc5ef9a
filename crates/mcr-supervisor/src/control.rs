//! The control socket: who listens, what is asked, what is answered.

mod commands;
mod connection;
mod server;
mod socket;
mod subscriber;
mod traces;

use std::sync::Arc;
use std::time::Instant;

use mcr_api::control::{Answer, ErrorBody};
use mcr_core::ledger::{Header, header};
use mcr_sys::ledger::LedgerReader;

pub(crate) use commands::{answer, applying, code};
pub(crate) use server::serve;
pub(crate) use socket::{ControlSocket, SocketError, make_directory};

use crate::limits;
use crate::news::Subscription;

/// What the supervisor says to a request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) result: Result<Answer, ErrorBody>,
    /// What to wait for before it is passed on.
    pub(crate) applying: Option<Applying>,
    /// What to tell the client after it.
    pub(crate) subscription: Option<Subscription>,
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
