//! The benchmark's sink: cheap, because it shares a core with the generator.
//!
//! It takes super-frames as they are (`UDP_GRO`), wakes by the clock and not for each datagram,
//! and leaves the time of arrival to the kernel's timestamps, which are taken on the relay's core
//! as the frame enters the sink's interface. So the sink's own delays cost no accuracy.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, recvmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::book::{Book, Received};
use super::scenario::Scenario;
use crate::link;
use crate::namespace::Namespace;
use crate::sink::widen_receive_buffer;
use crate::{limits, payload};

/// Sockets for every copy, and the thread that reads them.
#[derive(Debug)]
pub(super) struct Sink {
    namespace: Namespace,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    book: Mutex<Book>,
    received: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// Hears all that any peer may deliver in `scenario` on the interface `ifname`.
    pub(super) fn open(namespace: &Namespace, ifname: &str, scenario: &Scenario) -> Result<Self> {
        let groups = scenario.groups_at_sink();
        namespace.sysctl("net/ipv4/igmp_max_memberships", &(groups.len() + 1).to_string())?;
        let ifindex = link::ifindex(namespace, ifname)?;
        let sockets = (0..scenario.fan_out)
            .map(|copy| namespace.enter(|| socket(Scenario::port_of_copy(copy))))
            .collect::<Result<Vec<_>>>()?;
        for group in groups {
            // A socket hears every group that any socket of its namespace joined.
            sockets[0]
                .join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(ifindex))
                .with_context(|| format!("the sink joining {group}"))?;
        }
        let shared = Arc::new(Shared::default());
        let (reader, payload_bytes) = (Arc::clone(&shared), scenario.payload);
        let thread = thread::Builder::new()
            .name("bench-sink".into())
            .spawn(move || read(&sockets, payload_bytes, &reader))?;
        Ok(Self { namespace: namespace.clone(), shared, thread: Some(thread) })
    }

    /// From now on datagrams of this step are entered, and no others.
    pub(super) fn begin(&self, step: u32, scenario: &Scenario) {
        *self.shared.book() = Book::new(step, scenario.fan_out, scenario.flows);
    }

    /// Waits until no more comes, and closes the step's book.
    pub(super) fn finish(&self) -> Result<Received> {
        let (start, mut last) = (Instant::now(), self.received());
        loop {
            thread::sleep(limits::BENCH_QUIET);
            let now = self.received();
            let failed = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if failed {
                return Err(anyhow!("the benchmark's sink has ended"));
            }
            if now == last || start.elapsed() > limits::BENCH_DRAIN {
                return Ok(std::mem::take(&mut *self.shared.book()).close());
            }
            last = now;
        }
    }

    /// Datagrams dropped at the sink's own sockets since they were opened.
    pub(super) fn socket_drops(&self) -> Result<u64> {
        let table = self.namespace.read_proc_net("udp")?;
        let drops = table.lines().skip(1).filter_map(|line| line.split_whitespace().last());
        drops.map(|drops| drops.parse::<u64>().context("/proc/net/udp")).sum()
    }

    /// Datagrams read so far, of whatever step.
    pub(super) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its failure has been reported by `finish`.
            let _ = thread.join();
        }
    }
}

fn socket(port: u16) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    widen_receive_buffer(&socket)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::UdpGroSegment, &true).context("UDP_GRO")?;
    let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    socket.bind(&address.into()).with_context(|| format!("binding {address}"))?;
    Ok(socket)
}

fn read(sockets: &[Socket], payload_bytes: usize, shared: &Shared) -> Result<()> {
    let mut buffers = vec![vec![0; limits::MAX_DATAGRAM_BYTES]; limits::BENCH_FRAMES_AT_ONCE];
    while !shared.stop.load(Ordering::Relaxed) {
        let mut book = shared.book();
        for (copy, socket) in sockets.iter().enumerate() {
            let mut enter =
                |message: &RecvMsg<'_, '_, ()>| enter(&mut book, copy, payload_bytes, message);
            while let Some(datagrams) = read_batch(socket, &mut buffers, &mut enter)? {
                shared.received.fetch_add(datagrams, Ordering::Relaxed);
            }
        }
        drop(book);
        thread::sleep(limits::BENCH_SINK_INTERVAL);
    }
    Ok(())
}

/// Reads a batch; returns the number of datagrams, or `None` where there are none.
fn read_batch(
    socket: &Socket,
    buffers: &mut [Vec<u8>],
    enter: &mut impl FnMut(&RecvMsg<'_, '_, ()>) -> u64,
) -> Result<Option<u64>> {
    // Made anew for each call: nix does not restore the control lengths, and only super-frames
    // bring a segment size along.
    let control = nix::cmsg_space!(TimeSpec, i32);
    let mut headers = MultiHeaders::<()>::preallocate(buffers.len(), Some(control));
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
    let now = MsgFlags::MSG_DONTWAIT;
    match recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, now, None) {
        Ok(messages) => Ok(Some(messages.map(|message| enter(&message)).sum())),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno).context("the benchmark's sink"),
    }
}

/// Enters the datagrams of a message, which all have the same length; returns their number.
fn enter(book: &mut Book, copy: usize, payload_bytes: usize, message: &RecvMsg<'_, '_, ()>) -> u64 {
    let received_at_ns = message.cmsgs().into_iter().flatten().find_map(|item| match item {
        ControlMessageOwned::ScmTimestampns(time) => {
            Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
        }
        _ => None,
    });
    let bytes = message.iovs().next().unwrap_or_default();
    let mut datagrams = 0;
    for datagram in bytes.chunks(payload_bytes) {
        if let (Some(header), Some(at)) = (payload::read_header(datagram), received_at_ns) {
            book.add(copy, &header, at);
        }
        datagrams += 1;
    }
    datagrams
}
