//! Cuts the full set of routes into messages that a worker reads within a bounded time.

use std::iter::{self, Peekable};

use mcr_core::route::Route;

use super::{WorkerCommand, WorkerMessage, encode, route};
use crate::limits::{MAX_MESSAGE_BYTES, OUTPUTS_PER_MESSAGE, ROUTES_PER_MESSAGE};

/// The routes as `SyncRules` messages, each as full as [`MAX_MESSAGE_BYTES`],
/// [`ROUTES_PER_MESSAGE`] and [`OUTPUTS_PER_MESSAGE`] allow. `SyncBegin` and `SyncCommit` go
/// around them.
///
/// # Panics
/// As [`encode`].
pub fn sync_chunks(
    generation: u64,
    routes: impl IntoIterator<Item = Route>,
) -> impl Iterator<Item = WorkerMessage> {
    let mut routes = routes.into_iter().peekable();
    let message =
        move |routes| WorkerMessage { generation, command: WorkerCommand::SyncRules { routes } };
    let empty = encode(&message(Vec::new())).len();
    iter::from_fn(move || {
        let chunk = chunk(&mut routes, MAX_MESSAGE_BYTES - empty);
        (!chunk.is_empty()).then(|| message(chunk))
    })
}

/// The next routes that take at most `room` bytes; always one, for the largest legal route fits
/// a message by itself.
fn chunk(routes: &mut Peekable<impl Iterator<Item = Route>>, room: usize) -> Vec<Route> {
    let mut chunk = Vec::new();
    let (mut bytes, mut outputs) = (0, 0);
    while let Some(next) = routes.peek() {
        // One byte for the comma.
        bytes += route::encoded_len(next) + 1;
        outputs += next.outputs.len();
        let full = chunk.len() == ROUTES_PER_MESSAGE;
        if (full || bytes > room || outputs > OUTPUTS_PER_MESSAGE) && !chunk.is_empty() {
            break;
        }
        chunk.extend(routes.next());
    }
    chunk
}
