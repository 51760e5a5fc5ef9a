//! Workers that look for frames for a while before they wait.

use anyhow::{Result, ensure};
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use std::net::SocketAddr;

use crate::fixture::{Relay, delivered, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both: Vec<Variant> =
        Variant::all().into_iter().filter(|variant| variant.workers == 1).collect();
    matrix(suite, "busy_poll::waits_are_rare_and_commands_heard", &both, waits_are_rare)
}

/// Frames come every 200 microseconds and a worker looks for 20 milliseconds: it hardly ever waits,
/// and rules change all the same.
fn waits_are_rare(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    Relay::run_on(variant, net, &["--busy-poll-us", "20000"], |relay| {
        let input = SocketAddr::new(variant.family.group(1), 5000);
        let output = SocketAddr::new(variant.family.output_group(1), 6000);
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        let before = relay.settled(0)?.totals.wake_ups;
        let traffic = relay.start_sending(|| relay.generator(), input)?;
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
        let early = traffic.finish()?;
        let waits = relay.settled(0)?.totals.wake_ups - before;
        ensure!(waits * 10 < early.total(), "{waits} waits while {early:?} came");
        drop(sink);
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        let sent = relay.send(input)?;
        delivered(sink, sent)?;
        Ok(())
    })
}
