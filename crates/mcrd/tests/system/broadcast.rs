//! Broadcasts of IPv4, limited and directed, as inputs and as outputs.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Result, ensure};
use mcr_api::control::{Command, Rules};
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::{address, payload, wait};

use crate::fixture::{Relay, SOON, Sent, delivered, on_core, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let usual = [Variant::usual()];
    suite = matrix(suite, "broadcast::inputs", &usual, inputs);
    suite = matrix(suite, "broadcast::outputs", &usual, outputs);
    matrix(suite, "broadcast::an_input_of_another_host", &usual, an_input_of_another_host)
}

const LIMITED: Ipv4Addr = Ipv4Addr::BROADCAST;
const COUNT: u64 = 200;

/// Sends as a stream, from a socket that may broadcast.
fn broadcast(relay: &Relay, to: SocketAddr) -> Result<Sent> {
    let send = || -> Result<()> {
        let socket = relay.net.source.enter(|| -> Result<UdpSocket> {
            let socket = UdpSocket::bind(SocketAddr::new(relay.variant.family.source(0), 0))?;
            socket.set_broadcast(true)?;
            Ok(socket)
        })?;
        for sequence in 0..COUNT {
            socket.send_to(&payload::payload(0, sequence, 100), to)?;
        }
        Ok(())
    };
    on_core(relay.cores[0], send)?;
    Ok(Sent { streams: 1, of_each: COUNT })
}

/// The broadcast address of the network of `src0` and `in0`.
fn directed_in(relay: &Relay) -> Result<Ipv4Addr> {
    // The source is in a network that the relay has no address of; give it one.
    let own: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    address::add_address(&relay.net.relay, "in0", own.into(), 24)?;
    Ok(Ipv4Addr::new(198, 51, 100, 255))
}

fn inputs(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let directed = directed_in(relay)?;
        // Else the source's host does not know the network's broadcast address.
        address::add_address(&relay.net.source, "src0", [198, 51, 100, 9].into(), 24)?;
        for (number, to) in (1..).zip([LIMITED, directed]) {
            let input = SocketAddr::new(to.into(), 5000);
            let output = SocketAddr::new(Family::V4.output_group(number), 6000);
            let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
            relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
            delivered(sink, broadcast(relay, input)?)?;
        }
        Ok(())
    })
}

fn outputs(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let input = SocketAddr::new(Family::V4.group(1), 5000);
        let to = [LIMITED, Ipv4Addr::new(10, 2, 0, 255)];
        let ends: Vec<_> = (7000..).zip(to).collect();
        let outputs =
            ends.iter().map(|(port, to)| endpoint(SocketAddr::new((*to).into(), *port), "out0"));
        let sinks = ends.iter().map(|(port, _)| {
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port);
            Sink::unicast(&relay.net.sinks[0], any)
        });
        let sinks: Vec<Sink> = sinks.collect::<Result<_>>()?;
        relay.add_active(&rule(input, "in0", &outputs.collect::<Vec<_>>()))?;
        let sent = relay.send(input)?;
        for sink in sinks {
            delivered(sink, sent)?;
        }
        Ok(())
    })
}

/// The rule relays, and says that nobody has cause to send there.
fn an_input_of_another_host(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let stranger = SocketAddr::new([10, 77, 0, 1].into(), 5000);
        let output = SocketAddr::new(Family::V4.output_group(1), 6000);
        let added = relay.add(&rule(stranger, "in0", &[endpoint(output, "out0")]))?;
        let told = added.problems.iter().any(|text| text.contains("10.77.0.1 is not an address"));
        ensure!(told, "{added:?}");
        // On whichever interface it is.
        address::add_address(&relay.net.relay, "out1", stranger.ip(), 24)?;
        wait::until("the rule lacks nothing", SOON, || {
            let Rules { rules } = relay.daemon.ask(&Command::ListRules {})?;
            Ok(rules.iter().all(|rule| rule.problems.is_empty()))
        })
    })
}
