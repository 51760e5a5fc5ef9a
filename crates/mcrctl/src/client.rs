//! One request to the daemon and its answer.

pub(crate) mod stream;

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mcr_api::control::{Command, ErrorBody, ErrorCode, Request, Response};
use mcr_api::limits::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use serde_json::Value;
use sysexits::ExitCode;

/// How long the daemon may take for an answer; it needs half a second at most.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes read at once: what a socket buffers by default, about (`net.core.wmem_default`).
const READ_BYTES: usize = 256 * 1024;

/// The number of the only request of a connection.
const ID: u64 = 1;

/// Asks the daemon at `path` and returns the body of its answer.
pub(crate) fn ask(path: &Path, command: Command) -> Result<Value, ClientError> {
    ask_within(path, command, TIMEOUT)
}

fn ask_within(path: &Path, command: Command, timeout: Duration) -> Result<Value, ClientError> {
    let request = Request { id: ID, command }.to_line();
    if request.len() > MAX_REQUEST_BYTES {
        return Err(ClientError::RequestTooLong);
    }
    let line = exchange(path, &request, timeout).map_err(|error| fault(path, error))?;
    if line.is_empty() {
        return Err(ClientError::Closed(path.into()));
    }
    let response: Response<Value> = serde_json::from_slice(&line)?;
    // A refusal of what could not be read has no id.
    if response.id.is_some_and(|id| id != ID) {
        return Err(ClientError::OtherAnswer);
    }
    Ok(response.result?)
}

/// What an error of the connection means.
fn fault(path: &Path, error: io::Error) -> ClientError {
    match error.kind() {
        ErrorKind::PermissionDenied => ClientError::Forbidden(path.into()),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            ClientError::NobodyListens(path.into(), error)
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::Silent(path.into()),
        _ => ClientError::Broken(path.into(), error),
    }
}

/// Sends the line and reads the one that answers it; empty where none came.
fn exchange(path: &Path, request: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(timeout))?;
    match stream.write_all(request) {
        // A daemon that turns us away answers and closes at once: the answer is there to be read.
        Err(error)
            if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        written => written?,
    }
    let deadline = Instant::now() + timeout;
    let mut line = Vec::new();
    let mut part = vec![0; READ_BYTES];
    while !line.ends_with(b"\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 if line.is_empty() => break,
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => line.extend_from_slice(&part[..count]),
        }
        if line.len() > MAX_RESPONSE_BYTES {
            return Err(ErrorKind::FileTooLarge.into());
        }
    }
    Ok(line)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nothing there, or left behind by a daemon that is gone.
    #[error("no mcrd listens on {path}", path = .0.display())]
    NobodyListens(PathBuf, #[source] io::Error),
    /// Not for this user.
    #[error(
        "no permission to use {path}: run as root or as a member of the group that owns it",
        path = .0.display()
    )]
    Forbidden(PathBuf),
    /// Connected, but no answer came in time.
    #[error("mcrd on {path} did not answer within {} s", TIMEOUT.as_secs(), path = .0.display())]
    Silent(PathBuf),
    /// Connected, and closed without an answer.
    #[error("mcrd on {path} closed the connection without an answer", path = .0.display())]
    Closed(PathBuf),
    /// A subscription that was closed.
    #[error(
        "mcrd on {path} ended the subscription: it has ended, or what it told was not read",
        path = .0.display()
    )]
    Ended(PathBuf),
    /// Any other fault of the connection.
    #[error("{path}", path = .0.display())]
    Broken(PathBuf, #[source] io::Error),
    /// A rule that no request can hold.
    #[error("the request is longer than {MAX_REQUEST_BYTES} bytes")]
    RequestTooLong,
    /// Something else than an answer.
    #[error("what answers is not an mcrd of this version")]
    NotUnderstood(#[from] serde_json::Error),
    /// The answer to another request.
    #[error("what answers is not an mcrd of this version: it answers another request")]
    OtherAnswer,
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] ErrorBody),
}

impl ClientError {
    /// What the program ends with (sysexits(3head)).
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NobodyListens(..) | Self::Silent(_) | Self::Closed(_) | Self::Ended(_) => {
                ExitCode::Unavailable
            }
            Self::Forbidden(_) => ExitCode::NoPerm,
            Self::Broken(..) => ExitCode::IoErr,
            Self::RequestTooLong => ExitCode::DataErr,
            Self::NotUnderstood(_) | Self::OtherAnswer => ExitCode::Protocol,
            Self::Refused(error) => refusal(error.code),
        }
    }
}

fn refusal(code: ErrorCode) -> ExitCode {
    match code {
        ErrorCode::Malformed | ErrorCode::UnknownCommand | ErrorCode::Unknown => ExitCode::Protocol,
        ErrorCode::TooLarge
        | ErrorCode::Invalid
        | ErrorCode::Conflict
        | ErrorCode::Cycle
        | ErrorCode::Limit
        | ErrorCode::NotFound => ExitCode::DataErr,
        ErrorCode::Busy => ExitCode::TempFail,
        ErrorCode::Internal => ExitCode::Software,
    }
}

#[cfg(test)]
mod tests;
