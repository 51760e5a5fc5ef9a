//! Exclusive rules: what they take comes to nobody else on the relay's host, and everything else
//! does; at their end, whatever ends them, all is as before.

use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use caps::{CapSet, Capability};
use mcr_api::control::{Added, Command, Removed, RuleReference, RuleState, Rules};
use mcr_api::rule::RuleSpec;
use mcr_lab::daemon::Daemon;
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::raw_sender::RawSender;
use mcr_lab::sink::Sink;
use mcr_lab::tap::{Direction, RawTap};
use mcr_lab::topology::RelayTopology;
use mcr_lab::{address, kernel, link, wait};
use mcr_sys::process::limit_descriptors;
use nix::sys::signal::Signal;

use crate::fixture::{Relay, SOON, delivered, rule};
use crate::frames::frame;
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let both = Variant::both_families();
    let usual = [Variant::usual()];
    suite = matrix(suite, "exclusive::only_what_it_takes", &both, only_what_it_takes);
    suite = matrix(suite, "exclusive::of_any_source_but_one", &both, of_any_source_but_one);
    suite = matrix(suite, "exclusive::ends_with_the_rule", &both, ends_with_the_rule);
    suite = matrix(suite, "exclusive::ends_with_the_daemon", &usual, ends_with_the_daemon);
    suite = matrix(suite, "exclusive::on_a_new_interface", &usual, on_a_new_interface);
    let name = "exclusive::on_another_of_the_same_number";
    suite = matrix(suite, name, &usual, on_another_of_the_same_number);
    suite = matrix(suite, "exclusive::not_without_a_ring", &usual, not_without_a_ring);
    suite = matrix(suite, "exclusive::what_is_not_taken", &usual, what_is_not_taken);
    suite = matrix(suite, "exclusive::it_is_part_of_the_rule", &usual, it_is_part_of_the_rule);
    suite.trial("exclusive::without_the_right_to_it", without_the_right_to_it)
}

/// A network of two links in, whose relay's kernel delivers what comes from an unroutable source:
/// this is about what would be heard, and not about the reverse-path filter.
fn network() -> Result<RelayTopology> {
    kernel::require_tcx()?;
    let net = RelayTopology::builder().ingress_links(2).build()?;
    for ifname in ["all", "in0", "in1"] {
        net.relay.sysctl(&format!("net/ipv4/conf/{ifname}/rp_filter"), "0")?;
    }
    Ok(net)
}

fn run(variant: Variant, trial: impl FnOnce(&mut Relay) -> Result<()>) -> Result<()> {
    Relay::run_on(variant, network()?, &[], trial)
}

fn input(variant: Variant) -> SocketAddr {
    SocketAddr::new(variant.family.group(1), 5000)
}

fn output(variant: Variant) -> SocketAddr {
    SocketAddr::new(variant.family.output_group(1), 6000)
}

/// From the first group on `in0` to one on `out0`.
fn shared(variant: Variant) -> RuleSpec {
    rule(input(variant), "in0", &[endpoint(output(variant), "out0")])
}

fn exclusive(variant: Variant) -> RuleSpec {
    RuleSpec { exclusive: true, ..shared(variant) }
}

/// A member of the first group on the relay's own host.
fn listener(relay: &Relay) -> Result<Sink> {
    Sink::multicast(&relay.net.relay, "in0", input(relay.variant))
}

fn only_what_it_takes(variant: Variant) -> Result<()> {
    run(variant, |relay| {
        let (group, host) = (input(variant), relay.net.relay.clone());
        let other_port = SocketAddr::new(group.ip(), 5001);
        let sink = |ifname, at| Sink::multicast(&host, ifname, at);
        let away = || Sink::multicast(&relay.net.sinks[0], "sink0", output(variant));
        let elsewhere = || Generator::new(&relay.net.source, "src1").rate(5_000).count(2_500);

        let added = relay.add_active(&shared(variant))?;
        let (at_home, relayed) = (listener(relay)?, away()?);
        let sent = relay.send(group)?;
        delivered(relayed, sent)?;
        delivered(at_home, sent).context("the rule is not exclusive")?;
        relay.remove(added.rule)?;

        relay.add_active(&exclusive(variant))?;
        let (at_home, relayed) = (listener(relay)?, away()?);
        let on_other_port = sink("in0", other_port)?;
        let on_other_interface = sink("in1", group)?;
        let sent = relay.send(group)?;
        delivered(relayed, sent)?;
        // What follows on the same link came after all of it.
        delivered(on_other_port, relay.send(other_port)?)?;
        delivered(on_other_interface, relay.send_by(elsewhere, group)?)?;
        let report = at_home.finish()?;
        ensure!(report.received() == 0, "heard in spite of an exclusive rule: {report:#?}");
        Ok(())
    })
}

/// A rule of one source that is not exclusive is the exception to one of any source that is.
fn of_any_source_but_one(variant: Variant) -> Result<()> {
    run(variant, |relay| {
        let source = Some(variant.family.source(0));
        let of_one = rule(input(variant), "in0", &[endpoint(output(variant), "out1")]);
        let of_one = relay.add_active(&RuleSpec { source, ..of_one })?;
        relay.add_active(&exclusive(variant))?;
        let (at_home, relayed) =
            (listener(relay)?, Sink::multicast(&relay.net.sinks[1], "sink1", output(variant))?);
        let sent = relay.send(input(variant))?;
        delivered(relayed, sent)?;
        delivered(at_home, sent)?;
        relay.remove(of_one.rule)?;
        hears_nothing(relay)
    })
}

/// All is relayed, and nothing of it heard at home.
fn hears_nothing(relay: &Relay) -> Result<()> {
    let (variant, at_home) = (relay.variant, listener(relay)?);
    let relayed = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
    let sent = relay.send(input(variant))?;
    delivered(relayed, sent)?;
    let after = SocketAddr::new(input(variant).ip(), 5001);
    let last = Sink::multicast(&relay.net.relay, "in0", after)?;
    delivered(last, relay.send(after)?)?;
    let report = at_home.finish()?;
    ensure!(report.received() == 0, "heard in spite of an exclusive rule: {report:#?}");
    Ok(())
}

fn ends_with_the_rule(variant: Variant) -> Result<()> {
    run(variant, |relay| {
        let added = relay.add_active(&exclusive(variant))?;
        hears_nothing(relay)?;
        relay.remove(added.rule)?;
        let at_home = listener(relay)?;
        let sent = relay.send(input(variant))?;
        delivered(at_home, sent).map(drop)
    })
}

/// By SIGKILL, which leaves it no time to undo anything.
fn ends_with_the_daemon(variant: Variant) -> Result<()> {
    let mut relay = Relay::start(variant, network()?, &[])?;
    relay.try_out(|relay| {
        relay.add_active(&exclusive(variant))?;
        hears_nothing(relay)
    })?;
    relay.daemon.signal(Signal::SIGKILL)?;
    relay.daemon.wait_for_exit(SOON)?;
    let at_home = listener(&relay)?;
    let sent = relay.send(input(variant))?;
    delivered(at_home, sent).map(drop)
}

fn on_a_new_interface(variant: Variant) -> Result<()> {
    run(variant, |relay| {
        relay.add_active(&exclusive(variant))?;
        hears_nothing(relay)?;
        let before = link::ifindex(&relay.net.relay, "in0")?;
        link::delete_link(&relay.net.relay, "in0")?;
        wait::until("the rule waits", SOON, || {
            Ok(only_rule(&relay.daemon)?.0 == RuleState::Pending)
        })?;
        make_in0(relay, 0)?;
        ensure!(link::ifindex(&relay.net.relay, "in0")? != before, "it has its old number");
        wait::until("the rule is active again", SOON, || {
            Ok(only_rule(&relay.daemon)? == (RuleState::Active, vec![]))
        })?;
        relay.wait_in_sync()?;
        hears_nothing(relay)
    })
}

/// Its end goes unseen: the program at the ingress has ended all the same.
fn on_another_of_the_same_number(variant: Variant) -> Result<()> {
    run(variant, |relay| {
        relay.add_active(&exclusive(variant))?;
        let index = link::ifindex(&relay.net.relay, "in0")?;
        relay.daemon.signal(Signal::SIGSTOP)?;
        link::delete_link(&relay.net.relay, "in0")?;
        make_in0(relay, index)?;
        relay.daemon.signal(Signal::SIGCONT)?;
        relay.daemon.wait_for_log("another one of the same number", SOON)?;
        wait::until("the rule is active again", SOON, || {
            Ok(only_rule(&relay.daemon)? == (RuleState::Active, vec![]))
        })?;
        relay.wait_in_sync()?;
        hears_nothing(relay)
    })
}

/// A ring that cannot be had again, here for want of descriptors, takes nothing that may end.
fn not_without_a_ring(variant: Variant) -> Result<()> {
    run(variant, |relay| {
        relay.add_active(&exclusive(variant))?;
        hears_nothing(relay)?;
        let pid = relay.daemon.pid();
        let before = limit_descriptors(pid, 3)?;
        link::set_mtu(&relay.net.relay, "in0", 9_000)?;
        relay.daemon.wait_for_log("nothing is received on in0", SOON)?;
        let at_home = listener(relay)?;
        let sent = relay.send(input(variant))?;
        delivered(at_home, sent).context("what no ring takes")?;
        limit_descriptors(pid, before)?;
        wait::until("the rule is active again", SOON, || {
            Ok(only_rule(&relay.daemon)? == (RuleState::Active, vec![]))
        })?;
        relay.wait_in_sync()?;
        hears_nothing(relay)
    })
}

/// Makes the first link in again, with that index at the relay if it is not 0.
fn make_in0(relay: &Relay, index: u32) -> Result<()> {
    let (source, host) = (&relay.net.source, &relay.net.relay);
    link::veth_pair_with_index(index, (host, "in0"), (source, "src0"))?;
    host.sysctl("net/ipv4/conf/in0/rp_filter", "0")?;
    address::add_address(source, "src0", relay.variant.family.source(0), 28)?;
    for (namespace, ifname) in [(source, "src0"), (host, "in0")] {
        link::set_up(namespace, ifname)?;
    }
    for (namespace, ifname) in [(source, "src0"), (host, "in0")] {
        link::wait_until_up(namespace, ifname)?;
    }
    Ok(())
}

fn only_rule(daemon: &Daemon) -> Result<(RuleState, Vec<String>)> {
    let Rules { rules } = daemon.ask(&Command::ListRules {})?;
    ensure!(rules.len() == 1, "{rules:?}");
    Ok((rules[0].state, rules[0].problems.clone()))
}

/// Fragments and the frames of a VLAN are no rule's, and the host's as before.
fn what_is_not_taken(variant: Variant) -> Result<()> {
    run(variant, |relay| {
        relay.add_active(&exclusive(variant))?;
        hears_nothing(relay)?;
        let at_home = listener(relay)?;
        let stack = RawTap::behind_ingress(&relay.net.relay, "in0")?;
        let sender = RawSender::open(&relay.net.source, "src0")?;
        let long = vec![b'f'; 3_000];
        for fragment in frame(variant).payload(&long).fragments(1_000, 7) {
            sender.send(&fragment)?;
        }
        at_home.wait_for_strays(1, SOON).context("no datagram of three fragments")?;
        let report = at_home.finish()?;
        ensure!(report.strays[0].payload == long && report.stray_count == 1, "{report:?}");
        let tagged = b"of another VLAN";
        sender.send(&frame(variant).payload(tagged).vlan(7).build())?;
        let seen = stack.wait_for(SOON, |seen| {
            seen.direction == Direction::Received && seen.bytes.ends_with(tagged)
        });
        seen.map(drop).context("a frame of another VLAN did not get past the ingress")
    })
}

fn it_is_part_of_the_rule(variant: Variant) -> Result<()> {
    run(variant, |relay| {
        let add = |rule: RuleSpec| relay.daemon.ask::<Added>(&Command::AddRule { rule });
        let first = add(exclusive(variant))?;
        let again = add(exclusive(variant))?;
        ensure!(again.rule == first.rule && !again.created, "{again:?}");
        let other = add(shared(variant)).err().context("not exclusive, it is another rule")?;
        ensure!(other.to_string().contains("already takes 239.1.1.1:5000@in0"), "{other}");
        let shown = String::from_utf8(relay.daemon.mcrctl(&["list"])?.stdout)?;
        ensure!(shown.lines().any(|line| line.trim() == "exclusive"), "{shown}");
        relay.remove(first.rule)?;
        let from = endpoint(input(variant), "in0");
        let to = endpoint(output(variant), "out0");
        let added = relay.daemon.mcrctl(&["add", &from, "--to", &to, "--exclusive"])?;
        ensure!(added.status.success() && added.stderr.is_empty(), "{added:?}");
        relay.wait_in_sync()?;
        hears_nothing(relay)
    })
}

/// A daemon that may open packet sockets and no more relays all the same, and says what is not as
/// the rule asks.
fn without_the_right_to_it() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    link::veth_pair((&namespace, "in0"), (&namespace, "out0"))?;
    for ifname in ["in0", "out0"] {
        link::set_up(&namespace, ifname)?;
    }
    address::add_address(&namespace, "out0", "10.2.0.1".parse()?, 24)?;
    let mut daemon = start_without_bpf(&namespace)?;
    let variant = Variant { family: Family::V4, workers: 1, ..Variant::usual() };
    let added: Added = daemon.ask(&Command::AddRule { rule: exclusive(variant) })?;
    let words = ["exclusive is not in force", "Operation not permitted", "CAP_BPF", "setcap"];
    let [problem] = &added.problems[..] else {
        bail!("{added:?}");
    };
    ensure!(added.state == RuleState::Active, "{added:?}");
    ensure!(words.iter().all(|word| problem.contains(word)), "{problem}");
    daemon.wait_for_log("exclusive is not in force", SOON)?;
    // What is shared needs no right, and what is not exclusive any more has no problem.
    let rule = RuleReference::Id(added.rule);
    let _: Removed = daemon.ask(&Command::RemoveRule { rule })?;
    let added: Added = daemon.ask(&Command::AddRule { rule: shared(variant) })?;
    ensure!(added.problems.is_empty(), "{added:?}");
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

/// The bounding set is a thread's own, and that of what it starts.
fn start_without_bpf(namespace: &Namespace) -> Result<Daemon> {
    let start = || {
        // Who administers the system needs no other right.
        for capability in [Capability::CAP_BPF, Capability::CAP_SYS_ADMIN] {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
        Daemon::start(namespace, &["--cores", "0"])
    };
    let started = thread::scope(|scope| scope.spawn(start).join());
    started.map_err(|_| anyhow!("the thread that starts the daemon panicked"))?
}
