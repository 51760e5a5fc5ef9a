//! A connection to the daemon, for as many requests as its owner has.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mcr_api::control::{Command, Request, Response};
use mcr_api::limits::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use serde::de::DeserializeOwned;

use super::{ClientError, TIMEOUT, connect, fault};

/// Bytes read at once: what a socket buffers by default, about (`net.core.wmem_default`).
const READ_BYTES: usize = 256 * 1024;

/// One that is made with the first request and again after a fault.
#[derive(Debug)]
pub(crate) struct Connection {
    path: PathBuf,
    timeout: Duration,
    stream: Option<UnixStream>,
    last_id: u64,
    part: Vec<u8>,
}

impl Connection {
    /// To the daemon at `path`.
    pub(crate) fn new(path: &Path) -> Self {
        Self::patient(path, TIMEOUT)
    }

    /// To a daemon that may take so long for an answer.
    pub(super) fn patient(path: &Path, timeout: Duration) -> Self {
        let part = vec![0; READ_BYTES];
        Self { path: path.into(), timeout, stream: None, last_id: 0, part }
    }

    /// Asks, and returns the body of the answer.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, command: Command) -> Result<T, ClientError> {
        self.last_id += 1;
        let id = self.last_id;
        let request = Request { id, command }.to_line();
        if request.len() > MAX_REQUEST_BYTES {
            return Err(ClientError::RequestTooLong);
        }
        // What a fault leaves in it is no answer to the next request.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.path).map_err(|error| fault(&self.path, error))?,
        };
        let line =
            self.exchange(&mut stream, &request).map_err(|error| fault(&self.path, error))?;
        if line.is_empty() {
            return Err(ClientError::Closed(self.path.clone()));
        }
        let response: Response<T> = serde_json::from_slice(&line)?;
        match response.id {
            Some(answered) if answered != id => return Err(ClientError::OtherAnswer),
            Some(_) => self.stream = Some(stream),
            // A refusal of what could not be read has no id, and is the last on its connection.
            None => {}
        }
        Ok(response.result?)
    }

    /// Like [`Connection::ask`], for a command that changes nothing: asks once more where the
    /// daemon has closed the connection since the last answer, as it does with a client that is
    /// silent for a minute, and as its end does.
    pub(crate) fn read<T: DeserializeOwned>(
        &mut self,
        command: &Command,
    ) -> Result<T, ClientError> {
        let is_used = self.stream.is_some();
        match self.ask(command.clone()) {
            Err(ClientError::Closed(_) | ClientError::Broken(..)) if is_used => {
                self.ask(command.clone())
            }
            answered => answered,
        }
    }

    /// Sends the line and reads the one that answers it; empty where none came.
    fn exchange(&mut self, stream: &mut UnixStream, request: &[u8]) -> io::Result<Vec<u8>> {
        stream.set_write_timeout(Some(self.timeout))?;
        match stream.write_all(request) {
            // A daemon that turns us away answers and closes at once: the answer is there to be
            // read.
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            written => written?,
        }
        let deadline = Instant::now() + self.timeout;
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut self.part)? {
                0 if line.is_empty() => break,
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => line.extend_from_slice(&self.part[..count]),
            }
            if line.len() > MAX_RESPONSE_BYTES {
                return Err(ErrorKind::FileTooLarge.into());
            }
        }
        Ok(line)
    }
}
