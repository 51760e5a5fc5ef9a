//! Any number of flows, datagram by datagram, as whole frames in a transmit ring.
//!
//! What was tried beside it, in a prototype that no command here repeats, on a busy machine; so
//! only the order counts. Nanoseconds of the core for a frame of 64 and of 1,000 bytes into a veth
//! pair whose other end receives on another core: `sendmmsg` 2,300 and 4,800; with
//! `PACKET_QDISC_BYPASS` 2,300 and 4,400; a transmit ring whose frames the kernel references 2,900
//! and 2,900, past the queueing discipline 2,500 and 2,800; one whose frames it copies 2,300 and
//! 2,600, past the discipline 1,800 and 2,300. A profile of the last showed a quarter in
//! interrupting the other core, which a relay that is busy spares; the rest is each single frame's
//! way through the kernel.

use anyhow::{Context, Result, ensure};
use mcr_sys::tx_ring::TxRing;
use nix::sys::socket::{setsockopt, sockopt};

use crate::bench::bed;
use crate::bench::scenario::Scenario;
use crate::bench::stamp::Stamp;
use crate::bench::template::{Destination, FrameTemplate};
use crate::limits;
use crate::namespace::Namespace;
use crate::{packet_socket, payload};

/// The flows of one interface, and the ring by which they leave.
#[derive(Debug)]
pub(super) struct Frames {
    ring: TxRing,
    flows: Vec<(u32, Destination)>,
    order: Order,
}

/// Which flow the next datagram is of.
#[derive(Debug)]
struct Order {
    last: usize,
    random: Option<XorShift>,
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
        let ring = TxRing::new(socket, limits::BENCH_SEND_SLOTS, &template.blank())?;
        let random = scenario.at_random().then(XorShift::default);
        Ok(Self { ring, flows, order: Order { last: 0, random } })
    }

    pub(super) fn send(&mut self, step: u32, first: u64, count: usize) -> Result<u64> {
        let sent_at_ns = payload::now_ns();
        let (order, flows) = (&mut self.order, &self.flows);
        let sent = self.ring.send(count, |place, frame| {
            let (flow, destination) = &flows[order.next(flows.len())];
            let stamp = Stamp { step, flow: *flow, number: first + place as u64 };
            destination.write(frame, stamp.header(sent_at_ns));
        });
        Ok(sent.context("sending frames")? as u64)
    }
}

impl Order {
    fn next(&mut self, flows: usize) -> usize {
        self.last = match &mut self.random {
            Some(random) => random.below(flows),
            None if self.last + 1 < flows => self.last + 1,
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
