//! What `GetStats` tells beside the counters: rates, who sent, and what was asked for only.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use mcr_api::control::{Command, RuleReference, Selection, Stats};
use mcr_lab::harness::Suite;
use mcr_lab::wait;

use crate::fixture::{Relay, SOON, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    suite = matrix(suite, "statistics::the_last_second", &Variant::all(), the_last_second);
    let variants = Variant::both_families();
    matrix(suite, "statistics::a_selection", &variants, a_selection)
}

/// Datagrams of each stream, and how many of them a second: three seconds, for rates are those of
/// one.
const DATAGRAMS: u64 = 3 * RATE;
const RATE: u64 = 2_000;

fn the_last_second(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let family = variant.family;
        let input = SocketAddr::new(family.group(1), 5000);
        let output = SocketAddr::new(family.output_group(1), 6000);
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
        let before: Stats = relay.daemon.ask(&Command::GetStats(Selection::default()))?;
        ensure!(before.rules[0].last_source.is_none(), "{:#?}", before.rules);
        let steady = || relay.generator().rate(RATE).count(DATAGRAMS);
        let traffic = relay.start_sending(steady, input)?;
        let source = family.source(0).to_string();
        wait::until("rates of a flow under way", SOON, || {
            let stats: Stats = relay.daemon.ask(&Command::GetStats(Selection::default()))?;
            let of_rule = &stats.rules[0];
            let address = of_rule.last_source.as_deref().unwrap_or_default();
            let frames: f64 = stats.cores.iter().map(|core| core.rates.frames_per_s).sum();
            let rings: f64 = stats.rings.iter().map(|ring| ring.received_per_s).sum();
            let shares = || stats.cores.iter().map(|core| core.rates.busy_share);
            Ok(of_rule.packets_per_s > 100.0
                && of_rule.outputs[0].sent_per_s > 100.0
                && of_rule.outputs[0].bits_per_s > 100.0
                && of_rule.last_packet_age_ms.is_some_and(|age| age < 1_000)
                && address.contains(&source)
                && frames > 100.0
                && rings > 100.0
                && shares().any(|share| share > 0.0)
                && shares().all(|share| share <= 1.0))
        })?;
        let sent = traffic.finish()?;
        let stats = relay.settled(sent.total())?;
        let batches: u64 = stats.cores.iter().flat_map(|core| &core.batch_sizes).sum();
        ensure!(batches == stats.totals.batches, "{batches} of {}", stats.totals.batches);
        Ok(())
    })
}

fn a_selection(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let family = variant.family;
        let ports = [5000, 5001];
        for (port, out) in ports.into_iter().zip(["out0", "out1"]) {
            let input = SocketAddr::new(family.group(1), port);
            let output = SocketAddr::new(family.output_group(1), port);
            relay.add_active(&rule(input, "in0", &[endpoint(output, out)]))?;
        }
        let ask = |rule: Option<u64>, interface: Option<&str>| -> Result<Vec<u64>> {
            let rule = rule.map(RuleReference::Id);
            let selection = Selection { rule, interface: interface.map(Into::into) };
            let stats: Stats = relay.daemon.ask(&Command::GetStats(selection))?;
            Ok(stats.rules.iter().map(|rule| rule.id).collect())
        };
        let [first, second] = ask(None, None)?.try_into().expect("two rules");
        ensure!(ask(Some(second), None)? == [second]);
        ensure!(ask(None, Some("in0"))? == [first, second]);
        ensure!(ask(None, Some("out1"))? == [second]);
        ensure!(ask(Some(first), Some("out1"))?.is_empty());
        ensure!(ask(Some(999), None).is_err(), "a rule that there is not");
        let rings = Selection { interface: Some("out1".into()), ..Selection::default() };
        let stats: Stats = relay.daemon.ask(&Command::GetStats(rings))?;
        ensure!(stats.rings.is_empty() && stats.cores.len() == variant.workers, "{stats:#?}");
        Ok(())
    })
}
