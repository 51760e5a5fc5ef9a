//! Faults of the network, in the relay's namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use mcr_api::control::RuleStatus;
use mcr_sys::process::monotonic_ns;

use super::{Outcome, Scene, Span};
use crate::soak::bed::BYSTANDERS;
use crate::soak::flows::Link;
use crate::soak::schedule::Fault;
use crate::soak::window::Concern;
use crate::{limits, link, wait};

/// Down and up, of the relay's interface or of its other end.
pub(super) fn down(
    scene: &mut Scene,
    fault: &Fault,
    outcome: &mut Outcome,
    far: bool,
) -> Result<()> {
    let begin_ns = monotonic_ns();
    scene.bed.set_down(fault.link, far)?;
    if let (Link::Egress(_), true) = (fault.link, far) {
        let (concern, within) = (Concern::Link(fault.link), limits::soak::NETWORK);
        let untold = untold(scene, concern, &format!("{} has no carrier", fault.link), within);
        outcome.findings.extend(untold.map(|untold| format!("{fault}: {untold}")));
    }
    thread::sleep(fault.hold);
    returned(scene, fault, outcome, begin_ns)
}

/// Down and up several times, faster than the relay can look.
pub(super) fn flaps(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
    let begin_ns = monotonic_ns();
    link::flap(&scene.bed.net.relay, &fault.link.to_string(), limits::soak::FLAPS)?;
    returned(scene, fault, outcome, begin_ns)?;
    if fault.hasty {
        return Ok(());
    }
    scene.wait_until_flowing()?;
    let spinning = scene.relay.spinning()?;
    outcome.findings.extend(spinning.into_iter().map(|busy| format!("{fault}: {busy}")));
    Ok(())
}

/// Deleted, and made anew with another index.
pub(super) fn gone(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
    let begin_ns = monotonic_ns();
    scene.bed.delete(fault.link)?;
    thread::sleep(fault.hold);
    returned(scene, fault, outcome, begin_ns)
}

/// Renamed, up under the other name, and renamed back.
pub(super) fn renamed(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
    let (own, other) = (fault.link.to_string(), "renamed0");
    let begin_ns = monotonic_ns();
    scene.bed.rename(&own, other)?;
    link::set_up(&scene.bed.net.relay, other)?;
    thread::sleep(fault.hold);
    scene.bed.rename(other, &own)?;
    returned(scene, fault, outcome, begin_ns)
}

/// Makes the link whole again; the flows have their second from then on.
fn returned(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome, begin_ns: u64) -> Result<()> {
    scene.bed.restore(fault.link)?;
    if let Link::Egress(number) = fault.link {
        scene.witnesses.join(number)?;
    }
    let span = Span::until_now(begin_ns, limits::soak::NETWORK);
    outcome.announce(fault, Concern::Link(fault.link), span);
    Ok(())
}

/// Other addresses, and the old ones again. Where datagrams leave, their source follows; where
/// they come in, no flow depends on an address.
pub(super) fn address_changed(
    scene: &mut Scene,
    fault: &Fault,
    outcome: &mut Outcome,
) -> Result<()> {
    for to_others in [true, false] {
        let begin_ns = monotonic_ns();
        let addresses = scene.bed.swap_addresses(fault.link, to_others)?;
        let span = Span::until_now(begin_ns, limits::soak::NETWORK);
        let Link::Egress(egress) = fault.link else {
            thread::sleep(limits::soak::APART);
            continue;
        };
        outcome.announce(fault, Concern::Link(fault.link), span);
        let of_link = || (0..scene.flows.len()).filter(|flow| scene.flows[*flow].egress == egress);
        let follows = |flow: usize| {
            scene.witnesses.seen(flow).origin.is_some_and(|origin| addresses.contains(&origin))
        };
        let followed =
            wait::until("the source follows", limits::soak::NETWORK, || Ok(of_link().all(follows)));
        if followed.is_err() {
            let origins: Vec<_> = of_link().map(|flow| scene.witnesses.seen(flow).origin).collect();
            let limit = limits::soak::NETWORK;
            outcome.findings.push(format!("{fault}: after {limit:?} sources are {origins:?}"));
        }
        rest_of(span);
    }
    Ok(())
}

/// A larger MTU where frames come in, for rings of another class; a smaller one where they leave.
pub(super) fn mtu_changed(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
    let other = match fault.link {
        Link::Ingress(_) => limits::soak::JUMBO_MTU,
        Link::Egress(_) => limits::soak::SMALL_MTU,
    };
    for mtu in [other, limits::soak::MTU] {
        let begin_ns = monotonic_ns();
        link::set_mtu(&scene.bed.net.relay, &fault.link.to_string(), mtu)?;
        let span = Span::until_now(begin_ns, limits::soak::NETWORK);
        outcome.announce(fault, Concern::Link(fault.link), span);
        rest_of(span);
    }
    Ok(())
}

/// A host of an output does not answer for its address, and then does. The kernel finds that out,
/// and what goes by the same link to others is not concerned.
pub(super) fn silent_host(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
    let to_hosts = scene.flows.iter().filter(|flow| !flow.destination.ip().is_multicast());
    let hosts: BTreeMap<_, _> =
        to_hosts.map(|flow| (flow.destination.ip(), Link::Egress(flow.egress))).collect();
    let picked = hosts.iter().cycle().nth(fault.number);
    let (&host, &link) = picked.context("some flows go to hosts")?;
    let begin_ns = monotonic_ns();
    scene.bed.silence(link, host)?;
    let (problem, within) = (format!("{host} does not answer"), limits::soak::SILENCE_TOLD);
    let untold = untold(scene, Concern::Host(host), &problem, within);
    outcome.findings.extend(untold.map(|untold| format!("{fault}: {untold}")));
    thread::sleep(fault.hold);
    scene.bed.answer(link, host)?;
    let span = Span::until_now(begin_ns, limits::soak::SILENCE_OVER);
    outcome.announce(fault, Concern::Host(host), span);
    // Before its entry is made permanent again, datagrams show that the kernel has asked.
    scene.wait_until_flowing()?;
    scene.bed.restore(link)
}

/// Waits until every rule with a flow of these tells of the problem; a finding if one does not in
/// time.
fn untold(scene: &Scene, concern: Concern, problem: &str, within: Duration) -> Option<String> {
    let concerned = scene.flows.iter().filter(|flow| concern.covers(flow));
    let expected = concerned.map(|flow| flow.rule).collect::<BTreeSet<_>>().len();
    let tells = |rule: &RuleStatus| rule.problems.iter().any(|told| told.contains(problem));
    let told = wait::until(problem, within, || {
        Ok(scene.relay.rules()?.into_iter().filter(tells).count() == expected)
    });
    told.err().map(|error| format!("rules do not tell that {error:#}"))
}

/// Waits until the window is over and some time has passed in which nothing may be lost.
fn rest_of(span: Span) {
    let until = span.over_ns + (span.limit + limits::soak::APART).as_nanos() as u64;
    thread::sleep(Duration::from_nanos(until.saturating_sub(monotonic_ns())));
}

/// Links and addresses of nobody's change as fast as the kernel takes it.
pub(super) fn storm(scene: &mut Scene) -> Result<()> {
    let relay = &scene.bed.net.relay;
    for _ in 0..limits::soak::STORM / BYSTANDERS.len() {
        for ifname in BYSTANDERS {
            link::set_up(relay, ifname)?;
            link::set_mtu(relay, ifname, limits::soak::SMALL_MTU)?;
            link::set_down(relay, ifname)?;
            link::set_mtu(relay, ifname, limits::soak::MTU)?;
        }
    }
    Ok(())
}
