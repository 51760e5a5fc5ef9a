//! Outputs that cannot send, or send in vain: counted there alone, while every other output and
//! every other rule gets every datagram; and they recover by themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Added, Command, OutputStats, RuleState, Rules, Stats};
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::{address, hiccup, link, policy, wait};

use crate::fixture::{Relay, SOON, on_core, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Datagrams of each flow of a round.
const DATAGRAMS: u64 = 500;

/// Datagrams a second, both flows together.
const RATE: u64 = 5_000;

/// How soon the relay has taken up a change of the network.
const RECOVERY: Duration = Duration::from_secs(1);

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    let suite = matrix(suite, "egress::no_address", &both, no_address);
    let suite = matrix(suite, "egress::no_interface", &both, no_interface);
    let suite = matrix(suite, "egress::interface_down", &both, interface_down);
    let suite = Family::BOTH.into_iter().fold(suite, |suite, family| {
        let variant = Variant { family, ..Variant::usual() };
        suite.trial(format!("egress::no_carrier::{variant}"), move || no_carrier(variant))
    });
    let suite = matrix(suite, "egress::no_route", &both, no_route);
    let suite = matrix(suite, "egress::dead_hosts", &both, dead_hosts);
    let suite = matrix(suite, "egress::no_neighbour", &both, no_neighbour);
    matrix(suite, "egress::denied", &[Variant::usual()], denied)
}

/// A rule with a healthy output and ill ones, and beside it a rule that has nothing to do with it.
struct Patient<'a> {
    relay: &'a Relay,
    rule: u64,
    other: u64,
    /// Rounds sent so far.
    rounds: u64,
}

impl<'a> Patient<'a> {
    /// The answer to the rule with the ill outputs comes too.
    fn admit(relay: &'a Relay, ill: &[String]) -> Result<(Self, Added)> {
        let other = relay.add_active(&rule(input(relay, 2), "in0", &[healthy(relay, 2)]))?;
        let outputs = [&[healthy(relay, 1)], ill].concat();
        let added = relay.add(&rule(input(relay, 1), "in0", &outputs))?;
        ensure!(added.state == RuleState::Active, "the other outputs wait: {added:?}");
        Ok((Self { relay, rule: added.rule, other: other.rule, rounds: 0 }, added))
    }

    /// Sends to both rules. The healthy outputs must deliver everything; returns the counters of
    /// the ill ones.
    fn round(&mut self) -> Result<Vec<OutputStats>> {
        let relay = self.relay;
        let sinks = [1, 2].map(|n| {
            let group = SocketAddr::new(relay.variant.family.output_group(n), 6000);
            Sink::multicast(&relay.net.sinks[0], "sink0", group)
        });
        let generator = Generator::new(&relay.net.source, "src0").rate(RATE).count(DATAGRAMS);
        let generator = generator.flow(1, input(relay, 1)).flow(2, input(relay, 2));
        // From one core, so that one worker handles all and the order is kept.
        on_core(relay.cores[0], || generator.run())?;
        self.rounds += 1;
        for (stream, sink) in (1..).zip(sinks) {
            expect_all(sink?, stream).with_context(|| format!("healthy output {stream}"))?;
        }
        let stats = relay.settled(self.rounds * 2 * DATAGRAMS)?;
        let healthy = [outputs(&stats, self.other)?[0], outputs(&stats, self.rule)?[0]];
        let all = self.rounds * DATAGRAMS;
        let well = |o: &OutputStats| o.sent == all && o.errors.is_empty() && o.unreachable == 0;
        ensure!(healthy.into_iter().all(well), "{healthy:#?}");
        Ok(outputs(&stats, self.rule)?[1..].iter().copied().cloned().collect())
    }

    /// What `ListRules` says that the rule lacks.
    fn problems(&self) -> Result<Vec<String>> {
        let rules: Rules = self.relay.daemon.ask(&Command::ListRules {})?;
        let status = rules.rules.into_iter().find(|status| status.id == self.rule);
        Ok(status.context("the rule is gone")?.problems)
    }

    /// Waits until `ListRules` says that the rule lacks this, which must be soon after the change
    /// at `changed`.
    fn notices(&self, what: &str, changed: Instant, are: impl Fn(&[String]) -> bool) -> Result<()> {
        wait::until(what, SOON, || Ok(are(&self.problems()?)))?;
        hiccup::bound(what, changed, RECOVERY)?;
        self.relay.wait_in_sync()
    }

    /// The same of nothing.
    fn recovers(&self, changed: Instant) -> Result<()> {
        self.notices("no problem is left", changed, <[String]>::is_empty)
    }
}

/// The counters of a rule's outputs.
fn outputs(stats: &Stats, id: u64) -> Result<Vec<&OutputStats>> {
    let rule = stats.rules.iter().find(|rule| rule.id == id);
    Ok(rule.with_context(|| format!("no rule {id}"))?.outputs.iter().collect())
}

/// The `n`th group sent to the relay.
fn input(relay: &Relay, n: u8) -> SocketAddr {
    SocketAddr::new(relay.variant.family.group(n), 5000)
}

/// An output that delivers to sink 0.
fn healthy(relay: &Relay, n: u8) -> String {
    endpoint(SocketAddr::new(relay.variant.family.output_group(n), 6000), "out0")
}

/// The stream of one round has come to the sink whole, and nothing else.
fn expect_all(sink: Sink, stream: u32) -> Result<()> {
    sink.wait_for(DATAGRAMS, SOON)?;
    let report = sink.finish()?;
    let perfect = report.stream(stream).is_perfect(DATAGRAMS) && report.received() == DATAGRAMS;
    ensure!(perfect && report.stray_count + report.socket_drops == 0, "{report:#?}");
    Ok(())
}

/// Nothing was sent, and each copy failed for this reason.
fn expect_refused(output: &OutputStats, reason: &str, copies: u64) -> Result<()> {
    let only = output.errors.len() == 1 && output.errors.get(reason) == Some(&copies);
    ensure!(only && output.sent == 0, "not {copies} {reason}: {output:?}");
    Ok(())
}

/// The group and port of the output on the interface `spare`.
fn spare_group(relay: &Relay) -> SocketAddr {
    SocketAddr::new(relay.variant.family.output_group(9), 6000)
}

/// Makes `spare` in the relay, up and without any address; it leads to `far` in the second sink's
/// namespace.
fn make_spare(relay: &Relay) -> Result<()> {
    let far_end = &relay.net.sinks[1];
    link::veth_pair((&relay.net.relay, "spare"), (far_end, "far"))?;
    // No link-local address, and those that it is given stay while it is down.
    relay.net.relay.sysctl("net/ipv6/conf/spare/addr_gen_mode", "1")?;
    relay.net.relay.sysctl("net/ipv6/conf/spare/keep_addr_on_down", "1")?;
    link::set_up(&relay.net.relay, "spare")?;
    link::set_up(far_end, "far")?;
    link::wait_until_up(&relay.net.relay, "spare")?;
    link::wait_until_up(far_end, "far")
}

/// Gives `spare` an address; returns when.
fn address_spare(relay: &Relay) -> Result<Instant> {
    let (address, prefix_length) = match relay.variant.family {
        Family::V4 => (Ipv4Addr::new(10, 3, 0, 1).into(), 24),
        Family::V6 => (IpAddr::from(Ipv6Addr::new(0xfd00, 3, 0, 0, 0, 0, 0, 1)), 64),
    };
    address::add_address(&relay.net.relay, "spare", address, prefix_length)?;
    Ok(Instant::now())
}

/// A round in which the output on `spare`, which failed `failed` copies before, delivers too.
fn expect_spare_delivers(patient: &mut Patient<'_>, failed: u64) -> Result<()> {
    let group = spare_group(patient.relay);
    let sink = Sink::multicast(&patient.relay.net.sinks[1], "far", group)?;
    let ill = patient.round()?;
    let errors: u64 = ill[0].errors.values().sum();
    ensure!(ill[0].sent == DATAGRAMS && errors == failed, "{ill:?}");
    expect_all(sink, 1)
}

fn no_address(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        make_spare(relay)?;
        let output = endpoint(spare_group(relay), "spare");
        let (mut patient, _) = Patient::admit(relay, &[output])?;
        // The daemon may not have seen the new interface when it answered.
        patient.notices("the address is missed", Instant::now(), |problems| {
            problems.len() == 1 && problems[0].contains("spare has no IP")
        })?;
        expect_refused(&patient.round()?[0], "no_address", DATAGRAMS)?;
        patient.recovers(address_spare(relay)?)?;
        expect_spare_delivers(&mut patient, DATAGRAMS)
    })
}

fn no_interface(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let output = endpoint(spare_group(relay), "spare");
        let (mut patient, added) = Patient::admit(relay, &[output])?;
        ensure!(added.problems == ["interface spare does not exist"], "{added:?}");
        ensure!(patient.problems()? == added.problems, "{:?}", patient.problems()?);
        expect_refused(&patient.round()?[0], "no_interface", DATAGRAMS)?;
        make_spare(relay)?;
        patient.recovers(address_spare(relay)?)?;
        expect_spare_delivers(&mut patient, DATAGRAMS)?;
        link::delete_link(&relay.net.relay, "spare")?;
        let missed = |problems: &[String]| problems == added.problems;
        patient.notices("the output is missed", Instant::now(), missed)?;
        let ill = patient.round()?;
        ensure!(ill[0].errors.get("no_interface") == Some(&(2 * DATAGRAMS)), "{ill:?}");
        Ok(())
    })
}

fn interface_down(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        make_spare(relay)?;
        address_spare(relay)?;
        link::set_down(&relay.net.relay, "spare")?;
        let output = endpoint(spare_group(relay), "spare");
        let (mut patient, added) = Patient::admit(relay, &[output])?;
        let problem = "interface spare is down";
        wait::until("the problem is named", SOON, || Ok(patient.problems()? == [problem]))
            .with_context(|| format!("{added:?}"))?;
        expect_refused(&patient.round()?[0], "interface_down", DATAGRAMS)?;
        link::set_up(&relay.net.relay, "spare")?;
        patient.recovers(Instant::now())?;
        link::wait_until_up(&relay.net.relay, "spare")?;
        link::wait_until_up(&relay.net.sinks[1], "far")?;
        expect_spare_delivers(&mut patient, DATAGRAMS)
    })
}

fn no_carrier(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        make_spare(relay)?;
        address_spare(relay)?;
        let output = endpoint(spare_group(relay), "spare");
        let (mut patient, _) = Patient::admit(relay, &[output])?;
        patient.recovers(Instant::now())?;
        link::set_down(&relay.net.sinks[1], "far")?;
        patient.notices("the carrier is missed", Instant::now(), |problems| {
            problems.len() == 1 && problems[0].contains("spare has no carrier")
        })?;
        expect_refused(&patient.round()?[0], "no_carrier", DATAGRAMS)?;
        link::set_up(&relay.net.sinks[1], "far")?;
        patient.recovers(Instant::now())?;
        expect_spare_delivers(&mut patient, DATAGRAMS)
    })
}

/// For IPv6 the kernel says that there is no route. For IPv4 it takes a host for a neighbour when a
/// socket is bound to an interface that has no route there, and finds out that there is none.
fn no_route(variant: Variant) -> Result<()> {
    let beyond: IpAddr = match variant.family {
        Family::V4 => Ipv4Addr::new(203, 0, 113, 9).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1).into(),
    };
    Relay::run(variant, |relay| {
        give_up_neighbours_soon(relay);
        let output = endpoint(SocketAddr::new(beyond, 7000), "out1");
        let (mut patient, _) = Patient::admit(relay, &[output])?;
        let ill = patient.round()?;
        match variant.family {
            Family::V4 => expect_reports(&patient, &ill[..1]),
            Family::V6 => expect_refused(&ill[0], "no_route", DATAGRAMS),
        }
    })
}

/// A host that is not there, and one that does not listen until it does.
fn dead_hosts(variant: Variant) -> Result<()> {
    let absent: IpAddr = match variant.family {
        Family::V4 => Ipv4Addr::new(10, 2, 1, 99).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 2, 1, 0, 0, 0, 0, 0x99).into(),
    };
    Relay::run(variant, |relay| {
        give_up_neighbours_soon(relay);
        let deaf = SocketAddr::new(variant.family.sink(1), 7000);
        let outputs = [SocketAddr::new(absent, 7000), deaf].map(|host| endpoint(host, "out1"));
        let (mut patient, _) = Patient::admit(relay, &outputs)?;
        let ill = patient.round()?;
        expect_reports(&patient, &ill)?;
        let sink = Sink::unicast(&relay.net.sinks[1], deaf)?;
        let ill = patient.round()?;
        ensure!(ill.iter().all(|o| o.sent == 2 * DATAGRAMS), "{ill:?}");
        expect_all(sink, 1)
    })
}

/// Has the relay's kernel find out within a second that nobody has an address on `out1`.
/// A host that is not there, which is also the gateway of another, until it comes.
fn no_neighbour(variant: Variant) -> Result<()> {
    let (absent, far): (IpAddr, IpAddr) = match variant.family {
        Family::V4 => ([10, 2, 1, 99].into(), [203, 0, 113, 9].into()),
        Family::V6 => {
            let far = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);
            (Ipv6Addr::new(0xfd00, 2, 1, 0, 0, 0, 0, 0x99).into(), far.into())
        }
    };
    let [host_bits, prefix] = if far.is_ipv4() { [32, 24] } else { [128, 64] };
    Relay::run(variant, |relay| {
        give_up_neighbours_soon(relay);
        address::add_route(&relay.net.relay, far, host_bits, absent)?;
        let outputs = [absent, far].map(|host| endpoint(SocketAddr::new(host, 7000), "out1"));
        let (mut patient, _) = Patient::admit(relay, &outputs)?;
        patient.round()?;
        let missed = |problems: &[String]| {
            let gateway = format!("the gateway {absent} of {far} does not answer on out1");
            problems.len() == 2
                && problems.iter().all(|problem| problem.starts_with("no_neighbour: "))
                && problems.iter().any(|problem| problem.contains(&gateway))
        };
        wait::until("the neighbour is missed", SOON, || Ok(missed(&patient.problems()?)))?;
        let ill = patient.round()?;
        let doubted = |o: &OutputStats| o.sent == 2 * DATAGRAMS && o.doubtful >= DATAGRAMS;
        ensure!(ill.iter().all(doubted), "{ill:?}");
        address::add_address(&relay.net.sinks[1], "sink1", absent, prefix)?;
        let sink = Sink::unicast(&relay.net.sinks[1], SocketAddr::new(absent, 7000))?;
        let before = patient.round()?[0].doubtful;
        wait::until("the neighbour is there", SOON, || {
            // Only a send makes the kernel ask again.
            patient.round()?;
            Ok(patient.problems()?.is_empty())
        })?;
        let settled = patient.round()?[0].doubtful;
        ensure!(settled >= before, "{settled} after {before}");
        ensure!(patient.round()?[0].doubtful == settled, "a neighbour that answers is in doubt");
        let rounds = patient.rounds;
        sink.wait_for(2 * DATAGRAMS, SOON)?;
        let arrived = sink.finish()?.received();
        ensure!(arrived + settled >= rounds * DATAGRAMS, "{arrived} of {rounds} rounds, {settled}");
        Ok(())
    })
}

fn give_up_neighbours_soon(relay: &Relay) {
    for family in ["ipv4", "ipv6"] {
        let sysctl = format!("net/{family}/neigh/out1/retrans_time_ms");
        // Saves time only: older kernels keep it from user namespaces, and need three seconds.
        _ = relay.net.relay.sysctl(&sysctl, "100");
    }
}

/// The kernel took every copy, and of each of these outputs the network reports that they do not
/// arrive.
fn expect_reports(patient: &Patient<'_>, ill: &[OutputStats]) -> Result<()> {
    let all_sent = ill.iter().all(|o| o.sent == DATAGRAMS && o.errors.is_empty());
    ensure!(all_sent, "{ill:?}");
    wait::until("every dead host is reported", SOON, || {
        let stats = mcr_lab::identity::stats(&patient.relay.daemon)?;
        Ok(outputs(&stats, patient.rule)?[1..].iter().all(|o| o.unreachable > 0))
    })
}

/// A policy of the host's forbids to send to the output's host.
fn denied(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let host = Ipv4Addr::new(10, 2, 1, 66);
        policy::block(&relay.net.relay, host)?;
        let output = endpoint(SocketAddr::new(host.into(), 7000), "out1");
        let (mut patient, _) = Patient::admit(relay, &[output])?;
        expect_refused(&patient.round()?[0], "denied", DATAGRAMS)
    })
}
