//! Every direction of relaying: between groups and hosts, from one source or any, across address
//! families, and with every option of an output.
//!
//! All sources here are ones that the relay has no route to, under strict reverse-path filtering
//! (see `mcr_lab::topology`).

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use mcr_api::rule::RuleSpec;
use mcr_lab::harness::Suite;
use mcr_lab::sink::{Sink, SinkReport};
use mcr_lab::tap::RawTap;
use mcr_lab::{address, igmp};

use crate::fixture::{Relay, SOON, Sent, delivered, rule};
use crate::variant::{Family, Variant, VariantTrial, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let all = Variant::all();
    let both = Variant::both_families();
    let relaying: [(&str, VariantTrial); 4] = [
        ("multicast_to_multicast", multicast_to_multicast),
        ("multicast_to_unicast", multicast_to_unicast),
        ("unicast_to_multicast", unicast_to_multicast),
        ("unicast_to_unicast", unicast_to_unicast),
    ];
    for (name, trial) in relaying {
        suite = matrix(suite, &format!("directions::{name}"), &all, trial);
    }
    suite = matrix(suite, "directions::other_family", &all, other_family);
    suite = matrix(suite, "directions::one_source_only", &both, one_source_only);
    suite = matrix(suite, "directions::source_before_any", &both, source_before_any);
    suite = matrix(suite, "directions::output_options", &both, output_options);
    suite = matrix(suite, "directions::loop_option", &both, loop_option);
    let usual = [Variant::usual()];
    matrix(suite, "directions::kernel_refuses_the_source", &usual, kernel_refuses_the_source)
}

/// A group of the first link's, on the port that trials use.
fn input_group(variant: Variant) -> SocketAddr {
    SocketAddr::new(variant.family.group(1), 5000)
}

fn output_group(family: Family) -> SocketAddr {
    SocketAddr::new(family.output_group(1), 6000)
}

fn output_host(family: Family) -> SocketAddr {
    SocketAddr::new(family.sink(0), 7000)
}

fn multicast_to_multicast(variant: Variant) -> Result<()> {
    relays(variant, input_group(variant), output_group(variant.family))
}

fn multicast_to_unicast(variant: Variant) -> Result<()> {
    relays(variant, input_group(variant), output_host(variant.family))
}

fn unicast_to_multicast(variant: Variant) -> Result<()> {
    let input = SocketAddr::new(variant.family.ingress(0), 5000);
    relays(variant, input, output_group(variant.family))
}

fn unicast_to_unicast(variant: Variant) -> Result<()> {
    let input = SocketAddr::new(variant.family.ingress(0), 5000);
    relays(variant, input, output_host(variant.family))
}

/// IPv4 in and IPv6 out, or the other way round.
fn other_family(variant: Variant) -> Result<()> {
    relays(variant, input_group(variant), output_group(variant.family.other()))
}

/// One rule from `in0` to `out0`: all comes through, from the relay's own address, with TTL 64, and
/// each worker did its part: what its core received, or all where it is the destination's owner.
fn relays(variant: Variant, input: SocketAddr, output: SocketAddr) -> Result<()> {
    Relay::run(variant, |relay| {
        let sink = sink_of(relay, output)?;
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
        let sent = relay.send(input)?;
        let report = delivered(sink, sent)?;
        let family = if output.is_ipv4() { Family::V4 } else { Family::V6 };
        came_from(&report, sent, family.egress(0), 64)?;
        let stats = relay.settled(sent.total())?;
        ensure!(stats.totals.matched == sent.total(), "{stats:#?}");
        let shares = stats.cores.iter().map(|core| core.counters.matched);
        let expected = (0..relay.cores.len()).map(|worker| match relay.owner(input) {
            None => sent.of_each,
            Some(owner) if owner == worker => sent.total(),
            Some(_) => 0,
        });
        ensure!(shares.clone().eq(expected), "shares {:?}", shares.collect::<Vec<_>>());
        Ok(())
    })
}

/// A sink in the first sink's namespace, for a group or a host.
fn sink_of(relay: &Relay, output: SocketAddr) -> Result<Sink> {
    let sink = &relay.net.sinks[0];
    if output.ip().is_multicast() {
        Sink::multicast(sink, "sink0", output)
    } else {
        Sink::unicast(sink, output)
    }
}

/// Each stream came from this address, from one port, with this TTL.
fn came_from(report: &SinkReport, sent: Sent, origin: IpAddr, ttl: u8) -> Result<()> {
    for stream in 0..sent.streams {
        let stream = report.stream(stream);
        let ours = stream.origins.len() == 1 && stream.origins.iter().all(|o| o.ip() == origin);
        ensure!(
            ours && stream.ttls.iter().eq([&ttl]),
            "{:?}, TTL {:?}",
            stream.origins,
            stream.ttls
        );
    }
    Ok(())
}

/// Gives `src0` a second address, of the same unroutable network.
fn second_source(relay: &Relay) -> Result<IpAddr> {
    let (second, prefix_length) = match relay.variant.family {
        Family::V4 => ("198.51.100.11", 28),
        Family::V6 => ("2001:db8:51::11", 64),
    };
    let second = second.parse()?;
    address::add_address(&relay.net.source, "src0", second, prefix_length)?;
    Ok(second)
}

fn send_from(relay: &Relay, source: IpAddr, group: SocketAddr) -> Result<Sent> {
    let source = SocketAddr::new(source, 0);
    relay.send_by(|| relay.generator().source(source), group)
}

fn one_source_only(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let (group, output) = (input_group(variant), output_group(variant.family));
        let wanted = variant.family.source(0);
        let unwanted = second_source(relay)?;
        let sink = sink_of(relay, output)?;
        let of_any = rule(group, "in0", &[endpoint(output, "out0")]);
        relay.add_active(&RuleSpec { source: Some(wanted), ..of_any })?;
        let filters = igmp::source_filters(&relay.net.relay)?;
        let joined = filters.iter().any(|f| {
            f.group == group.ip() && f.source == wanted && (f.included, f.excluded) == (1, 0)
        });
        ensure!(joined, "no source-specific membership: {filters:?}");
        let refused = send_from(relay, unwanted, group)?.total();
        let sent = send_from(relay, wanted, group)?;
        delivered(sink, sent)?;
        let totals = relay.settled(refused + sent.total())?.totals;
        ensure!(totals.drops["no_rule"] == refused, "{totals:#?}");
        ensure!(totals.matched == sent.total(), "{totals:#?}");
        Ok(())
    })
}

fn source_before_any(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let group = input_group(variant);
        let other = second_source(relay)?;
        let outputs = [1, 2].map(|n| SocketAddr::new(variant.family.output_group(n), 6000));
        let of_source = Sink::multicast(&relay.net.sinks[0], "sink0", outputs[0])?;
        let of_any = Sink::multicast(&relay.net.sinks[1], "sink1", outputs[1])?;
        relay.add_active(&rule(group, "in0", &[endpoint(outputs[1], "out1")]))?;
        let specific = rule(group, "in0", &[endpoint(outputs[0], "out0")]);
        let source = Some(variant.family.source(0));
        relay.add_active(&RuleSpec { source, ..specific })?;
        let from_source = send_from(relay, variant.family.source(0), group)?;
        let from_other = send_from(relay, other, group)?;
        // Each sink must have got its own and nothing more, though the streams have one number.
        let totals = relay.settled(from_source.total() + from_other.total())?.totals;
        ensure!(totals.copies == from_source.total() + from_other.total(), "{totals:#?}");
        delivered(of_source, from_source)?;
        delivered(of_any, from_other)?;
        Ok(())
    })
}

fn output_options(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let family = variant.family;
        let (source, prefix_length) = match family {
            Family::V4 => ("10.2.0.77", 24),
            Family::V6 => ("fd00:2::77", 64),
        };
        let source: IpAddr = source.parse()?;
        address::add_address(&relay.net.relay, "out0", source, prefix_length)?;
        let (group, host) = (output_group(family), output_host(family));
        let sinks = [sink_of(relay, group)?, sink_of(relay, host)?];
        let tap = RawTap::open(&relay.net.sinks[0], "sink0")?;
        let to_group = format!("{},ttl=5,dscp=46,source-port=4321", endpoint(group, "out0"));
        let to_host = format!("{},ttl=9,dscp=8,source={source}", endpoint(host, "out0"));
        let input = input_group(variant);
        relay.add_active(&rule(input, "in0", &[to_group, to_host]))?;
        let sent = relay.send(input)?;
        let [of_group, of_host] = sinks.map(|sink| delivered(sink, sent));
        let (of_group, of_host) = (of_group?, of_host?);
        came_from(&of_group, sent, family.egress(0), 5)?;
        came_from(&of_host, sent, source, 9)?;
        let ports: Vec<u16> = of_group.stream(0).origins.iter().map(SocketAddr::port).collect();
        ensure!(ports == [4321], "source ports {ports:?}");
        for (destination, dscp) in [(group, 46), (host, 8)] {
            let seen = dscps(&tap, destination);
            ensure!(!seen.is_empty() && seen.iter().all(|&d| d == dscp), "{destination}: {seen:?}");
        }
        Ok(())
    })
}

/// The DSCP of each frame to this destination (RFC 2474: the upper six bits of IPv4's second byte,
/// and of what follows the first four bits in IPv6).
fn dscps(tap: &RawTap, destination: SocketAddr) -> Vec<u8> {
    let (address_at, address) = match destination.ip() {
        IpAddr::V4(v4) => (14 + 16, v4.octets().to_vec()),
        IpAddr::V6(v6) => (14 + 24, v6.octets().to_vec()),
    };
    let frames = tap.frames();
    let ours = frames.iter().filter(|f| f.bytes[address_at..].starts_with(&address));
    ours.map(|frame| match destination.ip() {
        IpAddr::V4(_) => frame.bytes[15] >> 2,
        IpAddr::V6(_) => (frame.bytes[14] << 2) | (frame.bytes[15] >> 6),
    })
    .map(|dscp| dscp & 0x3f)
    .collect()
}

/// Members of an output's group on the relay's own host hear it with `loop` only.
fn loop_option(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let silent = SocketAddr::new(variant.family.output_group(1), 6000);
        let heard = SocketAddr::new(variant.family.output_group(2), 6000);
        let at_home = Sink::multicast(&relay.net.relay, "out0", heard)?;
        let not_at_home = Sink::multicast(&relay.net.relay, "out0", silent)?;
        let away =
            [silent, heard].map(|group| Sink::multicast(&relay.net.sinks[0], "sink0", group));
        let outputs = [endpoint(silent, "out0"), format!("{},loop", endpoint(heard, "out0"))];
        let input = input_group(variant);
        relay.add_active(&rule(input, "in0", &outputs))?;
        let sent = relay.send(input)?;
        delivered(at_home, sent)?;
        for sink in away {
            delivered(sink?, sent)?;
        }
        let unheard = not_at_home.finish()?;
        ensure!(unheard.received() == 0, "heard without loop: {unheard:#?}");
        Ok(())
    })
}

/// A socket on the relay's own host, member of the same group, gets nothing of what MCR relays.
fn kernel_refuses_the_source(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let (input, output) = (input_group(variant), output_group(variant.family));
        let by_kernel = Sink::multicast(&relay.net.relay, "in0", input)?;
        igmp::wait_for_member(&relay.net.relay, "in0", input.ip(), SOON)?;
        let sink = sink_of(relay, output)?;
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
        let sent = relay.send(input)?;
        delivered(sink, sent)?;
        let report = by_kernel.finish()?;
        ensure!(report.received() == 0, "the kernel let through {report:#?}");
        Ok(())
    })
}
