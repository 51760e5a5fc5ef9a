//! Other programs of the relay's host lose nothing to rules that are not exclusive, whichever
//! starts first.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use mcr_api::control::{Command, Selection, Stats};
use mcr_api::rule::RuleSpec;
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::wait;

use crate::fixture::{Relay, SOON, Sent, delivered, on_core, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let both = Variant::both_families();
    suite = matrix(suite, "bystanders::a_unicast_input", &both, a_unicast_input);
    suite = matrix(suite, "bystanders::a_named_source_port", &both, a_named_source_port);
    let usual = [Variant::usual()];
    suite = matrix(suite, "bystanders::a_picked_source_port", &usual, a_picked_source_port);
    suite = matrix(suite, "bystanders::replies", &usual, replies);
    matrix(suite, "bystanders::port_unreachable", &usual, port_unreachable)
}

/// The port of the program.
const PORT: u16 = 1707;

/// The program: on the wildcard address, with `SO_REUSEADDR`.
fn program(relay: &Relay, port: u16) -> Result<Sink> {
    let wildcard = match relay.variant.family {
        Family::V4 => IpAddr::from([0, 0, 0, 0]),
        Family::V6 => IpAddr::from([0_u16; 8]),
    };
    Sink::unicast(&relay.net.relay, SocketAddr::new(wildcard, port))
}

/// A host that the kernel has a route to sends to the relay's address on `out0`.
fn send_to_host(relay: &Relay, port: u16) -> Result<Sent> {
    let host = SocketAddr::new(relay.variant.family.egress(0), port);
    let generator = Generator::new(&relay.net.sinks[0], "sink0").rate(2_000).count(500);
    let sent = on_core(relay.cores[0], || generator.flow(0, host).run())?.total();
    Ok(Sent { streams: 1, of_each: sent })
}

/// Both the program and the outputs get everything.
fn a_unicast_input(variant: Variant) -> Result<()> {
    for program_first in [true, false] {
        Relay::run(variant, |relay| {
            let host = SocketAddr::new(variant.family.egress(0), PORT);
            let output = SocketAddr::new(variant.family.output_group(1), 6000);
            let sink = Sink::multicast(&relay.net.sinks[1], "sink1", output)?;
            let before = program_first.then(|| program(relay, PORT)).transpose()?;
            relay.add_active(&rule(host, "out0", &[endpoint(output, "out1")]))?;
            let program = before.map_or_else(|| program(relay, PORT), Ok)?;
            let sent = send_to_host(relay, PORT)?;
            delivered(sink, sent)?;
            delivered(program, sent).map(drop)
        })?;
    }
    Ok(())
}

/// The program gets what is sent to the port, by unicast and by multicast, and copies leave from
/// that port.
fn a_named_source_port(variant: Variant) -> Result<()> {
    for program_first in [true, false] {
        Relay::run(variant, |relay| {
            let (input, output) = (variant.family.group(1), variant.family.output_group(1));
            let (input, output) = (SocketAddr::new(input, 5000), SocketAddr::new(output, PORT));
            let away = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
            let start = || {
                let member = Sink::multicast(&relay.net.relay, "out0", output)?;
                anyhow::Ok((program(relay, PORT)?, member))
            };
            let before = program_first.then(start).transpose()?;
            let to = format!("{},source-port={PORT}", endpoint(output, "out0"));
            relay.add_active(&rule(input, "in0", &[to]))?;
            let (program, member) = before.map_or_else(start, Ok)?;
            let sent = send_to_host(relay, PORT)?;
            delivered(program, sent)?;
            let relayed = relay.send(input)?;
            let report = delivered(away, relayed)?;
            let from = SocketAddr::new(variant.family.egress(0), PORT);
            ensure!(report.stream(0).origins.iter().eq([&from]), "{report:#?}");
            let sender = Generator::new(&relay.net.sinks[0], "sink0").rate(2_000).count(500);
            let of_each = on_core(relay.cores[0], || sender.flow(0, output).run())?.total();
            delivered(member, Sent { streams: 1, of_each }).map(drop)
        })?;
    }
    Ok(())
}

/// Of two ports that the kernel may pick, the program has one.
fn a_picked_source_port(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    net.relay.sysctl("net/ipv4/ip_local_port_range", "50222 50223")?;
    Relay::run_on(variant, net, &[], |relay| {
        let program = program(relay, 50222)?;
        let (input, output) = (variant.family.group(1), variant.family.output_group(1));
        let (input, output) = (SocketAddr::new(input, 5000), SocketAddr::new(output, 6000));
        let away = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
        let sent = send_to_host(relay, 50222)?;
        delivered(program, sent)?;
        let report = delivered(away, relay.send(input)?)?;
        let ports: Vec<u16> = report.stream(0).origins.iter().map(SocketAddr::port).collect();
        ensure!(ports == [50223], "source ports {ports:?}");
        Ok(())
    })
}

/// Whoever answers to a port of MCR's own is counted on the output.
fn replies(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let input = SocketAddr::new(variant.family.group(1), 5000);
        let host = SocketAddr::new(variant.family.sink(0), 7000);
        let receiver = relay.net.sinks[0].enter(|| UdpSocket::bind(host))?;
        receiver.set_read_timeout(Some(SOON))?;
        relay.add_active(&rule(input, "in0", &[endpoint(host, "out0")]))?;
        relay.send(input)?;
        let (_, from) = receiver.recv_from(&mut [0; 2_048])?;
        for _ in 0..3 {
            receiver.send_to(b"an answer", from)?;
        }
        wait::until("the replies are counted", SOON, || {
            let stats: Stats = relay.daemon.ask(&Command::GetStats(Selection::default()))?;
            Ok(stats.rules[0].outputs[0].replies == 3)
        })
    })
}

/// Where no program listens, the kernel says so to the source, unless the rule is exclusive.
fn port_unreachable(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let host = SocketAddr::new(variant.family.egress(0), PORT);
        let output = SocketAddr::new(variant.family.output_group(1), 6000);
        for exclusive in [true, false] {
            let shared = rule(host, "out0", &[endpoint(output, "out1")]);
            let added = relay.add_active(&RuleSpec { exclusive, ..shared })?;
            let told = relay.net.sinks[0].enter(|| was_refused(host))?;
            ensure!(told != exclusive, "exclusive: {exclusive}, told: {told}");
            relay.remove(added.rule)?;
        }
        Ok(())
    })
}

/// A connected socket learns of "port unreachable" as an error of what it does next.
fn was_refused(host: SocketAddr) -> Result<bool> {
    let socket = UdpSocket::bind(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0))?;
    socket.connect(host)?;
    // The answer comes within the call on an idle machine, and well within this on a busy one.
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send(b"anybody there?")?;
    let answer = socket.recv(&mut [0]).map_err(|error| error.kind());
    Ok(answer == Err(std::io::ErrorKind::ConnectionRefused))
}
