//! Requests to the daemon and their answers.

mod connection;
pub(crate) mod stream;

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcr_api::control::{Command, ErrorBody, ErrorCode, read_only_path};
use mcr_api::limits::MAX_REQUEST_BYTES;
use serde_json::Value;
use sysexits::ExitCode;

pub(crate) use connection::Connection;

/// How long the daemon may take for an answer; it needs half a second at most.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The number of the only request of a subscription.
const ID: u64 = 1;

/// Asks the daemon at `path` and returns the body of its answer.
pub(crate) fn ask(path: &Path, command: Command) -> Result<Value, ClientError> {
    ask_within(path, command, TIMEOUT)
}

fn ask_within(path: &Path, command: Command, timeout: Duration) -> Result<Value, ClientError> {
    Connection::patient(path, timeout).ask(command)
}

/// Connects; who may not use the control socket, to the one beside it that is for looking, where
/// there is one.
fn connect(path: &Path) -> io::Result<UnixStream> {
    match UnixStream::connect(path) {
        Err(denied) if denied.kind() == ErrorKind::PermissionDenied => {
            UnixStream::connect(read_only_path(path)).map_err(|_| denied)
        }
        connected => connected,
    }
}

/// The meaning of an error of the connection.
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
    /// The program's exit code (sysexits(3head)).
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
        | ErrorCode::Chain
        | ErrorCode::Limit
        | ErrorCode::NotFound => ExitCode::DataErr,
        ErrorCode::Forbidden => ExitCode::NoPerm,
        ErrorCode::Busy => ExitCode::TempFail,
        ErrorCode::Internal => ExitCode::Software,
    }
}

#[cfg(test)]
mod tests;
