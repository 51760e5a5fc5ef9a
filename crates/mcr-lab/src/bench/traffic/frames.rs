//! Any number of flows, datagram by datagram, as whole frames on an `AF_PACKET` socket.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, LinkAddr, MsgFlags, MultiHeaders, sendmmsg, setsockopt, sockopt,
};

use crate::bench::bed;
use crate::bench::scenario::Scenario;
use crate::bench::stamp::Stamp;
use crate::bench::template::{Destination, FrameTemplate};
use crate::limits;
use crate::namespace::Namespace;
use crate::{packet_socket, payload};

/// The flows of one interface, and memory for one `sendmmsg`.
#[derive(Debug)]
pub(super) struct Frames {
    socket: OwnedFd,
    flows: Vec<(u32, Destination)>,
    /// The flow of the last datagram.
    last: usize,
    random: Option<XorShift>,
    batch: Vec<Vec<u8>>,
}

impl Frames {
    /// For the flows that belong to link `link`.
    pub(super) fn open(namespace: &Namespace, scenario: &Scenario, link: usize) -> Result<Self> {
        let template = FrameTemplate::new(bed::source_address(link), scenario.payload);
        let ifname = format!("src{link}");
        let socket = packet_socket::open(namespace, &ifname, None)?;
        // Else a relay that falls behind would slow the generator down instead of losing.
        setsockopt(&socket, sockopt::SndBufForce, &limits::BENCH_SEND_BUFFER_BYTES)
            .context("widening the generator's send buffer")?;
        let flows: Vec<_> = (0..scenario.flows)
            .map(|flow| (flow as u32, scenario.rule_of(flow)))
            .filter(|(_, rule)| scenario.link(*rule) == link)
            .map(|(flow, rule)| (flow, template.destination(scenario.input(rule))))
            .collect();
        ensure!(!flows.is_empty(), "no flow for {ifname}");
        Ok(Self {
            socket,
            flows,
            last: 0,
            random: scenario.at_random().then(XorShift::default),
            batch: vec![template.blank(); limits::BENCH_FRAMES_AT_ONCE],
        })
    }

    pub(super) fn send(&mut self, step: u32, first: u64, count: usize) -> Result<u64> {
        let sent_at_ns = payload::now_ns();
        for place in 0..count {
            let flow = self.next_flow();
            let (flow, destination) = &self.flows[flow];
            let stamp = Stamp { step, flow: *flow, number: first + place as u64 };
            destination.write(&mut self.batch[place], stamp.header(sent_at_ns));
        }
        let slices: Vec<[IoSlice<'_>; 1]> =
            self.batch[..count].iter().map(|frame| [IoSlice::new(frame)]).collect();
        let mut headers = MultiHeaders::<LinkAddr>::preallocate(count, None);
        let none: [ControlMessage<'_>; 0] = [];
        let (fd, bound) = (self.socket.as_raw_fd(), vec![None; count]);
        match sendmmsg(fd, &mut headers, &slices, bound, none, MsgFlags::MSG_DONTWAIT) {
            Ok(sent) => Ok(sent.count() as u64),
            // The relay's queue is full: this frame is sent, and lost like any other.
            Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(1),
            Err(Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno).context("sending frames"),
        }
    }

    fn next_flow(&mut self) -> usize {
        self.last = match &mut self.random {
            Some(random) => random.below(self.flows.len()),
            None if self.last + 1 < self.flows.len() => self.last + 1,
            None => 0,
        };
        self.last
    }
}

/// xorshift64 (Marsaglia, "Xorshift RNGs"): the same flows in every run.
#[derive(Debug, Clone)]
struct XorShift(u64);

impl Default for XorShift {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl XorShift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * bound as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_is_met_at_random() {
        let mut random = XorShift::default();
        let mut met = [0; 10];
        for _ in 0..10_000 {
            met[random.below(10)] += 1;
        }
        assert!(met.iter().all(|count| (800..1_200).contains(count)), "{met:?}");
    }
}
