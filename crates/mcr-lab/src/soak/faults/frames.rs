//! Faults by frames.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use mcr_api::control::{Added, Command, Removed, RuleReference};
use mcr_sys::process::{allowed_cores, pin_to_core};
use mcr_sys::tun::{Begins, Offloads, Tap};

use super::clients::rule;
use super::{Outcome, Scene};
use crate::frame::FrameBuilder;
use crate::soak::bed::Bed;
use crate::soak::relay::Relay;
use crate::soak::schedule::Fault;
use crate::{identity, limits, link, undescribed, wait};

/// The interface that such frames come in by, while they do.
const TAP: &str = "tap0";

/// Where frames go, and their copies.
const INPUT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(239, 9, 6, 1)), 9000);
const OUTPUT: &str = "239.9.7.1:9000@out0";

/// Whether this machine lets the soak make such frames.
pub(in super::super) fn can_stop_rings(bed: &Bed) -> bool {
    bed.net.relay.enter(|| Tap::open(TAP, Begins::Ethernet)).is_ok()
}

/// A frame stops a ring of an interface of its own. The ring is made anew, and what comes to it
/// goes on.
pub(super) fn stop_ring(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
    let relay = &scene.relay;
    let tap = scene.bed.net.relay.enter(|| Tap::open(TAP, Begins::Ethernet))?;
    link::set_up(&scene.bed.net.relay, TAP)?;
    let rule = rule(format!("{INPUT}@{TAP}"), vec![OUTPUT.into()]);
    let id = relay.daemon.ask::<Added>(&Command::AddRule { rule })?.rule;
    let stopped_before = identity::stats(&relay.daemon)?.totals.stuck_rings;
    // A tap's frames are received on the core of the thread that writes them.
    let took = thread::scope(|scope| {
        let core = allowed_cores()[fault.worker];
        let writer = scope.spawn(move || {
            pin_to_core(core)?;
            until_relayed(relay, id, &tap)?;
            // What is under way would seem to have come by the new ring.
            thread::sleep(limits::soak::QUIET);
            undescribed::stop_ring(&tap, frame())?;
            until_relayed(relay, id, &tap)
        });
        writer.join().map_err(|_| anyhow!("a writer of frames has panicked"))?
    })?;
    if took > limits::soak::RING {
        outcome.findings.push(format!("{fault}: the ring was made anew after {took:?}"));
    }
    let stopped = identity::stats(&relay.daemon)?.totals.stuck_rings - stopped_before;
    if stopped != 1 {
        outcome.findings.push(format!("{fault}: {stopped} rings were stopped, and 1 was meant to"));
    }
    relay.daemon.ask::<Removed>(&Command::RemoveRule { rule: RuleReference::Id(id) })?;
    Ok(())
}

/// Writes a frame in each interval until the rule has relayed one, and says how long that took.
fn until_relayed(relay: &Relay, id: u64, tap: &Tap) -> Result<Duration> {
    let (begun, before) = (Instant::now(), sent_of(relay, id)?);
    wait::until("a frame of the tap is relayed", limits::soak::RECOVERY, || {
        tap.receive(&frame().build(), Offloads::default())?;
        Ok(sent_of(relay, id)? > before)
    })?;
    Ok(begun.elapsed())
}

fn frame() -> FrameBuilder {
    let source = SocketAddr::new(Ipv4Addr::new(198, 51, 100, 250).into(), 4000);
    FrameBuilder::udp(source, INPUT).payload(&[0; limits::soak::PAYLOAD_BYTES])
}

/// What a rule has sent by its first output.
pub(super) fn sent_of(relay: &Relay, id: u64) -> Result<u64> {
    let stats = identity::stats(&relay.daemon)?;
    let rule = stats.rules.iter().find(|rule| rule.id == id);
    Ok(rule.and_then(|rule| rule.outputs.first()).context("the rule has an output")?.sent)
}
