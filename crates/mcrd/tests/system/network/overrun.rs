//! More changes than the kernel can tell of: what it could not say is read all the same.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mcr_api::control::RuleState;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::{address, link, wait};
use nix::sys::signal::Signal;

use super::scene;
use super::switch::NIC;
use crate::fixture::SOON;
use crate::variant::{Variant, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    matrix(suite, "network::messages_lost_by_the_kernel", &both, messages_lost_by_the_kernel)
}

/// The supervisor stands still while a flood of messages fills its socket; only then comes what
/// matters.
fn messages_lost_by_the_kernel(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let relay = &scene.relay.net.relay;
        link::veth_pair((relay, "noise0"), (relay, "noise1"))?;
        ensure!(lost_messages(relay)? == 0, "lost before the flood");
        scene.relay.daemon.signal(Signal::SIGSTOP)?;
        link::flap(relay, "noise0", 1_000)?;
        let lost = lost_messages(relay)?;
        ensure!(lost > 0, "the flood was too small");

        let tap = scene.listen()?;
        let (first, second) = (variant.family.egress(0), variant.family.egress(9));
        let bits = if first.is_ipv4() { 24 } else { 64 };
        address::add_address(relay, "out0", second, bits)?;
        address::delete_address(relay, "out0", first)?;
        let index = link::ifindex(relay, NIC)?;
        scene.switch.unplug()?;
        scene.switch.plug(0)?;
        ensure!(link::ifindex(relay, NIC)? != index, "the kernel used a number again");
        ensure!(lost_messages(relay)? > lost, "what matters was told after all");

        scene.relay.daemon.signal(Signal::SIGCONT)?;
        scene.recovered("after lost messages", NIC, Instant::now())?;
        scene.wait_until_reported(&tap)?;
        wait::until("the source follows", SOON, || {
            Ok(scene.stream(0)?.last_origin.map(|origin| origin.ip()) == Some(second))
        })?;
        scene.wait_for_status(RuleState::Active, None)
    })
}

/// How many messages the kernel could not queue for whoever listens to the changes of this
/// namespace: column "Drops" of the sockets with groups.
fn lost_messages(namespace: &Namespace) -> Result<u64> {
    let table = namespace.read_proc_net("netlink")?;
    let mut lost = 0;
    for line in table.lines().skip(1) {
        let word: Vec<&str> = line.split_whitespace().collect();
        let [_, "0", _, groups, .., drops, _] = word[..] else { continue };
        if groups != "00000000" {
            lost += drops.parse::<u64>().with_context(|| line.to_owned())?;
        }
    }
    Ok(lost)
}
