//! Frames written as they are, for what no well-behaved sender would send.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{MsgFlags, send};

use crate::namespace::Namespace;
use crate::packet_socket;

/// Sends Ethernet frames out of one interface.
#[derive(Debug)]
pub struct RawSender {
    socket: OwnedFd,
}

impl RawSender {
    /// Opens the interface for sending.
    pub fn open(namespace: &Namespace, ifname: &str) -> Result<Self> {
        Ok(Self { socket: packet_socket::open(namespace, ifname, None)? })
    }

    /// Sends one whole frame, header included; the interface's MTU limits it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty())
            .with_context(|| format!("sending a frame of {} bytes", frame.len()))?;
        ensure!(sent == frame.len(), "{sent} of {} bytes of a frame were sent", frame.len());
        Ok(())
    }
}
