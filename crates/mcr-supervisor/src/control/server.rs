//! Takes clients in: those who may come, so many at a time.

use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;

use mcr_api::control::{Answer, ErrorBody, ErrorCode, Response};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::clients::{Clients, Refusal};
use super::connection::{self, Patience};
use super::peer::{Gate, Users};
use crate::event::Event;
use crate::limits;

/// A listening control socket, and who may come.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) listener: StdListener,
    pub(crate) gate: Gate,
}

/// The access of clients.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) users: Arc<Users>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) supervisor: mpsc::Sender<Event>,
}

/// Accepts clients until it is aborted.
pub(crate) async fn serve(listener: UnixListener, gate: Gate, host: Host) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => take_in(stream, &gate, &host),
            Err(error) => {
                warn!(
                    "the control socket accepts no client for a moment: {error}; where it lasts, \
                     raise the limit of open files (LimitNOFILE= of the service, or ulimit -n)"
                );
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

fn take_in(stream: UnixStream, gate: &Gate, host: &Host) {
    let peer = match gate.admit(&stream, &host.users) {
        Ok(Ok(peer)) => peer,
        Ok(Err(uid)) => {
            host.clients.count(Refusal::NotAllowed);
            warn!(
                "a client of uid {uid} was turned away, for it is not in the group of the control \
                 socket: look whether somebody has changed the mode of the socket's file"
            );
            let cause = "neither this user nor one of its groups may use this socket";
            return turn_away(&stream, ErrorBody::new(ErrorCode::Forbidden, cause));
        }
        // It has gone.
        Err(error) => return debug!("a control client cannot be identified: {error}"),
    };
    let place = match host.clients.take_in(peer.clone()) {
        Ok(place) => place,
        Err(refusal) => {
            let cause = refusal.sentence();
            warn!("a control client ({peer}) was turned away: {cause}");
            return turn_away(&stream, ErrorBody::new(ErrorCode::Busy, cause));
        }
    };
    let supervisor = host.supervisor.clone();
    tokio::spawn(async move {
        let served = connection::serve(stream, &place, supervisor, Patience::default()).await;
        if let Err(error) = served {
            debug!("a control client ({}) was dropped: {error}", place.peer);
        }
    });
}

/// A new socket takes a line at once; a client that cannot be told is not waited for.
fn turn_away(stream: &UnixStream, error: ErrorBody) {
    let response: Response<Answer> = Response { id: None, result: Err(error) };
    _ = stream.try_write(&response.to_line());
}
