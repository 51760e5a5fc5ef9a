//! One flow, as UDP GSO runs that leave the interface as single frames, or whole.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::bench::bed;
use crate::bench::scenario::{Path, Scenario};
use crate::bench::stamp::Stamp;
use crate::link::{TX_CHECKSUMS, set_feature};
use crate::namespace::Namespace;
use crate::{limits, payload};

/// A connected socket, and the run that it sends next.
#[derive(Debug)]
pub(super) struct Runs {
    socket: Socket,
    flow: u32,
    payload_bytes: usize,
    run: Vec<u8>,
}

impl Runs {
    /// For the flow that belongs to link `link`.
    pub(super) fn open(namespace: &Namespace, scenario: &Scenario, link: usize) -> Result<Self> {
        let ifname = format!("src{link}");
        if scenario.path != Path::SuperFrames {
            // The kernel then splits each run before the interface and fills the checksums in.
            set_feature(namespace, &ifname, TX_CHECKSUMS, false)?;
        }
        let flow = (0..scenario.flows)
            .find(|flow| scenario.link(scenario.rule_of(*flow)) == link)
            .with_context(|| format!("no flow for {ifname}"))?;
        let destination = scenario.input(scenario.rule_of(flow)).into();
        let payload_bytes = scenario.payload;
        let socket = namespace
            .enter(|| socket(&ifname, bed::source_address(link), destination, payload_bytes))
            .with_context(|| format!("the generator on {ifname}"))?;
        let datagrams =
            (limits::MAX_DATAGRAM_BYTES / payload_bytes).clamp(1, limits::BENCH_FRAMES_AT_ONCE);
        let run = payload::payload(0, 0, payload_bytes).repeat(datagrams);
        Ok(Self { socket, flow: flow as u32, payload_bytes, run })
    }

    pub(super) fn send(&mut self, step: u32, first: u64, count: usize) -> Result<u64> {
        let count = count.min(self.run.len() / self.payload_bytes);
        let run = &mut self.run[..count * self.payload_bytes];
        let sent_at_ns = payload::now_ns();
        for (number, datagram) in (first..).zip(run.chunks_exact_mut(self.payload_bytes)) {
            let stamp = Stamp { step, flow: self.flow, number };
            payload::write_header(datagram, stamp.header(sent_at_ns));
        }
        match send(self.socket.as_raw_fd(), run, MsgFlags::MSG_DONTWAIT) {
            // The relay's queue is full: they are sent, and lost like any others.
            Ok(_) | Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(count as u64),
            Err(Errno::EINTR) => Ok(0),
            Err(Errno::EIO) => Err(Errno::EIO).context(
                "sending a run that the kernel should fill the checksums of, which it does from \
                 Linux 6.11 on",
            ),
            Err(errno) => Err(errno).context("sending a run"),
        }
    }
}

fn socket(
    ifname: &str,
    source: SocketAddr,
    destination: SocketAddr,
    payload_bytes: usize,
) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // The way out, whatever the routing table says or lacks.
    socket.bind_device(Some(ifname.as_bytes()))?;
    socket.set_multicast_ttl_v4(bed::TTL)?;
    socket.set_multicast_loop_v4(false)?;
    // Else a relay that falls behind would slow the generator down instead of losing.
    setsockopt(&socket, sockopt::SndBufForce, &limits::BENCH_SEND_BUFFER_BYTES)?;
    setsockopt(&socket, sockopt::UdpGsoSegment, &(payload_bytes as i32)).context("UDP_SEGMENT")?;
    socket.bind(&source.into())?;
    socket.connect(&destination.into())?;
    Ok(socket)
}
