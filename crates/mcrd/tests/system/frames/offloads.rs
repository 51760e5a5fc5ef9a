//! What senders and drivers leave to hardware: checksums and VLAN tags.

use anyhow::{Context, Result, ensure};
use mcr_lab::frame::{FrameBuilder, udp_checksum};
use mcr_lab::harness::Suite;
use mcr_lab::link;
use mcr_lab::payload::payload;
use mcr_lab::raw_sender::RawSender;
use mcr_lab::sink::Sink;
use mcr_lab::tap::RawTap;
use mcr_lab::topology::RelayTopology;

use super::{frame, input, output};
use crate::fixture::{Relay, SOON, Sent, delivered, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(super) fn trials(mut suite: Suite) -> Suite {
    let all = Variant::all();
    suite = matrix(suite, "frames::checksum_not_filled_in", &all, checksum_not_filled_in);
    matrix(suite, "frames::vlan_interface", &Variant::both_families(), vlan_interface)
}

/// A sender on the same host leaves the checksum to a device that its frames never meet.
fn checksum_not_filled_in(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let tap = RawTap::open(&relay.net.relay, "in0")?;
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out0")]))?;
        let sent = relay.send_by(|| relay.generator().count(100), input(variant))?;
        delivered(sink, sent)?;
        // Else this trial would prove nothing.
        let udp_at = if variant.family == Family::V4 { 14 + 20 } else { 14 + 40 };
        let port = input(variant).port().to_be_bytes();
        let seen = tap.wait_for(SOON, |seen| seen.bytes[udp_at + 2..].starts_with(&port));
        let mut datagram = seen.context("no frame on in0")?.bytes.split_off(udp_at);
        let written = u16::from_be_bytes([datagram[6], datagram[7]]);
        datagram[6..8].fill(0);
        let right = udp_checksum(variant.family.source(0), input(variant).ip(), &datagram);
        ensure!(written != right, "the checksum is filled in");
        Ok(())
    })
}

/// On a VLAN's own interface its frames match, and the parent's rules do not take them.
fn vlan_interface(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    link::add_vlan(&net.relay, "vlan7", "in0", 7)?;
    link::set_up(&net.relay, "vlan7")?;
    Relay::run_on(variant, net, &[], |relay| {
        let of_vlan = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        let of_parent = Sink::multicast(&relay.net.sinks[1], "sink1", output(variant))?;
        relay.add_active(&rule(input(variant), "vlan7", &[endpoint(output(variant), "out0")]))?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out1")]))?;
        let sender = RawSender::open(&relay.net.source, "src0")?;
        let numbered = |stream, number| -> FrameBuilder {
            frame(variant).payload(&payload(stream, number, 200))
        };
        for number in 0..100 {
            sender.send(&numbered(0, number).vlan(7).build())?;
        }
        let sent = Sent { streams: 1, of_each: 100 };
        delivered(of_vlan, sent)?;
        for number in 0..100 {
            sender.send(&numbered(0, number).build())?;
        }
        delivered(of_parent, sent)?;
        let totals = relay.settled(300)?.totals;
        ensure!(totals.drops["wrong_vlan"] == 100 && totals.matched == 200, "{totals:#?}");
        Ok(())
    })
}
