//! The generator's socket and its sending loop.

use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, setsockopt, sockopt,
};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, Socket, Type};

use super::pacer::Pacer;
use super::{Generator, GeneratorReport, Progress};
use crate::limits;
use crate::payload::{self, Header};

pub(super) fn open(generator: &Generator) -> Result<Socket> {
    let destination = generator.flows[0].destination;
    let source = generator.source.unwrap_or(if destination.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    });
    generator
        .namespace
        .enter(|| -> Result<Socket> {
            let domain = Domain::for_address(destination);
            let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
            // The way out, whatever the routing table says or lacks.
            socket.bind_device(Some(generator.ifname.as_bytes()))?;
            if domain == Domain::IPV4 {
                socket.set_multicast_ttl_v4(generator.ttl)?;
                socket.set_ttl_v4(generator.ttl)?;
            } else {
                socket.set_multicast_hops_v6(generator.ttl)?;
                socket.set_unicast_hops_v6(generator.ttl)?;
            }
            if generator.segments_per_send > 1 {
                let segment = generator.payload_bytes as i32;
                setsockopt(&socket, sockopt::UdpGsoSegment, &segment)?;
            }
            socket.bind(&source.into())?;
            Ok(socket)
        })
        .with_context(|| format!("generator on {}", generator.ifname))
}

/// A message is what one `sendmsg` takes: a datagram, or a run of segments of one flow.
pub(super) fn run(
    generator: &Generator,
    socket: &Socket,
    progress: &Progress,
) -> Result<GeneratorReport> {
    if generator.one_core {
        stay_on_this_core().context("pinning the generator")?;
    }
    let segments = u64::from(generator.segments_per_send);
    let total = generator.datagrams_per_flow / segments * generator.flows.len() as u64;
    // Rounded up, so that a rate below the segments of one run is not "unlimited".
    let mut pacer = Pacer::new(generator.packets_per_second.div_ceil(segments));
    let mut batch = Batch::new(generator);
    let start = Instant::now();
    let mut sent = 0;
    while sent < total && !progress.stop.load(Ordering::Relaxed) {
        let due = pacer.due(start.elapsed(), sent).min(total - sent);
        if due == 0 {
            thread::sleep(pacer.pause(start.elapsed(), sent));
            continue;
        }
        sent += batch.send(generator, socket, sent, due)?;
        progress.sent.store(sent * segments, Ordering::Relaxed);
        // The far end of a veth pair works in soft interrupts, on a loaded machine in a thread
        // of this core: without a turn for it, catching up overruns its queue.
        thread::yield_now();
    }
    let elapsed = start.elapsed();
    Ok(GeneratorReport { sent: per_stream(generator, sent), elapsed, forgiven: pacer.forgiven })
}

fn stay_on_this_core() -> nix::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(sched_getcpu()?)?;
    // 0 is the calling thread.
    sched_setaffinity(Pid::from_raw(0), &cores)
}

fn per_stream(generator: &Generator, messages: u64) -> std::collections::BTreeMap<u32, u64> {
    let flows = generator.flows.len() as u64;
    let segments = u64::from(generator.segments_per_send);
    let mut sent = std::collections::BTreeMap::new();
    for (index, flow) in generator.flows.iter().enumerate() {
        // Messages alternate, so the first flows may be one ahead.
        let of_flow = messages / flows + u64::from((index as u64) < messages % flows);
        *sent.entry(flow.stream).or_default() += of_flow * segments;
    }
    sent
}

/// Memory for one `sendmmsg`, used again and again.
struct Batch {
    headers: MultiHeaders<SockaddrStorage>,
    messages: Vec<Vec<u8>>,
    destinations: Vec<SockaddrStorage>,
}

impl Batch {
    fn new(generator: &Generator) -> Self {
        let run_bytes = generator.payload_bytes * usize::from(generator.segments_per_send);
        Self {
            headers: MultiHeaders::preallocate(limits::BATCH_DATAGRAMS, None),
            messages: vec![vec![0; run_bytes]; limits::BATCH_DATAGRAMS],
            destinations: generator.flows.iter().map(|f| storage(f.destination)).collect(),
        }
    }

    /// Sends messages from number `first` on, at most `due` and a batch; returns how many.
    fn send(
        &mut self,
        generator: &Generator,
        socket: &Socket,
        first: u64,
        due: u64,
    ) -> Result<u64> {
        let count = due.min(limits::BATCH_DATAGRAMS as u64) as usize;
        let flows = generator.flows.len() as u64;
        let mut addresses = Vec::with_capacity(count);
        for (number, message) in (first..).zip(&mut self.messages[..count]) {
            fill(generator, number, message);
            addresses.push(Some(self.destinations[(number % flows) as usize]));
        }
        let slices: Vec<[IoSlice<'_>; 1]> =
            self.messages[..count].iter().map(|message| [IoSlice::new(message)]).collect();
        let none: [ControlMessage<'_>; 0] = [];
        let flags = MsgFlags::empty();
        let fd = socket.as_raw_fd();
        match sendmmsg(fd, &mut self.headers, &slices, &addresses, none, flags) {
            Ok(results) => {
                let sent = results.count() as u64;
                ensure!(sent > 0, "sendmmsg sent nothing");
                Ok(sent)
            }
            Err(Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno).with_context(|| format!("sending message {first}")),
        }
    }
}

/// Writes the payloads of message `number`.
fn fill(generator: &Generator, number: u64, message: &mut [u8]) {
    let flows = generator.flows.len() as u64;
    let stream = generator.flows[(number % flows) as usize].stream;
    let first_sequence = number / flows * u64::from(generator.segments_per_send);
    let sent_at_ns = payload::now_ns();
    for (sequence, datagram) in
        (first_sequence..).zip(message.chunks_exact_mut(generator.payload_bytes))
    {
        payload::write(datagram, Header { stream, sequence, sent_at_ns });
    }
}

fn storage(address: SocketAddr) -> SockaddrStorage {
    address.into()
}
