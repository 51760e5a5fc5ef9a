//! Two relays in opposite directions between two networks: without a brake each datagram would go
//! round for ever, since every copy has a TTL of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, Rules, Stats};
use mcr_lab::daemon::Daemon;
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::{address, identity, link, wait};

use crate::fixture::{SOON, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    matrix(suite, "circles::two_relays", &both, two_relays)
}

/// Two networks, each a bridge with a host at it, and two relays between them.
struct Between {
    hosts: [Namespace; 2],
    relays: [Daemon; 2],
}

/// The bridges, and the relays' interfaces on each.
const BRIDGE: &str = "net";
const PORTS: [&str; 2] = ["a", "b"];

fn host(family: Family, network: u8, number: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 3, network, number].into(),
        Family::V6 => [0xfd00, 3, network.into(), 0, 0, 0, 0, number.into()].into(),
    }
}

fn group(variant: Variant) -> SocketAddr {
    SocketAddr::new(variant.family.group(1), 5000)
}

impl Between {
    fn build(variant: Variant) -> Result<Self> {
        let hosts = [Namespace::new("net-a")?, Namespace::new("net-b")?];
        let relays = [Namespace::new("relay-1")?, Namespace::new("relay-2")?];
        let prefix_length = if variant.family == Family::V4 { 24 } else { 64 };
        for (network, here) in (0_u8..).zip(&hosts) {
            link::add_bridge(here, BRIDGE)?;
            link::set_up(here, BRIDGE)?;
            let own = host(variant.family, network, 9);
            address::add_address(here, BRIDGE, own, prefix_length)?;
            for (number, relay) in (1_u8..).zip(&relays) {
                let (port, theirs) = (format!("port{number}"), PORTS[usize::from(network)]);
                link::veth_pair((here, &port), (relay, theirs))?;
                link::enslave(here, &port, BRIDGE)?;
                link::set_up(here, &port)?;
                link::set_up(relay, theirs)?;
                let own = host(variant.family, network, number);
                address::add_address(relay, theirs, own, prefix_length)?;
                link::wait_until_up(relay, theirs)?;
            }
            link::wait_until_up(here, BRIDGE)?;
        }
        let cores: Vec<String> = variant.cores()?.iter().map(ToString::to_string).collect();
        let (cores, steering) = (cores.join(","), variant.steering.to_string());
        let told = ["--cores", &cores, "--io", variant.io.name(), "--steering", &steering];
        let [one, other] = relays.map(|relay| Daemon::start(&relay, &told));
        let between = Self { hosts, relays: [one?, other?] };
        between.relay(0, PORTS, variant)?;
        between.relay(1, [PORTS[1], PORTS[0]], variant)?;
        Ok(between)
    }

    fn relay(&self, relay: usize, [from, to]: [&str; 2], variant: Variant) -> Result<()> {
        let rule = rule(group(variant), from, &[endpoint(group(variant), to)]);
        let _: mcr_api::control::Added = self.relays[relay].ask(&Command::AddRule { rule })?;
        Ok(())
    }

    fn send(&self, variant: Variant, datagrams: u64, rate: u64) -> Result<()> {
        let generator = Generator::new(&self.hosts[0], BRIDGE).rate(rate).count(datagrams);
        generator.flow(0, group(variant)).run().map(drop)
    }

    /// What the first relay says of its rule.
    fn problems(&self) -> Result<Vec<String>> {
        let Rules { rules } = self.relays[0].ask(&Command::ListRules {})?;
        Ok(rules.into_iter().next().context("the rule")?.problems)
    }

    /// Datagrams that the first relay took and those that its brake dropped, once nothing moves.
    fn settled(&self) -> Result<[u64; 2]> {
        let Stats { totals, .. } = identity::wait_until_settled(&self.relays[0], 1)?;
        Ok([totals.matched, totals.drops["circle"]])
    }
}

fn two_relays(variant: Variant) -> Result<()> {
    let mut between = Between::build(variant)?;
    between.send(variant, 1, 1_000)?;
    let [relayed, dropped] = between.settled().context("one datagram goes round for ever")?;
    ensure!(dropped >= 1, "{relayed} relayed, {dropped} dropped");
    let back_from = host(variant.family, 0, 2).to_string();
    wait::until("the rule tells of the circle", SOON, || {
        let problems = between.problems()?;
        Ok(problems.iter().any(|text| text.contains("circle") && text.contains(&back_from)))
    })?;

    // While the brake is on, everything arrives, and nothing goes round.
    let sink = Sink::multicast(&between.hosts[1], BRIDGE, group(variant))?;
    between.send(variant, 1_000, 2_000)?;
    sink.wait_for(1_000, SOON)?;
    let [relayed_then, dropped_then] = between.settled()?;
    let stream = sink.finish()?.stream(0);
    ensure!(stream.unique == 1_000 && stream.corrupt == 0, "{stream:#?}");
    let (relayed, dropped) = (relayed_then - relayed, dropped_then - dropped);
    // Each worker needs some returns of its own before it brakes.
    ensure!(relayed <= 2_000, "1,000 were sent and {relayed} relayed");
    ensure!(dropped >= 1_000, "1,000 were sent and {dropped} dropped");

    wait::until("the brake ends by itself", Duration::from_secs(30), || {
        Ok(between.problems()?.is_empty())
    })?;
    for relay in &mut between.relays {
        let status = relay.terminate()?;
        ensure!(status.success(), "mcrd ended with {status}");
    }
    Ok(())
}
