//! Very many memberships, and memberships that the kernel refuses.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Added, Command, Request, Response, RuleState, RuleStatus, Rules};
use mcr_api::rule::RuleSpec;
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{igmp, wait};
use mcr_sys::process::limit_descriptors;
use serde_json::Value;

use crate::fixture::{Relay, SOON, delivered, on_core, rule};
use crate::membership::{config_of_groups, joined, numbered_group};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let both = Variant::both_families();
    suite = matrix(suite, "network::ten_thousand_groups", &both, ten_thousand_groups);
    let usual = [Variant::usual()];
    suite = matrix(suite, "network::no_more_memberships", &usual, no_more_memberships);
    matrix(suite, "network::no_more_descriptors", &both, no_more_descriptors)
}

const GROUPS: u16 = 10_000;

/// At the kernel's default limits, which are far below: they are a socket's.
fn ten_thousand_groups(variant: Variant) -> Result<()> {
    let config = config_of_groups(variant, GROUPS)?;
    let path = config.path().to_str().context("a temporary path is plain text")?;
    let net = RelayTopology::builder().build()?;
    ensure!(sysctl(&net.relay, "net/ipv4/igmp_max_memberships")? == "20", "not the default");
    ensure!(sysctl(&net.relay, "net/ipv4/igmp_max_msf")? == "10", "not the default");
    let begun = Instant::now();
    let mut relay = Relay::start(variant, net, &["--config", path])?;
    relay.try_out(|relay| {
        let count = joined(&relay.net.relay, GROUPS)?;
        let took = begun.elapsed();
        let descriptors = fs::read_dir(format!("/proc/{}/fd", relay.daemon.pid()))?.count();
        println!("{count} groups, {variant}: joined within {took:?}, {descriptors} descriptors");
        ensure!(count == usize::from(GROUPS), "{count} of {GROUPS} groups are joined");
        relay.wait_in_sync()?;
        let rules: Rules = relay.daemon.ask(&Command::ListRules {})?;
        let whole = |rule: &RuleStatus| rule.state == RuleState::Active && rule.problems.is_empty();
        ensure!(rules.rules.iter().all(whole), "a rule is not whole");
        relay_some(relay)
    })?;
    let net = relay.stop()?;
    wait::until("every group is left", SOON, || Ok(joined(&net.relay, GROUPS)? == 0))
}

fn sysctl(namespace: &Namespace, name: &str) -> Result<String> {
    let text = namespace.enter(|| fs::read_to_string(format!("/proc/sys/{name}")))?;
    Ok(text.trim().into())
}

/// Two datagrams to each fiftieth group.
fn relay_some(relay: &Relay) -> Result<()> {
    let family = relay.variant.family;
    let output = SocketAddr::new(family.output_group(1), 6000);
    let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
    let mut generator = Generator::new(&relay.net.source, "src0").rate(2_000).count(2);
    for n in (0..GROUPS).step_by(50) {
        let group = SocketAddr::new(numbered_group(family, n), 5000);
        generator = generator.flow(n.into(), group);
    }
    let running = on_core(relay.cores[0], || generator.start())?;
    let sent = running.finish()?.total();
    sink.wait_for(sent, SOON)?;
    let report = sink.finish()?;
    let perfect = report.streams.values().all(|stream| stream.is_perfect(2));
    ensure!(perfect && report.received() == sent, "{} of {sent}", report.received());
    relay.settled(sent).map(drop)
}

fn input(variant: Variant, n: u8) -> SocketAddr {
    SocketAddr::new(variant.family.group(n), 5000)
}

fn output(variant: Variant) -> SocketAddr {
    SocketAddr::new(variant.family.output_group(1), 6000)
}

fn of_group(variant: Variant, n: u8) -> RuleSpec {
    rule(input(variant, n), "in0", &[endpoint(output(variant), "out0")])
}

/// What the kernel refuses stands on the rule until it does not refuse it any more; the other rule
/// of the interface has nothing to do with it.
fn no_more_memberships(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let host = &relay.net.relay;
        relay.add_active(&of_group(variant, 1))?;
        host.sysctl("net/ipv4/igmp_max_memberships", "0")?;
        let refused: Added = relay.add(&of_group(variant, 2))?;
        let [problem] = &refused.problems[..] else { anyhow::bail!("{refused:?}") };
        let group = variant.family.group(2);
        let words = [&group.to_string(), "No buffer space", "igmp_max_memberships"];
        ensure!(words.iter().all(|word| problem.contains(word)), "{problem}");
        let rules: Rules = relay.daemon.ask(&Command::ListRules {})?;
        let shown: Vec<usize> = rules.rules.iter().map(|rule| rule.problems.len()).collect();
        ensure!(shown == [0, 1], "{rules:?}");
        let listed = String::from_utf8(relay.daemon.mcrctl(&["list"])?.stdout)?;
        ensure!(listed.contains(problem), "{listed}");
        ensure!(!igmp::is_member(host, "in0", group)?, "joined in spite of the limit");
        host.sysctl("net/ipv4/igmp_max_memberships", "20")?;
        expect_healed(relay, refused.rule)
    })
}

/// The rule has no problem any more, its group is joined, and it relays.
fn expect_healed(relay: &Relay, id: u64) -> Result<()> {
    let allowed = Instant::now();
    wait::until("the refused is tried again", SOON, || {
        let Rules { rules } = relay.daemon.ask(&Command::ListRules {})?;
        Ok(rules.iter().any(|rule| rule.id == id && rule.problems.is_empty()))
    })?;
    println!("asked again and granted after {:?}", allowed.elapsed());
    let variant = relay.variant;
    ensure!(igmp::is_member(&relay.net.relay, "in0", variant.family.group(2))?, "not joined");
    relay.wait_in_sync()?;
    let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
    delivered(sink, relay.send(input(variant, 2))?).map(drop)
}

/// Each membership takes a place on a socket, and a socket a descriptor.
fn no_more_descriptors(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        relay.add_active(&of_group(variant, 1))?;
        // To be had before there are none.
        let mut connection = relay.daemon.connect()?;
        ask(&mut connection, &Command::ListRules {})?;
        let pid = relay.daemon.pid();
        // Those that are open stay so.
        let before = limit_descriptors(pid, 3)?;
        // Of one source: those of any source have a socket with room.
        let source = Some(variant.family.source(0));
        let rule = RuleSpec { source, ..of_group(variant, 2) };
        let refused = ask(&mut connection, &Command::AddRule { rule })?;
        let refused: Added = serde_json::from_value(refused)?;
        let told = refused.problems.iter().any(|text| text.contains("Too many open files"));
        ensure!(told, "{refused:?}");
        limit_descriptors(pid, before)?;
        expect_healed(relay, refused.rule)
    })
}

/// Asks on a connection that is there.
fn ask(connection: &mut UnixStream, command: &Command) -> Result<Value> {
    let request = serde_json::to_string(&Request { id: 1, command: command.clone() })?;
    connection.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer)?;
    Ok(serde_json::from_str::<Response<Value>>(&answer)?.result?)
}
