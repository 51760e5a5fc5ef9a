//! Addresses that come, change and go: the source of what is sent follows.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mcr_api::control::RuleState;
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{address, hiccup, identity, wait};

use super::scene::{self, RECOVERY, Scene};
use crate::fixture::{Relay, SOON, delivered, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    matrix(suite, "network::the_source_follows_the_addresses", &both, the_source_follows)
        .trial("network::the_source_is_one_that_the_receiver_reaches", reachable_sources)
}

/// `out0` has a link-local address first, as after a failure of DHCP, and `out1` none: what goes to
/// a host and to a group comes from the routable one, and `source=` may name one of `lo`.
fn reachable_sources() -> Result<()> {
    let net = RelayTopology::builder().build()?;
    let [routable, unnumbered] = [0, 1].map(|link| Family::V4.egress(link));
    let loopback = IpAddr::from([10, 66, 0, 1]);
    address::delete_address(&net.relay, "out0", routable)?;
    address::add_address(&net.relay, "out0", [169, 254, 29, 54].into(), 16)?;
    address::add_address(&net.relay, "out0", routable, 24)?;
    address::delete_address(&net.relay, "out1", unnumbered)?;
    address::add_address(&net.relay, "lo", loopback, 32)?;
    Relay::run_on(Variant { workers: 1, ..Variant::usual() }, net, &[], |relay| {
        let net = &relay.net;
        let group = SocketAddr::new(Family::V4.output_group(1), 6000);
        let other = SocketAddr::new(Family::V4.output_group(2), 6000);
        let host = SocketAddr::new(Family::V4.sink(0), 7000);
        let outputs = [
            (endpoint(host, "out0"), Sink::unicast(&net.sinks[0], host)?, routable),
            (endpoint(group, "out0"), Sink::multicast(&net.sinks[0], "sink0", group)?, routable),
            (
                format!("{},source={loopback}", endpoint(other, "out1")),
                Sink::multicast(&net.sinks[1], "sink1", other)?,
                loopback,
            ),
        ];
        let input = SocketAddr::new(Family::V4.group(1), 5000);
        let texts: Vec<String> = outputs.iter().map(|(output, ..)| output.clone()).collect();
        relay.add_active(&rule(input, "in0", &texts))?;
        let sent = relay.send(input)?;
        for (output, sink, source) in outputs {
            let report = delivered(sink, sent)?;
            let origin = report.stream(0).last_origin.map(|origin| origin.ip());
            ensure!(origin == Some(source), "{output} comes from {origin:?}, not {source}");
        }
        Ok(())
    })
}

/// Another network's address, so that the first one's end is not its end, too.
fn second(family: Family) -> (IpAddr, u8) {
    match family {
        Family::V4 => ([10, 22, 0, 1].into(), 24),
        Family::V6 => ("fd00:22::1".parse().expect("an address"), 64),
    }
}

fn the_source_follows(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let relay = &scene.relay.net.relay;
        let first = variant.family.egress(0);
        let (second, bits) = second(variant.family);
        ensure!(origin(scene)? == Some(first), "{:?}", origin(scene)?);
        let before = scene.stream(0)?;
        address::add_address(relay, "out0", second, bits)?;
        scene.relay.daemon.wait_for_log(&format!("{second}"), SOON)?;
        scene.wait_until_relayed()?;
        let after = scene.stream(0)?;
        let unchanged = after.origins == before.origins && after.gaps() == before.gaps();
        ensure!(unchanged, "a new address disturbs what runs: {before:#?}\n{after:#?}");

        address::delete_address(relay, "out0", first)?;
        expect_origin(scene, second, "the source's address removed")?;
        address::add_address(relay, "out0", first, bits)?;
        address::delete_address(relay, "out0", second)?;
        expect_origin(scene, first, "the source's address changed")?;

        // Without any: a link's own address would do for IPv6, until the link has none.
        for address in address::addresses(relay, "out0")? {
            if address.is_ipv4() == first.is_ipv4() {
                address::delete_address(relay, "out0", address)?;
            }
        }
        scene.wait_for_status(RuleState::Active, Some("out0 has no IPv"))?;
        wait::until("the lack has a name", SOON, || {
            let errors = identity::stats(&scene.relay.daemon)?.totals.errors;
            Ok(errors.get("no_address").is_some_and(|copies| *copies > 0))
        })?;
        address::add_address(relay, "out0", first, bits)?;
        expect_origin(scene, first, "the only address added")?;
        scene.wait_for_status(RuleState::Active, None)
    })
}

/// Waits until what is sent comes from an address, which has just become the only one for it.
fn expect_origin(scene: &Scene<'_>, address: IpAddr, what: &str) -> Result<()> {
    let changed = Instant::now();
    let sent = scene.sent();
    wait::until("the source follows", SOON, || {
        Ok(scene.stream(0)?.next_sequence > sent && origin(scene)? == Some(address))
    })
    .with_context(|| format!("{:?} and not {address}", origin(scene)))?;
    let took = hiccup::bound(what, changed, RECOVERY)?;
    println!("{what}, {}: the other is in use after {took:?}", scene.relay.variant);
    Ok(())
}

/// Where the last datagram came from.
fn origin(scene: &Scene<'_>) -> Result<Option<IpAddr>> {
    Ok(scene.stream(0)?.last_origin.map(|origin| origin.ip()))
}
