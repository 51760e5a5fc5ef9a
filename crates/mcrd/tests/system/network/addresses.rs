//! Addresses that come, change and go: the source of what is sent follows.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mcr_api::control::RuleState;
use mcr_lab::harness::Suite;
use mcr_lab::{address, hiccup, identity, wait};

use super::scene::{self, RECOVERY, Scene};
use crate::fixture::SOON;
use crate::variant::{Family, Variant, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    matrix(suite, "network::the_source_follows_the_addresses", &both, the_source_follows)
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
