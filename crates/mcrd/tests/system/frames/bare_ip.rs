//! Interfaces without a link-layer header: tunnels that carry bare IP.

use anyhow::{Result, ensure};
use mcr_lab::harness::Suite;
use mcr_lab::payload::payload;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_sys::tun::{Begins, Offloads};

use super::undescribed::{TAP, tap};
use super::{frame, input, output};
use crate::fixture::{Relay, Sent, delivered, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trial.
pub(super) fn trials(suite: Suite) -> Suite {
    matrix(suite, "frames::bare_ip", &Variant::both_families(), bare_ip)
}

/// Datagrams sent, within a slot of the ring and beyond it in turns.
const COUNT: u64 = 100;

fn bare_ip(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().egress_mtu(9_000).build()?;
    let tun = tap(&net.relay, variant.family, Begins::Ip)?;
    mcr_lab::link::set_mtu(&net.relay, TAP, 9_000)?;
    Relay::run_on(variant, net, &[], |relay| {
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        relay.add_active(&rule(input(variant), TAP, &[endpoint(output(variant), "out0")]))?;
        crate::fixture::on_core(relay.cores[0], || {
            for number in 0..COUNT {
                let bytes = if number % 2 == 0 { 200 } else { 3_000 };
                let built = frame(variant).payload(&payload(0, number, bytes)).build();
                tun.receive(&built[14..], Offloads::default())?;
            }
            Ok(())
        })?;
        delivered(sink, Sent { streams: 1, of_each: COUNT })?;
        let totals = relay.settled(COUNT)?.totals;
        ensure!(totals.received == COUNT && totals.matched == COUNT, "{totals:#?}");
        Ok(())
    })
}
