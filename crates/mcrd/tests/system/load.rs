//! Many packets: nothing is lost without a name, and nothing comes twice.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use mcr_api::control::Mechanism;
use mcr_lab::core_time::CoreTime;
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;

use crate::fixture::{Relay, Sent, rule};
use crate::losses::{VethDrops, accounted};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let variants = [
        Variant { family: Family::V4, workers: 2, io: Mechanism::Uring, ..Variant::usual() },
        Variant { family: Family::V6, workers: 2, io: Mechanism::Poll, ..Variant::usual() },
    ];
    matrix(suite, "load::fifty_thousand_a_second", &variants, fifty_thousand_a_second)
}

/// Datagrams a second over all streams.
const RATE: u64 = 50_000;

/// A slow machine is loaded below that rate, too: where its cores are idle for this share of the
/// time at most.
const IDLE_AT_MOST: f64 = 0.1;

/// How long they are sent.
const SECONDS: u64 = 5;

/// 50,000 datagrams a second for five seconds, each to two groups and a host.
fn fifty_thousand_a_second(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    let mut relay = Relay::start_alone(variant, net)?;
    relay.try_out(|relay| {
        let family = variant.family;
        let input = SocketAddr::new(family.group(1), 5000);
        let groups = [1, 2].map(|n| SocketAddr::new(family.output_group(n), 6000));
        let host = SocketAddr::new(family.sink(1), 7000);
        let [first, second] = &relay.net.sinks[..] else { unreachable!("two links out") };
        let sinks = [
            (0, Sink::multicast(first, "sink0", groups[0])?),
            (1, Sink::multicast(second, "sink1", groups[1])?),
            (1, Sink::unicast(second, host)?),
        ];
        let outputs = [(groups[0], "out0"), (groups[1], "out1"), (host, "out1")];
        let outputs = outputs.map(|(to, ifname)| endpoint(to, ifname));
        relay.add_active(&rule(input, "in0", &outputs))?;
        let veth_drops = VethDrops::begin(&relay.net)?;
        let sent = offer(relay, input)?;
        let arrived = veth_drops.reach_relay(&relay.net, sent.total())?;
        let totals = relay.settled(*arrived.start())?.totals;
        ensure!(arrived.contains(&totals.received), "{arrived:?} arrived: {totals:#?}");
        ensure!(totals.matched + totals.kernel_drops == totals.received, "{totals:#?}");
        ensure!(totals.sent == 3 * totals.matched, "{totals:#?}");
        for (link, sink) in sinks {
            let behind_relay = veth_drops.behind_relay(&relay.net, link)?;
            accounted(sink, totals.matched, behind_relay)?;
        }
        Ok(())
    })?;
    relay.stop().map(drop)
}

/// Sends at the trial's rate, or at what the machine carries beside its other work.
fn offer(relay: &Relay, input: SocketAddr) -> Result<Sent> {
    let streams = relay.cores.len() as u64;
    let generator = || relay.generator().rate(RATE / streams).count(RATE * SECONDS / streams);
    let (start, idle_before) = (Instant::now(), idle_seconds(relay)?);
    let sent = relay.send_by(generator, input)?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = sent.total() as f64 / seconds;
    let idle = (idle_seconds(relay)? - idle_before) / (seconds * relay.cores.len() as f64);
    // The accounts must hold at any rate; the trial would not be one of load below half of it with
    // time to spare.
    eprintln!("load: {} datagrams at {rate:.0} a second, cores idle {idle:.2}", sent.total());
    let loaded = rate > 0.5 * RATE as f64 || idle < IDLE_AT_MOST;
    ensure!(loaded, "{rate:.0} a second only, cores idle for {idle:.2} of the time");
    Ok(sent)
}

/// Seconds for which the relay's cores had nothing to do so far.
fn idle_seconds(relay: &Relay) -> Result<f64> {
    relay.cores.iter().map(|&core| Ok(CoreTime::now(core)?.idle_seconds)).sum()
}
