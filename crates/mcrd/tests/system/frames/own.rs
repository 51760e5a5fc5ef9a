//! What the relay sends comes back to it: no loop.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{address, link};

use super::{input, output};
use crate::fixture::{Relay, Sent, delivered, on_core, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(super) fn trials(suite: Suite) -> Suite {
    let suite = matrix(suite, "frames::own_transmissions", &Variant::all(), own_transmissions);
    let both = Variant::both_families();
    let suite = matrix(suite, "frames::both_ways_on_one_link", &both, both_ways_on_one_link);
    let suite = matrix(suite, "frames::both_ways_on_two_links", &both, both_ways_on_two_links);
    matrix(suite, "frames::an_address_plan_that_overlaps", &both, an_address_plan_that_overlaps)
}

/// A group that each network's hosts send to, as mDNS has it, from its own port.
fn shared(variant: Variant) -> SocketAddr {
    SocketAddr::new(variant.family.group(1), 5353)
}

fn from_its_own_port(group: SocketAddr, ifname: &str) -> String {
    format!("{},source-port={}", endpoint(group, ifname), group.port())
}

/// Each network hears the other's hosts, and none hears itself again.
fn both_ways_on_two_links(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let group = shared(variant);
        for [from, to] in [["in0", "out0"], ["out0", "in0"]] {
            relay.add_active(&rule(group, from, &[from_its_own_port(group, to)]))?;
        }
        let out = Sink::multicast(&relay.net.sinks[0], "sink0", group)?;
        let sent_in = relay.send(group)?;
        delivered(out, sent_in)?;
        // Not before: it would hear this host's own as well.
        let back = Sink::multicast(&relay.net.source, "src0", group)?;
        let generator = || Generator::new(&relay.net.sinks[0], "sink0").rate(5_000).count(2_500);
        let sent_back = relay.send_by(generator, group)?;
        delivered(back, sent_back)?;
        let totals = relay.settled(sent_in.total() + sent_back.total())?.totals;
        ensure!(totals.matched == totals.received && totals.drops["own"] == 0, "{totals:#?}");
        Ok(())
    })
}

/// What leaves by one interface comes in by the other, and goes no further.
fn both_ways_on_one_link(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    join_two_interfaces(&net.relay)?;
    Relay::run_on(variant, net, &[], |relay| {
        let group = shared(variant);
        for [from, to] in [["near", "far"], ["far", "near"], ["in0", "near"]] {
            relay.add_active(&rule(group, from, &[from_its_own_port(group, to)]))?;
        }
        let sent = relay.send(group)?;
        let totals = relay.settled(2 * sent.total())?.totals;
        ensure!(totals.drops["own"] == sent.total(), "{totals:#?}");
        ensure!(totals.received == 2 * sent.total(), "{totals:#?}");
        Ok(())
    })
}

/// A host of another network has the address and the port that the relay sends from.
fn an_address_plan_that_overlaps(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let twin = SocketAddr::new(variant.family.egress(0), 5353);
        let prefix_length = if twin.is_ipv4() { 24 } else { 64 };
        address::add_address(&relay.net.source, "src0", twin.ip(), prefix_length)?;
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", shared(variant))?;
        let to = from_its_own_port(shared(variant), "out0");
        relay.add_active(&rule(shared(variant), "in0", &[to]))?;
        let generator = relay.generator().source(twin).flow(0, shared(variant));
        let of_each = on_core(relay.cores[0], || generator.run())?.total();
        delivered(sink, Sent { streams: 1, of_each })?;
        let totals = relay.settled(of_each)?.totals;
        ensure!(totals.drops["own"] == 0, "{totals:#?}");
        Ok(())
    })
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
    for (ifname, number) in [("near", 1), ("far", 2)] {
        link::set_gso_max_segments(here, ifname, 1)?;
        link::set_up(here, ifname)?;
        let v4 = IpAddr::from([10, 3, number, 1]);
        let v6 = IpAddr::from([0xfd00, 3, u16::from(number), 0, 0, 0, 0, 1]);
        address::add_address(here, ifname, v4, 24)?;
        address::add_address(here, ifname, v6, 64)?;
    }
    link::wait_until_up(here, "near")?;
    link::wait_until_up(here, "far")
}
