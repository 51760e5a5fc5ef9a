//! One client: requests in, responses out, in order. It may send anything and read nothing; only
//! its own connection suffers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mcr_api::control::{Answer, ErrorBody, ErrorCode, Request, Response};
use mcr_api::limits::MAX_REQUEST_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::clients::{Place, Refusal};
use super::{Reply, pace, subscriber};
use crate::event::Event;
use crate::limits;
use crate::lines::{Line, read_line};
use crate::news::Subscription;

/// How patient a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// With a silent client, also in the middle of a request.
    pub(super) idle: Duration,
    /// With a client that does not read its answer.
    pub(super) answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { idle: limits::CLIENT_IDLE, answer: limits::ANSWER_WAIT }
    }
}

/// Serves a client until it goes, errs or tires us.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    place: &Place,
    supervisor: mpsc::Sender<Event>,
    patience: Patience,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        wait_for_turn(place).await;
        let read = timeout(patience.idle, read_line(&mut stream, &mut line, MAX_REQUEST_BYTES));
        let read = read.await.inspect_err(|_| place.count(Refusal::Idle))?;
        let (response, subscription) = match read? {
            Line::Whole => respond(&line, place, &supervisor).await,
            Line::TooLong => {
                place.count(Refusal::Length);
                place.charge(pace::cost(MAX_REQUEST_BYTES));
                return refuse(&mut stream, too_large(), patience).await;
            }
            Line::Unfinished => {
                place.charge(pace::cost(line.len()));
                return refuse(&mut stream, unfinished(), patience).await;
            }
            Line::End => return Ok(()),
        };
        let bytes = encode(response).await?;
        place.charge(pace::cost(line.len() + bytes.len()));
        let written = timeout(patience.answer, stream.write_all(&bytes)).await;
        written.inspect_err(|_| place.count(Refusal::Unread))??;
        if let Some(subscription) = subscription {
            let told = subscriber::tell(&mut stream, subscription, patience.answer).await;
            return told.inspect_err(|error| {
                if error.kind() == io::ErrorKind::TimedOut {
                    place.count(Refusal::Unread);
                }
            });
        }
        if line.capacity() > KEPT_BYTES {
            line = Vec::new();
        }
    }
}

/// Reads nothing of a client that has asked too much: what it goes on to write stays in its socket
/// until that is full, and then it waits.
async fn wait_for_turn(place: &Place) {
    let wait = place.wait();
    if !wait.is_zero() {
        place.count(Refusal::Rate);
        sleep(wait).await;
    }
}

/// A request buffer that is larger is not kept for the next request: few are.
const KEPT_BYTES: usize = MAX_REQUEST_BYTES / 16;

async fn respond(
    line: &[u8],
    place: &Place,
    supervisor: &mpsc::Sender<Event>,
) -> (Response<Answer>, Option<Subscription>) {
    let request = match Request::parse(line) {
        Ok(request) => request,
        Err(refused) => return (refused.into(), None),
    };
    let id = Some(request.id);
    let (reply, answered) = oneshot::channel();
    // Either fails only where the daemon is ending.
    let from = Arc::clone(&place.peer);
    _ = supervisor.send(Event::Request { command: request.command, from, reply }).await;
    let Ok(Reply { mut result, applying, subscription }) = answered.await else {
        let ending = ErrorBody::new(ErrorCode::Busy, "the daemon is ending");
        return (Response { id, result: Err(ending) }, None);
    };
    if let Err(ErrorBody { code: ErrorCode::Forbidden, .. }) = &result {
        place.count(Refusal::Forbidden);
        place.charge(limits::FORBIDDEN_COST);
    }
    if let Some(applying) = applying {
        let is_applied = applying.is_applied().await;
        match &mut result {
            Ok(Answer::Added(added)) => added.applied = is_applied,
            Ok(Answer::Removed(removed)) => removed.applied = is_applied,
            Ok(Answer::Reloaded(reloaded)) => reloaded.applied = is_applied,
            Ok(Answer::Tracing(tracing)) => tracing.applied = is_applied,
            _ => {}
        }
    }
    (Response { id, result }, subscription)
}

/// The response's line. That of thousands of rules takes long to write, so not on this thread.
async fn encode(response: Response<Answer>) -> io::Result<Vec<u8>> {
    match &response.result {
        Ok(Answer::Rules(_) | Answer::Stats(_) | Answer::Traces(_)) => {
            let written = tokio::task::spawn_blocking(move || response.to_line());
            written.await.map_err(io::Error::other)
        }
        _ => Ok(response.to_line()),
    }
}

/// Says why the connection ends, and ends it.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    error: ErrorBody,
    patience: Patience,
) -> io::Result<()> {
    let response = Response::<Answer> { id: None, result: Err(error) };
    let ending = async {
        stream.write_all(&response.to_line()).await?;
        stream.shutdown().await?;
        // A client that is still writing reads the answer only when it has done so.
        let mut rest = stream.take(REST_BYTES);
        tokio::io::copy_buf(&mut rest, &mut tokio::io::sink()).await
    };
    timeout(patience.answer, ending).await?.map(drop)
}

/// The rest of a request that is too long.
const REST_BYTES: u64 = 8 * MAX_REQUEST_BYTES as u64;

fn too_large() -> ErrorBody {
    let cause = format!("the request is longer than {MAX_REQUEST_BYTES} bytes");
    ErrorBody::new(ErrorCode::TooLarge, cause)
}

fn unfinished() -> ErrorBody {
    ErrorBody::new(ErrorCode::Malformed, "the connection ended within a request")
}

#[cfg(test)]
mod tests;
