//! What the relay sends comes back to it: no loop.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{address, link};

use super::{input, output};
use crate::fixture::{Relay, delivered, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trial.
pub(super) fn trials(suite: Suite) -> Suite {
    matrix(suite, "frames::own_transmissions", &Variant::all(), own_transmissions)
}

/// Two of the relay's interfaces on one segment. By names alone the rules make no cycle, since no
/// output is an input; on the wire every datagram sent on one comes in by the other, whose rule
/// would send it round again, for ever.
fn own_transmissions(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    join_two_interfaces(&net.relay)?;
    Relay::run_on(variant, net, &[], |relay| {
        let looped = SocketAddr::new(variant.family.output_group(9), 6000);
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        let untouched = Sink::multicast(&relay.net.sinks[1], "sink1", output(variant))?;
        let there = endpoint(looped, "near");
        let good = endpoint(output(variant), "out0");
        relay.add_active(&rule(input(variant), "in0", &[there.clone(), good]))?;
        let again = endpoint(output(variant), "out1");
        relay.add_active(&rule(looped, "far", &[there, again]))?;
        let sent = relay.send(input(variant))?;
        delivered(sink, sent)?;
        let totals = relay.settled(2 * sent.total())?.totals;
        ensure!(totals.drops["own"] == sent.total(), "{totals:#?}");
        ensure!(totals.matched == sent.total(), "{totals:#?}");
        ensure!(totals.received == 2 * sent.total(), "{totals:#?}");
        let report = untouched.finish()?;
        ensure!(report.received() == 0, "{report:#?}");
        Ok(())
    })
}

/// A veth pair with both ends in the relay's namespace.
fn join_two_interfaces(here: &Namespace) -> Result<()> {
    link::veth_pair((here, "near"), (here, "far"))?;
    // Else a run of datagrams would come back as one super-frame.
    link::set_gso_max_segments(here, "near", 1)?;
    for (ifname, number) in [("near", 1), ("far", 2)] {
        link::set_up(here, ifname)?;
        let v4 = IpAddr::from([10, 3, number, 1]);
        let v6 = IpAddr::from([0xfd00, 3, u16::from(number), 0, 0, 0, 0, 1]);
        address::add_address(here, ifname, v4, 24)?;
        address::add_address(here, ifname, v6, 64)?;
    }
    link::wait_until_up(here, "near")?;
    link::wait_until_up(here, "far")
}
