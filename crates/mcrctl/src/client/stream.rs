//! A subscription: one request, its answer, and then a line for each event.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use mcr_api::control::{Command, Event, Request, Response, Subscribed};
use mcr_api::limits::MAX_REQUEST_BYTES;
use serde::de::DeserializeOwned;

use super::{ClientError, ID, TIMEOUT, connect, fault};

/// Events as they happen.
#[derive(Debug)]
pub(crate) struct Stream {
    path: PathBuf,
    reader: BufReader<UnixStream>,
}

impl Stream {
    /// Subscribes to the events after one, those of the past first that the daemon still knows.
    pub(crate) fn open(path: &Path, after: u64) -> Result<Self, ClientError> {
        let reader = subscribe(path, after).map_err(|error| fault(path, error))?;
        let mut stream = Self { path: path.into(), reader };
        let closed = || ClientError::Closed(path.into());
        let response: Response<Subscribed> = stream.line()?.ok_or_else(closed)?;
        response.result?;
        let patient = stream.reader.get_ref().set_read_timeout(None);
        patient.map_err(|error| fault(path, error))?;
        Ok(stream)
    }

    /// Waits for the next event.
    pub(crate) fn next(&mut self) -> Result<Event, ClientError> {
        self.line()?.ok_or_else(|| ClientError::Ended(self.path.clone()))
    }

    /// `None`: there are no more.
    fn line<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        let mut line = Vec::new();
        // No event is longer than what a client may say.
        let mut bounded = self.reader.by_ref().take(MAX_REQUEST_BYTES as u64);
        let read = bounded.read_until(b'\n', &mut line);
        read.map_err(|error| fault(&self.path, error))?;
        if !line.ends_with(b"\n") {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }
}

fn subscribe(path: &Path, after: u64) -> io::Result<BufReader<UnixStream>> {
    let mut stream = connect(path)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let command = Command::Subscribe { after: Some(after) };
    // A daemon that turns us away answers and closes at once: the answer is there to be read.
    _ = stream.write_all(&Request { id: ID, command }.to_line());
    Ok(BufReader::new(stream))
}

#[cfg(test)]
mod tests {
    use super::super::tests::daemon;
    use super::*;

    #[test]
    fn events_follow_the_answer_until_the_daemon_goes() {
        let (_directory, path, thread) = daemon(
            b"{\"id\":1,\"ok\":{\"latest\":1}}\n\
              {\"sequence\":1,\"time\":\"t\",\"time_ns\":9,\"kind\":\"rule_added\",\"rule\":3,\
              \"message\":\"m\"}\n",
        );
        let mut stream = Stream::open(&path, 0).unwrap();
        let event = stream.next().unwrap();
        assert_eq!((event.sequence, event.about.rule), (1, Some(3)));
        let request = thread.join().unwrap();
        assert_eq!(request, b"{\"id\":1,\"command\":\"Subscribe\",\"after\":0}\n");
        let ended = stream.next().unwrap_err();
        assert!(matches!(ended, ClientError::Ended(_)), "{ended:?}");
    }

    #[test]
    fn a_refusal_is_one_of_the_daemons() {
        let (_directory, path, thread) =
            daemon(b"{\"id\":1,\"error\":{\"code\":\"busy\",\"message\":\"full\"}}\n");
        let refused = Stream::open(&path, 0).unwrap_err();
        assert_eq!(refused.to_string(), "full");
        thread.join().unwrap();
    }
}
