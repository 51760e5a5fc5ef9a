//! The test bed of one scenario: generator, relay and sink, each in a namespace of its own.
//!
//! ```text
//!   source                relay                       sink
//!   src0 ---------------- in0        out0 ----------- sink0
//!   core T     RPS to core R                          RPS to core T
//! ```
//! The sender's core does the work of a veth pair up to the far end's receive queue; RPS hands the
//! frame over there. So core R pays for receiving, relaying and sending, and core T for the rest.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::awake::AwakeCores;
use super::backlog::Backlog;
use super::scenario::{Path, Scenario};
use super::sink::Sink;
use super::steering::{poll_on, receive_on};
use super::traffic::Traffic;
use crate::address::add_address;
use crate::link::{TX_CHECKSUMS, set_feature, set_mtu, set_up, veth_pair, wait_until_up};
use crate::namespace::Namespace;
use crate::topology::RelayTopology;

/// Port from which all traffic comes.
const SOURCE_PORT: u16 = 4_000;

/// Address of the second relay's `out0`.
const CHAIN_EGRESS: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 1);

/// TTL of all traffic; the kernel's forwarding takes one off.
pub(super) const TTL: u32 = 64;

/// The namespaces, the generator and the sink.
#[derive(Debug)]
pub(super) struct Bed {
    /// What it was made for.
    pub(super) scenario: Scenario,
    /// The cores that it is on.
    pub(super) awake: AwakeCores,
    net: RelayTopology,
    /// Behind the second relay of a chain, which then runs in the first sink.
    _end: Option<Namespace>,
    /// The generator.
    pub(super) traffic: Traffic,
    /// The sink.
    pub(super) sink: Sink,
}

/// Frames lost where the relay is not to blame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BedDrops {
    /// In the receive queue of the sink's core.
    backlog: u64,
    /// At the sink's rings.
    rings: u64,
}

impl BedDrops {
    /// Frames lost since `before`.
    pub(super) fn since(&self, before: &Self) -> u64 {
        (self.backlog - before.backlog) + (self.rings - before.rings)
    }
}

impl Bed {
    /// Makes it all.
    pub(super) fn build(scenario: &Scenario, awake: &AwakeCores) -> Result<Self> {
        let cores = awake.division;
        let net = RelayTopology::builder()
            .ingress_links(scenario.workers as u8)
            .egress_links(1)
            .ingress_mtu(scenario.mtu())
            .egress_mtu(scenario.mtu())
            .ipv6(false)
            .build()?;
        for (link, core) in cores.of_workers(scenario.workers).into_iter().enumerate() {
            let ingress = format!("in{link}");
            if scenario.path.is_polled() {
                let merges = scenario.path == Path::MergedFrames;
                poll_on(&net.relay, &ingress, core, merges)?;
            } else {
                receive_on(&net.relay, &ingress, core)?;
            }
            add_address(&net.source, &format!("src{link}"), IpAddr::V4(source(link)), 24)?;
        }
        let end =
            if scenario.path.is_chain() { Some(extend(&net.sinks[0], scenario)?) } else { None };
        let last = end.as_ref().unwrap_or(&net.sinks[0]);
        if end.is_some() {
            receive_on(&net.sinks[0], "sink0", cores.relay)?;
        }
        if scenario.path == Path::ChainOfFrames {
            set_feature(&net.relay, "out0", TX_CHECKSUMS, false)?;
        }
        receive_on(last, "sink0", cores.traffic)?;
        let traffic = Traffic::open(&net.source, scenario)?;
        let sink = Sink::open(last, "sink0", scenario)?;
        Ok(Self { scenario: *scenario, awake: awake.clone(), net, _end: end, traffic, sink })
    }

    /// The relay's namespace, with the interfaces `in0`, ... and `out0`.
    pub(super) fn relay(&self) -> &Namespace {
        &self.net.relay
    }

    /// The namespace of a chain's second relay, with the interfaces `sink0` and `out0`.
    pub(super) fn second_relay(&self) -> Option<&Namespace> {
        self.scenario.path.is_chain().then_some(&self.net.sinks[0])
    }

    /// What was lost in the test bed so far.
    pub(super) fn drops(&self) -> Result<BedDrops> {
        // Core T receives nothing but what the relay sends, unless a worker runs there too.
        let cores = self.awake.division;
        let sink_alone = !cores.of_workers(self.scenario.workers).contains(&cores.traffic);
        let backlog = if sink_alone { Backlog::now(cores.traffic)?.dropped } else { 0 };
        Ok(BedDrops { backlog, rings: self.sink.dropped() })
    }
}

/// Address of `srcN` in the network of `inN`: a source that the relay has a route to, since the
/// kernel's forwarding would refuse another.
pub(super) fn source(link: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, link as u8, 2)
}

/// From where the traffic of a link comes.
pub(super) fn source_address(link: usize) -> SocketAddr {
    SocketAddr::new(source(link).into(), SOURCE_PORT)
}

/// Makes the sink of a topology a relay with an `out0`, which leads to the `sink0` of the answer.
fn extend(second: &Namespace, scenario: &Scenario) -> Result<Namespace> {
    let end = Namespace::new("end")?;
    veth_pair((second, "out0"), (&end, "sink0"))?;
    for (namespace, ifname) in [(second, "out0"), (&end, "sink0")] {
        set_mtu(namespace, ifname, scenario.mtu())?;
        set_up(namespace, ifname)?;
    }
    add_address(second, "out0", IpAddr::V4(CHAIN_EGRESS), 24)?;
    wait_until_up(second, "out0")?;
    wait_until_up(&end, "sink0")?;
    Ok(end)
}
