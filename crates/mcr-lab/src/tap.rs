//! A witness on the wire: collects the frames that pass an interface.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, LinkAddr, MsgFlags, SockProtocol, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeVal;

use crate::limits;
use crate::link;
use crate::namespace::Namespace;
use crate::packet_socket;
use crate::sink::widen_receive_buffer;

/// `PACKET_OUTGOING` of packet(7): a frame this host sent.
const PACKET_OUTGOING: u8 = 4;

/// Which way a frame passed the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It arrived.
    Received,
    /// It left.
    Sent,
}

/// One frame seen. The kernel takes the outermost VLAN tag out of a *received* frame before a
/// tap sees it; a tap on the sending side sees the tag in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TappedFrame {
    /// The frame from its Ethernet header on.
    pub bytes: Vec<u8>,
    /// Which way it went.
    pub direction: Direction,
    /// The kernel's timestamp, nanoseconds since the epoch.
    pub seen_at_ns: Option<u64>,
}

#[derive(Debug, Default)]
struct Record {
    frames: Mutex<Vec<TappedFrame>>,
    grown: Condvar,
    stop: AtomicBool,
}

impl Record {
    fn frames(&self) -> MutexGuard<'_, Vec<TappedFrame>> {
        // The guarded vector is whole at every moment, also if a predicate panicked.
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects frames on one interface until it is dropped.
#[derive(Debug)]
pub struct RawTap {
    record: Arc<Record>,
    thread: Option<JoinHandle<()>>,
}

impl RawTap {
    /// Begins to listen; frames that pass after this returns are seen.
    pub fn open(namespace: &Namespace, ifname: &str) -> Result<Self> {
        Self::open_for(namespace, ifname, SockProtocol::EthAll)
    }

    /// Like [`Self::open`], for the IPv4 packets that got past the ingress hooks (tc, netfilter)
    /// into the host's network stack, be they for it or not.
    pub fn behind_ingress(namespace: &Namespace, ifname: &str) -> Result<Self> {
        Self::open_for(namespace, ifname, SockProtocol::EthIp)
    }

    fn open_for(namespace: &Namespace, ifname: &str, protocol: SockProtocol) -> Result<Self> {
        let socket = packet_socket::open(namespace, ifname, Some(protocol))?;
        widen_receive_buffer(&socket)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let poll = TimeVal::new(0, limits::RECEIVE_POLL.as_micros() as i64);
        setsockopt(&socket, sockopt::ReceiveTimeout, &poll)?;
        let ifindex = link::ifindex(namespace, ifname)? as usize;
        let record = Arc::new(Record::default());
        let writer = Arc::clone(&record);
        let thread = thread::Builder::new()
            .name(format!("tap {ifname}"))
            .spawn(move || collect(&socket, ifindex, &writer))?;
        Ok(Self { record, thread: Some(thread) })
    }

    /// The first frame, past or to come within `timeout`, that satisfies `wanted`.
    pub fn wait_for(
        &self,
        timeout: Duration,
        wanted: impl Fn(&TappedFrame) -> bool,
    ) -> Option<TappedFrame> {
        let deadline = Instant::now() + timeout;
        let mut looked_at = 0;
        let mut frames = self.record.frames();
        loop {
            if let Some(frame) = frames[looked_at..].iter().find(|frame| wanted(frame)) {
                return Some(frame.clone());
            }
            looked_at = frames.len();
            let left = deadline.checked_duration_since(Instant::now())?;
            frames = self
                .record
                .grown
                .wait_timeout(frames, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Every frame seen so far, oldest first.
    pub fn frames(&self) -> Vec<TappedFrame> {
        self.record.frames().clone()
    }
}

impl Drop for RawTap {
    fn drop(&mut self) {
        self.record.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the collecting thread has been printed; there is no one to tell twice.
            let _ = thread.join();
        }
    }
}

fn collect(socket: &OwnedFd, ifindex: usize, record: &Record) {
    let mut buffer = vec![0; limits::MAX_FRAME_BYTES];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut kept_bytes = 0;
    while !record.stop.load(Ordering::Relaxed) {
        match receive(socket, ifindex, &mut buffer, &mut control) {
            Ok(Some(frame)) if kept_bytes < limits::MAX_TAPPED_BYTES => {
                kept_bytes += frame.bytes.len();
                record.frames().push(frame);
                record.grown.notify_all();
            }
            // ENETDOWN comes once when the interface goes down; it may come up again.
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => {}
            Err(errno) => panic!("tap: {errno}"),
        }
    }
}

/// One frame; `None` for another interface's, heard before the socket was bound.
fn receive(
    socket: &OwnedFd,
    ifindex: usize,
    buffer: &mut [u8],
    control: &mut [u8],
) -> nix::Result<Option<TappedFrame>> {
    let mut pieces = [IoSliceMut::new(buffer)];
    let fd = socket.as_raw_fd();
    let message = recvmsg::<LinkAddr>(fd, &mut pieces, Some(control), MsgFlags::empty())?;
    let Some(address) = message.address.filter(|address| address.ifindex() == ifindex) else {
        return Ok(None);
    };
    let seen_at_ns = message.cmsgs()?.find_map(|item| match item {
        ControlMessageOwned::ScmTimestampns(time) => {
            Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
        }
        _ => None,
    });
    let sent = address.pkttype() == PACKET_OUTGOING;
    let direction = if sent { Direction::Sent } else { Direction::Received };
    let length = message.bytes;
    Ok(Some(TappedFrame { bytes: buffer[..length].to_vec(), direction, seen_at_ns }))
}
