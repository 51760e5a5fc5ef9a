//! Interfaces that become ports of a bridge: their packets are the bridge's then.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, Rules};
use mcr_lab::harness::Suite;
use mcr_lab::raw_sender::RawSender;
use mcr_lab::{igmp, link, wait};

use super::scene::{self, Scene, patient_input};
use super::switch::NIC;
use crate::fixture::{Relay, SOON, rule};
use crate::membership::{RecordType, wait_for_report};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let both = Variant::both_families();
    suite = matrix(suite, "network::an_input_becomes_a_port", &both, an_input_becomes_a_port);
    let usual = [Variant::usual()];
    matrix(suite, "network::an_output_becomes_a_port", &usual, an_output_becomes_a_port)
}

/// Nothing is lost, and the network still hears that the group is wanted: a port's own membership
/// answers no query.
fn an_input_becomes_a_port(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let relay = &scene.relay.net.relay;
        let group = patient_input(scene.relay).ip();
        link::add_bridge(relay, "br0")?;
        link::set_up(relay, "br0")?;
        expect_answer(scene).context("before")?;
        let gaps = scene.stream(0)?.gaps();
        for bridged in [true, false, true] {
            if bridged {
                link::enslave(relay, NIC, "br0")?;
            } else {
                link::release(relay, NIC)?;
            }
            let changed = Instant::now();
            scene.recovered("a bridge's port, or not", NIC, changed)?;
            wait::until("the bridge is joined while it has the port", SOON, || {
                Ok(igmp::is_member(relay, "br0", group)? == bridged)
            })?;
            expect_answer(scene).with_context(|| format!("a port: {bridged}"))?;
        }
        link::delete_link(relay, "br0")?;
        scene.recovered("the bridge deleted", NIC, Instant::now())?;
        expect_answer(scene).context("after")?;
        let lost = scene.stream(0)?.gaps() - gaps;
        ensure!(lost == 0, "{lost} datagrams lost");
        Ok(())
    })
}

/// Asks on the link, as a querying router does now and then, and waits for the answer.
fn expect_answer(scene: &Scene<'_>) -> Result<()> {
    let tap = scene.listen()?;
    let (host, ifname) = scene.switch.host();
    let (query, group) = match scene.relay.variant.family {
        Family::V4 => (igmp::general_query_v4(), patient_input(scene.relay).ip()),
        Family::V6 => (igmp::general_query_v6(), patient_input(scene.relay).ip()),
    };
    RawSender::open(host, ifname)?.send(&query)?;
    wait_for_report(&tap, RecordType::ModeIsExclude, group, &[])
}

/// To a group it goes on; to a host it may not, and the rule says so.
fn an_output_becomes_a_port(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let relay = &scene.relay.net.relay;
        let to_host = SocketAddr::new(variant.family.sink(0), 7000);
        let input = SocketAddr::new(variant.family.group(3), 5000);
        let added = scene.relay.add_active(&rule(input, "in0", &[endpoint(to_host, "out0")]))?;
        link::add_bridge(relay, "br0")?;
        link::set_up(relay, "br0")?;
        for bridged in [true, false] {
            if bridged {
                link::enslave(relay, "out0", "br0")?;
            } else {
                link::release(relay, "out0")?;
            }
            wait::until("the rule tells of the port", SOON, || {
                let problems = problems(scene.relay, added.rule)?;
                let told = problems.iter().any(|text| text.contains("out0 is a port of br0"));
                Ok(told == bridged && problems.len() == usize::from(bridged))
            })?;
            scene.wait_until_relayed()?;
            ensure!(scene.status()?.problems.is_empty(), "{:?}", scene.status());
        }
        Ok(())
    })
}

fn problems(relay: &Relay, id: u64) -> Result<Vec<String>> {
    let Rules { rules } = relay.daemon.ask(&Command::ListRules {})?;
    let rule = rules.into_iter().find(|rule| rule.id == id).context("the rule")?;
    Ok(rule.problems)
}
