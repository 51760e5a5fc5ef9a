//! Keeps what comes, whatever it is: for payloads that were never meant to be test payloads.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow};
use socket2::Socket;

use super::{bound_socket, socket_drops};
use crate::limits;
use crate::namespace::Namespace;

/// Payloads, and how often each came.
pub type Copies = HashMap<Vec<u8>, u64>;

/// What a recorder received.
#[derive(Debug, Default)]
pub struct Recording {
    /// Every payload.
    pub payloads: Copies,
    /// Datagrams the kernel dropped at the recorder's own socket: loss of the test bed.
    pub socket_drops: u64,
}

/// A receiving socket with a thread that keeps every payload. Dropped: closed.
#[derive(Debug)]
pub struct Recorder {
    namespace: Namespace,
    socket: Arc<Socket>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Copies>>>,
}

impl Recorder {
    /// Receives what is sent to a unicast address of the namespace.
    pub fn unicast(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let socket = Arc::new(bound_socket(namespace, address)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (reader, told) = (Arc::clone(&socket), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || record(&reader, &told))?;
        Ok(Self { namespace: namespace.clone(), socket, stop, thread: Some(thread) })
    }

    /// Stops when nothing more comes, and gives what came.
    pub fn finish(mut self) -> Result<Recording> {
        let payloads = self.stop().ok_or_else(|| anyhow!("the recorder's thread panicked"))??;
        let socket_drops = socket_drops(&self.namespace, &self.socket)?;
        Ok(Recording { payloads, socket_drops })
    }

    fn stop(&mut self) -> Option<io::Result<Copies>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Errors are for `finish`, which has stopped the thread already.
        let _ = self.stop();
    }
}

/// Reads until told to stop and the socket has been empty for as long as a read waits.
fn record(mut socket: &Socket, stop: &AtomicBool) -> io::Result<Copies> {
    let mut payloads = Copies::new();
    let mut buffer = vec![0; limits::MAX_DATAGRAM_BYTES];
    loop {
        let last = stop.load(Ordering::Relaxed);
        match socket.read(&mut buffer) {
            Ok(bytes) => *payloads.entry(buffer[..bytes].to_vec()).or_default() += 1,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && last => return Ok(payloads),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
