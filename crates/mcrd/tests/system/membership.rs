//! Memberships: there with the rule, gone with it, and told to the network.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use mcr_api::rule::RuleSpec;
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::tap::{Direction, RawTap, TappedFrame};
use mcr_lab::topology::RelayTopology;
use mcr_lab::{igmp, link, wait};

use crate::fixture::{Relay, SOON, on_core, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let both = Variant::both_families();
    suite = matrix(suite, "membership::of_any_source", &both, of_any_source);
    suite = matrix(suite, "membership::of_one_source", &both, of_one_source);
    suite = matrix(suite, "membership::ends_with_the_daemon", &both, ends_with_the_daemon);
    suite = matrix(suite, "membership::shared_by_rules", &both, shared_by_rules);
    matrix(suite, "membership::a_thousand_groups", &both, a_thousand_groups)
}

/// Rule for the `n`th group, from any source.
fn of_group(variant: Variant, n: u8) -> RuleSpec {
    let input = SocketAddr::new(variant.family.group(n), 5000);
    let output = SocketAddr::new(variant.family.output_group(n), 6000);
    rule(input, "in0", &[endpoint(output, "out0")])
}

fn from_source(variant: Variant, n: u8) -> RuleSpec {
    RuleSpec { source: Some(variant.family.source(0)), ..of_group(variant, n) }
}

/// How the state of a group, or a change of it, is reported (RFC 3376, section 4.2.12; RFC 3810,
/// section 5.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordType {
    ModeIsExclude = 2,
    ChangeToInclude = 3,
    ChangeToExclude = 4,
    AllowNewSources = 5,
    BlockOldSources = 6,
}

fn of_any_source(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let group = variant.family.group(1);
        let tap = RawTap::open(&relay.net.source, "src0")?;
        let added = relay.add_active(&of_group(variant, 1))?;
        ensure!(igmp::is_member(&relay.net.relay, "in0", group)?, "not joined");
        wait_for_report(&tap, RecordType::ChangeToExclude, group, &[])?;
        relay.remove(added.rule)?;
        ensure!(!igmp::is_member(&relay.net.relay, "in0", group)?, "not left");
        wait_for_report(&tap, RecordType::ChangeToInclude, group, &[])
    })
}

fn of_one_source(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let (group, source) = (variant.family.group(1), variant.family.source(0));
        let tap = RawTap::open(&relay.net.source, "src0")?;
        let added = relay.add_active(&from_source(variant, 1))?;
        ensure!(igmp::is_member(&relay.net.relay, "in0", group)?, "not joined");
        ensure!(includes(&relay.net.relay, group, source)?, "not joined for the source only");
        wait_for_report(&tap, RecordType::AllowNewSources, group, &[source])?;
        relay.remove(added.rule)?;
        ensure!(!igmp::is_member(&relay.net.relay, "in0", group)?, "not left");
        wait_for_report(&tap, RecordType::BlockOldSources, group, &[source])
    })
}

/// SIGTERM: the daemon leaves every group before it ends.
fn ends_with_the_daemon(variant: Variant) -> Result<()> {
    let mut relay = Relay::start(variant, RelayTopology::builder().build()?, &[])?;
    let tap = RawTap::open(&relay.net.source, "src0")?;
    let groups = [1, 2].map(|n| variant.family.group(n));
    relay.try_out(|relay| {
        relay.add_active(&of_group(variant, 1))?;
        relay.add_active(&from_source(variant, 2))?;
        for group in groups {
            ensure!(igmp::is_member(&relay.net.relay, "in0", group)?, "{group} not joined");
        }
        Ok(())
    })?;
    let net = relay.stop()?;
    for group in groups {
        ensure!(!igmp::is_member(&net.relay, "in0", group)?, "{group} not left");
    }
    wait_for_report(&tap, RecordType::ChangeToInclude, groups[0], &[])?;
    wait_for_report(&tap, RecordType::BlockOldSources, groups[1], &[variant.family.source(0)])
}

/// Two rules for one group, on different ports: the first to go takes nothing from the other.
fn shared_by_rules(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let group = variant.family.group(1);
        let first = relay.add_active(&of_group(variant, 1))?;
        let input = endpoint(SocketAddr::new(group, 5001), "in0");
        let second = relay.add_active(&RuleSpec { input, ..of_group(variant, 1) })?;
        relay.remove(first.rule)?;
        ensure!(igmp::is_member(&relay.net.relay, "in0", group)?, "left too early");
        relay.remove(second.rule)?;
        ensure!(!igmp::is_member(&relay.net.relay, "in0", group)?, "not left");
        Ok(())
    })
}

/// Whether the interface listens to the group for this source, and to no exclusion.
fn includes(namespace: &Namespace, group: IpAddr, source: IpAddr) -> Result<bool> {
    let filters = igmp::source_filters(namespace)?;
    let ours = |f: &&igmp::SourceFilter| f.group == group && f.source == source;
    Ok(filters.iter().find(ours).is_some_and(|f| (f.included, f.excluded) == (1, 0)))
}

/// Waits until the relay has reported a group on the link of a host.
pub(crate) fn wait_for_report(
    tap: &RawTap,
    kind: RecordType,
    group: IpAddr,
    sources: &[IpAddr],
) -> Result<()> {
    let record = [&[kind as u8, 0, 0, sources.len() as u8][..], &octets(group)].concat();
    let record = sources.iter().fold(record, |all, source| [all, octets(*source)].concat());
    let seen = tap.wait_for(SOON, |frame| {
        frame.direction == Direction::Received
            && is_report(frame)
            && frame.bytes.windows(record.len()).any(|part| part == record)
    });
    seen.map(drop).with_context(|| format!("{kind:?} of {group} {sources:?} is not reported"))
}

/// An `IGMPv3` report (RFC 3376, section 4.2; its packet bears the router alert option), or one of
/// `MLDv2` (RFC 3810, section 5.2; behind hop-by-hop options).
fn is_report(frame: &TappedFrame) -> bool {
    let byte = |at: usize| frame.bytes.get(at).copied();
    match frame.bytes.get(12..14) {
        Some([0x08, 0x00]) => byte(14 + 9) == Some(2) && byte(14 + 24) == Some(0x22),
        Some([0x86, 0xdd]) => byte(14 + 40) == Some(58) && byte(14 + 40 + 8) == Some(143),
        _ => false,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Fifty times as many as one socket may join at the kernel's default, and four times as many as
/// the packet filter can tell apart.
const GROUPS: u16 = 1_000;

fn a_thousand_groups(variant: Variant) -> Result<()> {
    let config = config_of_groups(variant, GROUPS)?;
    let path = config.path().to_str().context("a temporary path is plain text")?;
    let net = RelayTopology::builder().build()?;
    let mut relay = Relay::start(variant, net, &["--config", path])?;
    relay.try_out(|relay| {
        relay.wait_in_sync()?;
        ensure!(
            joined(&relay.net.relay, GROUPS)? == usize::from(GROUPS),
            "not every group is joined"
        );
        let output = SocketAddr::new(variant.family.output_group(1), 6000);
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        let mut generator = Generator::new(&relay.net.source, "src0").rate(5_000).count(2);
        for n in 0..GROUPS {
            let group = SocketAddr::new(numbered_group(variant.family, n), 5000);
            generator = generator.flow(n.into(), group);
        }
        let running = on_core(relay.cores[0], || generator.start())?;
        let sent = running.finish()?.total();
        sink.wait_for(sent, SOON)?;
        let report = sink.finish()?;
        let perfect = (0..GROUPS).all(|n| report.stream(n.into()).is_perfect(2));
        ensure!(perfect, "{} of {sent}, {} strays", report.received(), report.stray_count);
        let totals = relay.settled(sent)?.totals;
        ensure!(totals.matched == sent && totals.received == sent, "{totals:#?}");
        Ok(())
    })?;
    let net = relay.stop()?;
    wait::until("every group is left", SOON, || Ok(joined(&net.relay, GROUPS)? == 0))
}

/// How many of the first so many numbered groups are joined on `in0`.
pub(crate) fn joined(relay: &Namespace, count: u16) -> Result<usize> {
    let ifindex = link::ifindex(relay, "in0")?;
    let groups: BTreeSet<IpAddr> = Family::BOTH
        .into_iter()
        .flat_map(|family| (0..count).map(move |n| numbered_group(family, n)))
        .collect();
    let here = igmp::memberships(relay)?.into_iter().filter(|m| m.ifindex == ifindex);
    Ok(here.filter(|membership| groups.contains(&membership.group)).count())
}

/// Groups with gaps between them, so that a filter of intervals lets in what nobody wants, too.
pub(crate) fn numbered_group(family: Family, n: u16) -> IpAddr {
    let number = 3 * n;
    match family {
        Family::V4 => {
            let [high, low] = number.to_be_bytes();
            Ipv4Addr::new(239, 7, high, low).into()
        }
        Family::V6 => Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 7, number).into(),
    }
}

/// A configuration with a rule for each of the first so many numbered groups.
pub(crate) fn config_of_groups(variant: Variant, count: u16) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    let output = endpoint(SocketAddr::new(variant.family.output_group(1), 6000), "out0");
    for n in 0..count {
        let group = SocketAddr::new(numbered_group(variant.family, n), 5000);
        let input = endpoint(group, "in0");
        writeln!(file, "[[rule]]\ninput = \"{input}\"\noutputs = [\"{output}\"]")?;
    }
    Ok(file)
}
