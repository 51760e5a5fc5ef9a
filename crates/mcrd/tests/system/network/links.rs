//! Interfaces that are absent, come, go, and come back.

use std::time::Instant;

use anyhow::{Result, ensure};
use mcr_api::control::RuleState;
use mcr_lab::harness::Suite;
use mcr_lab::link;
use mcr_lab::namespace::Namespace;
use mcr_lab::topology::RelayTopology;
use mcr_sys::process::limit_descriptors;
use nix::sys::signal::Signal;

use super::scene::{self, Scene};
use super::switch::{NIC, Switch};
use crate::fixture::{Relay, SOON};
use crate::variant::{Variant, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let both = Variant::both_families();
    suite = matrix(suite, "network::absent_at_start", &both, absent_at_start);
    suite = matrix(suite, "network::deleted_and_made_again", &both, deleted_and_made_again);
    suite = matrix(suite, "network::another_of_the_same_number", &both, of_the_same_number);
    let usual = [Variant::usual()];
    suite = matrix(suite, "network::another_without_descriptors", &usual, without_descriptors);
    suite = matrix(suite, "network::renamed", &both, renamed);
    suite = matrix(suite, "network::down_and_up", &both, down_and_up);
    matrix(suite, "network::moved_away_and_back", &both, moved_away_and_back)
}

fn absent_at_start(variant: Variant) -> Result<()> {
    Relay::run_on(variant, RelayTopology::builder().build()?, &[], |relay| {
        let scene = Scene::begin(relay, Switch::make(&relay.net)?)?;
        scene.wait_for_status(RuleState::Pending, Some("nic0 does not exist"))?;
        let tap = scene.listen()?;
        scene.switch.plug(0)?;
        scene.recovered("absent at start", NIC, Instant::now())?;
        scene.wait_until_reported(&tap)?;
        scene.finish()
    })
}

fn deleted_and_made_again(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let relay = &scene.relay.net.relay;
        let before = link::ifindex(relay, NIC)?;
        for _ in 0..3 {
            scene.switch.unplug()?;
            scene.wait_for_status(RuleState::Pending, Some("nic0 does not exist"))?;
            let tap = scene.listen()?;
            scene.switch.plug(0)?;
            scene.recovered("deleted and made again", NIC, Instant::now())?;
            scene.wait_until_reported(&tap)?;
        }
        ensure!(link::ifindex(relay, NIC)? != before, "the kernel used a number again");
        Ok(())
    })
}

/// As fast as it can be, and while the supervisor sees nothing of it.
fn of_the_same_number(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let index = link::ifindex(&scene.relay.net.relay, NIC)?;
        for unseen in [false, true] {
            let tap = scene.listen()?;
            let daemon = &scene.relay.daemon;
            if unseen {
                daemon.signal(Signal::SIGSTOP)?;
            }
            scene.switch.unplug()?;
            scene.switch.plug(index)?;
            if unseen {
                daemon.signal(Signal::SIGCONT)?;
            }
            scene.recovered("another of the same number", NIC, Instant::now())?;
            scene.wait_until_reported(&tap)?;
        }
        Ok(())
    })
}

/// Nothing can be made for it, not even a watch on it, until there are descriptors again.
fn without_descriptors(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let index = link::ifindex(&scene.relay.net.relay, NIC)?;
        let daemon = &scene.relay.daemon;
        let tap = scene.listen()?;
        // Those that are open stay so.
        let before = limit_descriptors(daemon.pid(), 3)?;
        scene.switch.unplug()?;
        scene.switch.plug(index)?;
        daemon.wait_for_log("Too many open files", SOON)?;
        limit_descriptors(daemon.pid(), before)?;
        scene.recovered("descriptors to be had again", NIC, Instant::now())?;
        scene.wait_until_reported(&tap)
    })
}

/// While it is down, and while it is up where the kernel lets it (Linux 6.2).
fn renamed(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let relay = &scene.relay.net.relay;
        for live in [false, true] {
            let rename = |from, to| -> Result<bool> {
                if live {
                    return Ok(link::rename(relay, from, to).is_ok());
                }
                link::set_down(relay, from)?;
                link::rename(relay, from, to)?;
                link::set_up(relay, to)?;
                Ok(true)
            };
            if !rename(NIC, "other0")? {
                continue;
            }
            scene.wait_for_status(RuleState::Pending, Some("nic0 does not exist"))?;
            let group = scene::patient_input(scene.relay).ip();
            ensure!(!mcr_lab::igmp::is_member(relay, "other0", group)?, "still joined");
            let tap = scene.listen()?;
            rename("other0", NIC)?;
            scene.recovered("renamed", NIC, Instant::now())?;
            scene.wait_until_reported(&tap)?;
        }
        Ok(())
    })
}

fn down_and_up(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let relay = &scene.relay.net.relay;
        for _ in 0..3 {
            link::set_down(relay, NIC)?;
            scene.wait_for_status(RuleState::Pending, Some("nic0 is down"))?;
            let tap = scene.listen()?;
            link::set_up(relay, NIC)?;
            scene.recovered("down and up", NIC, Instant::now())?;
            scene.wait_until_reported(&tap)?;
        }
        Ok(())
    })
}

/// The kernel lets it keep its number, so that only its absence tells; the second time the
/// supervisor does not see that either.
fn moved_away_and_back(variant: Variant) -> Result<()> {
    let elsewhere = Namespace::new("elsewhere")?;
    scene::run(variant, |scene| {
        let relay = &scene.relay.net.relay;
        for unseen in [false, true] {
            let daemon = &scene.relay.daemon;
            if unseen {
                daemon.signal(Signal::SIGSTOP)?;
            }
            link::move_to(relay, NIC, &elsewhere)?;
            if !unseen {
                scene.wait_for_status(RuleState::Pending, Some("nic0 does not exist"))?;
            }
            let tap = scene.listen()?;
            link::move_to(&elsewhere, NIC, relay)?;
            link::set_up(relay, NIC)?;
            if unseen {
                daemon.signal(Signal::SIGCONT)?;
            }
            scene.recovered("moved away and back", NIC, Instant::now())?;
            scene.wait_until_reported(&tap)?;
        }
        Ok(())
    })
}
