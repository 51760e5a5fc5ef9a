//! Acts that a worker's sandbox forbids, tried to order.

use std::cell::Cell;

use mcr_api::log::{Area, Level};
use mcr_sys::forbidden::Act;

use super::{Fault, ordered};
use crate::log::{About, Log};
use crate::mechanism::Mechanism;

thread_local! {
    /// The last act tried, so that each order is carried out once.
    static TRIED: Cell<Option<Act>> = const { Cell::new(None) };
}

/// Tries what is ordered, where it has not been, and says what came of it.
pub(crate) fn attempt_ordered(mechanism: &mut impl Mechanism, log: &Log) {
    let Some(Fault::Attempt(act)) = ordered() else {
        return;
    };
    if TRIED.replace(Some(act)) == Some(act) {
        return;
    }
    let outcome = match mechanism.attempt(act) {
        Ok(()) => "let through".to_owned(),
        Err(error) => format!("refused: {error}"),
    };
    log.write(Level::Info, Area::Commands, About::Worker, || format!("{act}: {outcome}"));
}
