//! Takes clients in, so many at a time.

use std::sync::Arc;

use mcr_api::control::{Answer, ErrorBody, ErrorCode, Response};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, warn};

use super::connection::{self, Patience};
use crate::event::Event;
use crate::limits;

/// Accepts clients until it is aborted.
pub(crate) async fn serve(listener: UnixListener, supervisor: mpsc::Sender<Event>) {
    let places = Arc::new(Semaphore::new(limits::CLIENTS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(
                    "the control socket accepts no client for a moment: {error}; where it lasts, \
                     raise the limit of open files (LimitNOFILE= of the service, or ulimit -n)"
                );
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            turn_away(&stream);
            continue;
        };
        let supervisor = supervisor.clone();
        tokio::spawn(async move {
            if let Err(error) = connection::serve(stream, supervisor, Patience::default()).await {
                debug!("a control client was dropped: {error}");
            }
            drop(place);
        });
    }
}

/// A new socket takes a line at once; a client that cannot be told is not waited for.
fn turn_away(stream: &UnixStream) {
    let cause = format!("{} clients are connected, and no more may be", limits::CLIENTS);
    let response: Response<Answer> =
        Response { id: None, result: Err(ErrorBody::new(ErrorCode::Busy, cause)) };
    _ = stream.try_write(&response.to_line());
}
