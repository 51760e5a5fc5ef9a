//! The kernel's room for a filter (`net.core.optmem_max`) is small: the filter becomes coarser, and
//! where even the coarsest does not fit, the rules that it keeps out say so.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, RuleState, RuleStatus, Rules};
use mcr_lab::generator::Generator;
use mcr_lab::harness::{Skip, Suite};
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::wait;

use crate::fixture::{Relay, SOON, delivered, on_core, rule};
use crate::variant::{Family, Variant, endpoint};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite
        .trial("filters::a_small_room_has_a_coarse_filter", a_coarse_filter)
        .trial("filters::without_room_rules_say_so_until_there_is", without_room)
}

/// Rules whose destinations are far from each other.
const SCATTERED: u32 = 300;

/// Streams to some of these.
const STREAMS: u32 = 10;

fn scattered(number: u32) -> SocketAddr {
    let low = number * 55_807 % (1 << 24);
    let group = std::net::Ipv4Addr::from_bits(0xef00_0000 | low.max(1));
    SocketAddr::new(group.into(), 5_000 + number as u16)
}

/// A network whose relay gives each socket so many bytes for its options. Before Linux 6.8 they
/// are the whole machine's, and not a test's to change.
fn give_room(net: &RelayTopology, bytes: &str) -> Result<()> {
    let set = net.relay.sysctl("net/core/optmem_max", bytes);
    set.map_err(|error| Skip::Forbidden(format!("{error:#}")).into())
}

fn output() -> Result<SocketAddr> {
    Ok("239.2.2.1:6000".parse()?)
}

fn a_coarse_filter() -> Result<()> {
    let net = RelayTopology::builder().build()?;
    give_room(&net, "2048")?;
    Relay::run_on(Variant::usual(), net, &[], |relay| {
        for number in 0..SCATTERED {
            let wanted = rule(scattered(number), "in0", &[endpoint(output()?, "out0")]);
            relay.daemon.ask::<mcr_api::control::Added>(&Command::AddRule { rule: wanted })?;
        }
        relay.wait_in_sync()?;
        let Rules { rules } = relay.daemon.ask(&Command::ListRules {})?;
        let whole = |rule: &RuleStatus| rule.state == RuleState::Active && rule.problems.is_empty();
        ensure!(rules.iter().all(whole), "{rules:?}");
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output()?)?;
        let generator = Generator::new(&relay.net.source, "src0").rate(2_000).count(100);
        let generator = (0..STREAMS).fold(generator, |generator, stream| {
            generator.flow(stream, scattered(stream * (SCATTERED - 1) / (STREAMS - 1)))
        });
        let sent = on_core(relay.cores[0], || generator.run())?;
        sink.wait_for(sent.total(), SOON)?;
        let report = sink.finish()?;
        let perfect = (0..STREAMS).all(|stream| report.stream(stream).is_perfect(100));
        ensure!(perfect, "{report:#?}");
        Ok(())
    })
}

fn without_room() -> Result<()> {
    let net = RelayTopology::builder().build()?;
    give_room(&net, "131072")?;
    Relay::run_on(Variant::usual(), net, &[], |relay| {
        let inputs = [1, 2].map(|n| SocketAddr::new(Family::V4.group(n), 5000));
        let wanted =
            inputs.map(|input| output().map(|to| rule(input, "in0", &[endpoint(to, "out0")])));
        let [older, newer] = wanted;
        relay.add_active(&older?)?;
        give_room(&relay.net, "600")?;
        let id = relay.add(&newer?)?.rule;
        let status = || -> Result<RuleStatus> {
            let Rules { rules } = relay.daemon.ask(&Command::ListRules {})?;
            rules.into_iter().find(|rule| rule.id == id).context("the newer rule")
        };
        let kept_out = status()?;
        let said = kept_out.problems.iter().any(|text| text.contains("net.core.optmem_max"));
        ensure!(kept_out.state == RuleState::Pending && said, "{kept_out:?}");
        let relayed = |input| {
            let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output()?)?;
            delivered(sink, relay.send(input)?).map(drop)
        };
        relayed(inputs[0]).context("the older rule")?;
        give_room(&relay.net, "131072")?;
        wait::until("the newer rule receives", SOON, || {
            let now = status()?;
            Ok(now.state == RuleState::Active && now.problems.is_empty())
        })?;
        relayed(inputs[1]).context("the newer rule")
    })
}
