//! One rule with many outputs, many rules side by side, and rules that come and go beside a flow.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mcr_api::control::{Added, Command, Removed, RuleReference};
use mcr_api::rule::RuleSpec;
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;

use crate::fixture::{Relay, SOON, delivered, on_core, rule};
use crate::losses::{VethDrops, accounted};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let all = Variant::all();
    suite = matrix(suite, "fanout::one_rule_four_outputs", &all, one_rule_four_outputs);
    suite = matrix(suite, "fanout::rules_side_by_side", &all, rules_side_by_side);
    matrix(suite, "fanout::rules_come_and_go", &all, rules_come_and_go)
}

fn one_rule_four_outputs(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let family = variant.family;
        let input = SocketAddr::new(family.group(1), 5000);
        let (mut sinks, mut outputs) = (Vec::new(), Vec::new());
        for link in [0, 1] {
            let (sink, ifname) = (&relay.net.sinks[usize::from(link)], format!("sink{link}"));
            let group = SocketAddr::new(family.output_group(link), 6000);
            let host = SocketAddr::new(family.sink(link), 7000);
            sinks.push(Sink::multicast(sink, &ifname, group)?);
            sinks.push(Sink::unicast(sink, host)?);
            outputs.extend([group, host].map(|to| endpoint(to, &format!("out{link}"))));
        }
        relay.add_active(&rule(input, "in0", &outputs))?;
        let sent = relay.send(input)?;
        for sink in sinks {
            delivered(sink, sent)?;
        }
        let stats = relay.settled(sent.total())?;
        ensure!(stats.totals.sent == 4 * sent.total(), "{stats:#?}");
        let of_rule = &stats.rules[0];
        let each = of_rule.outputs.iter().all(|output| output.sent == sent.total());
        ensure!(of_rule.packets == sent.total() && each, "{of_rule:#?}");
        Ok(())
    })
}

/// Rules on each of the two ingress interfaces.
const RULES: u8 = 8;

/// Datagrams for each of them.
const DATAGRAMS: u64 = 250;

/// The same groups on two ingress interfaces, each to an output of its own: no flow strays.
fn rules_side_by_side(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().ingress_links(2).build()?;
    Relay::run_on(variant, net, &[], |relay| {
        let family = variant.family;
        let input = |n| SocketAddr::new(family.group(n), 5000);
        let mut sinks = Vec::new();
        let mut running = Vec::new();
        for link in [0, 1] {
            for n in 0..RULES {
                let output = SocketAddr::new(family.output_group(link * RULES + n), 6000);
                let to = usize::from(n % 2);
                let sink = Sink::multicast(&relay.net.sinks[to], &format!("sink{to}"), output)?;
                sinks.push((stream(link, n), sink));
                let outputs = [endpoint(output, &format!("out{to}"))];
                relay.add_active(&rule(input(n), &format!("in{link}"), &outputs))?;
            }
        }
        for link in [0, 1] {
            let mut generator = Generator::new(&relay.net.source, &format!("src{link}"));
            for n in 0..RULES {
                generator = generator.flow(stream(link, n), input(n));
            }
            let generator = generator.rate(5_000).count(DATAGRAMS);
            // From one core, so that a stream's order is kept; from two cores where there are two
            // workers.
            let core = relay.cores[usize::from(link) % relay.cores.len()];
            running.push(on_core(core, || generator.start())?);
        }
        for generator in running {
            generator.finish()?;
        }
        for (stream, sink) in sinks {
            sink.wait_for(DATAGRAMS, SOON)?;
            let report = sink.finish()?;
            let alone = report.streams.len() == 1 && report.stray_count == 0;
            ensure!(alone && report.stream(stream).is_perfect(DATAGRAMS), "{stream}: {report:#?}");
        }
        let totals = relay.settled(2 * u64::from(RULES) * DATAGRAMS)?.totals;
        ensure!(totals.matched == totals.received && totals.sent == totals.matched, "{totals:#?}");
        Ok(())
    })
}

/// The number of the stream to the `n`th group on a link.
fn stream(link: u8, n: u8) -> u32 {
    u32::from(link) * 100 + u32::from(n)
}

/// Changes of the rules a second: as many additions as removals.
const CHANGES_PER_SECOND: u32 = 200;

/// While rules come and go around it, on its own interfaces and even for its own group, a flow
/// loses nothing that the kernel does not report to have dropped itself.
fn rules_come_and_go(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let input = SocketAddr::new(variant.family.group(1), 5000);
        let output = SocketAddr::new(variant.family.output_group(1), 6000);
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
        let streams = relay.cores.len() as u64;
        let of_each = 16_000 / streams;
        let steady = || relay.generator().rate(8_000 / streams).count(of_each);
        let veth_drops = VethDrops::begin(&relay.net)?;
        let traffic = relay.start_sending(steady, input)?;
        let changes = change_rules(relay, Duration::from_secs(2))?;
        let sent = traffic.finish()?;
        ensure!(changes >= 50, "only {changes} changes: that proves nothing");
        relay.wait_in_sync()?;
        let arrived = veth_drops.reach_relay(&relay.net, sent.total())?;
        let totals = relay.settled(*arrived.start())?.totals;
        ensure!(arrived.contains(&totals.received), "{arrived:?} arrived: {totals:#?}");
        ensure!(totals.matched + totals.kernel_drops == totals.received, "{totals:#?}");
        ensure!(totals.sent == totals.matched, "{totals:#?}");
        accounted(sink, totals.matched, veth_drops.behind_relay(&relay.net, 0)?)
    })
}

/// Adds rules, and takes each away again when ten others have come. Returns how often.
fn change_rules(relay: &Relay, during: Duration) -> Result<u32> {
    let start = Instant::now();
    let mut held = VecDeque::new();
    let mut changes = 0;
    while start.elapsed() < during {
        let rule = other_rule(relay.variant.family, changes);
        let added: Added = relay.daemon.ask(&Command::AddRule { rule })?;
        held.push_back(added.rule);
        changes += 1;
        if held.len() > 10
            && let Some(id) = held.pop_front()
        {
            let rule = RuleReference::Id(id);
            let _: Removed = relay.daemon.ask(&Command::RemoveRule { rule })?;
            changes += 1;
        }
        // Paced, not hoped for: this is the rate of changes.
        let due = Duration::from_secs(1) * changes / CHANGES_PER_SECOND;
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(changes)
}

/// A rule of another group, in turn by an egress socket of its own, for several outputs, or for the
/// flow's own group from a source that sends nothing.
fn other_rule(family: Family, number: u32) -> RuleSpec {
    let n = (number % 200) as u8;
    let input = SocketAddr::new(family.group(n + 2), 5000);
    let output = SocketAddr::new(family.output_group(n + 2), 6000);
    let (out0, out1) = (endpoint(output, "out0"), endpoint(output, "out1"));
    match number % 3 {
        0 => rule(input, "in0", &[format!("{out0},ttl={}", n + 1)]),
        1 => rule(input, "in0", &[out0, out1]),
        _ => {
            let own_group = SocketAddr::new(family.group(1), 5000);
            RuleSpec { source: Some(silent_source(family, n)), ..rule(own_group, "in0", &[out1]) }
        }
    }
}

fn silent_source(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => [192, 0, 2, n].into(),
        Family::V6 => [0x2001, 0xdb8, 0x77, 0, 0, 0, 0, n.into()].into(),
    }
}
