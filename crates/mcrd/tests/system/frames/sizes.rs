//! Payloads from nothing to the largest there is.

use anyhow::{Result, ensure};
use mcr_api::control::{RingClass, RingStats};
use mcr_lab::frame::Checksum;
use mcr_lab::harness::Suite;
use mcr_lab::raw_sender::RawSender;
use mcr_lab::sink::Sink;
use mcr_lab::tap::{RawTap, TappedFrame};
use mcr_lab::topology::RelayTopology;

use super::{frame, input, output};
use crate::fixture::{Relay, SOON, delivered, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(super) fn trials(mut suite: Suite) -> Suite {
    let all = Variant::all();
    suite = matrix(suite, "frames::empty_payloads", &all, empty_payloads);
    suite = matrix(suite, "frames::largest_datagram_in_fragments", &all, largest_datagram);
    suite = matrix(suite, "frames::longer_than_the_egress_mtu", &all, longer_than_the_egress_mtu);
    let both = Variant::both_families();
    suite = matrix(suite, "frames::ring_of_4_kib_slots", &both, ring_of_4_kib_slots);
    let v4 = [Variant::usual()];
    matrix(suite, "frames::padding_inside_the_packet", &v4, padding_inside_the_packet)
}

/// A datagram without payload is a datagram; a hundred at once even make runs of equal size.
fn empty_payloads(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out0")]))?;
        let sender = RawSender::open(&relay.net.source, "src0")?;
        let empty = frame(variant).build();
        for _ in 0..100 {
            sender.send(&empty)?;
        }
        sink.wait_for_strays(100, SOON)?;
        let totals = relay.settled(100)?.totals;
        ensure!(totals.sent == 100 && totals.sent_bytes == 0, "{totals:#?}");
        let report = sink.finish()?;
        let empty = report.strays.iter().all(|stray| stray.payload.is_empty());
        ensure!(empty && report.stray_count == 100 && report.received() == 0, "{report:#?}");
        Ok(())
    })
}

/// The UDP length says how long the payload is, whatever the IP length lets stand behind it.
fn padding_inside_the_packet(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out0")]))?;
        let sender = RawSender::open(&relay.net.source, "src0")?;
        let short = frame(variant).payload(b"mine, not mine").udp_length(8 + 4);
        sender.send(&short.checksum(Checksum::Zero).build())?;
        sink.wait_for_strays(1, SOON)?;
        let report = sink.finish()?;
        ensure!(report.strays[0].payload == b"mine", "{report:#?}");
        Ok(())
    })
}

/// The largest UDP payload of IPv4, from a socket whose kernel cuts it into fragments.
const LARGEST_BYTES: usize = 65_507;

fn largest_datagram(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out0")]))?;
        let largest = || relay.generator().payload_bytes(LARGEST_BYTES).rate(100).count(10);
        let sent = relay.send_by(largest, input(variant))?;
        // What of the datagram, UDP header included, fits a packet of 1,500 bytes, in units of 8.
        let of_each = match variant.family {
            Family::V4 => (1500 - 20) / 8 * 8,
            Family::V6 => (1500 - 40 - 8) / 8 * 8,
        };
        let fragments = sent.total() * (8 + LARGEST_BYTES).div_ceil(of_each) as u64;
        let totals = relay.settled(fragments)?.totals;
        ensure!(totals.drops["ip_fragments_dropped"] == fragments, "{fragments} {totals:#?}");
        ensure!(totals.received == fragments, "{fragments} {totals:#?}");
        // Nothing of them came through, and what is not in fragments still does.
        let sent = relay.send(input(variant))?;
        delivered(sink, sent)?;
        Ok(())
    })
}

/// Jumbo frames come in, and the kernel cuts them up for the egress interface.
fn longer_than_the_egress_mtu(variant: Variant) -> Result<()> {
    cut_up(variant, 9000, 8000, RingClass::Jumbo)
}

fn ring_of_4_kib_slots(variant: Variant) -> Result<()> {
    cut_up(variant, 3500, 3400, RingClass::Standard)
}

fn cut_up(variant: Variant, mtu: u32, payload_bytes: usize, class: RingClass) -> Result<()> {
    let net = RelayTopology::builder().ingress_mtu(mtu).egress_mtu(1500).build()?;
    Relay::run_on(variant, net, &[], |relay| {
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        let tap = RawTap::open(&relay.net.sinks[0], "sink0")?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out0")]))?;
        let long = || relay.generator().payload_bytes(payload_bytes).rate(500).count(200);
        let sent = relay.send_by(long, input(variant))?;
        delivered(sink, sent)?;
        let fragments = tap.frames().iter().filter(|frame| is_fragment(frame)).count() as u64;
        let of_each = payload_bytes.div_ceil(1500) as u64;
        ensure!(fragments == of_each * sent.total(), "{fragments} fragments of {sent:?}");
        let rings = relay.settled(sent.total())?.rings;
        let of_class = |ring: &RingStats| ring.class == class && ring.kernel_drops == 0;
        ensure!(rings.len() == variant.workers && rings.iter().all(of_class), "{rings:#?}");
        Ok(())
    })
}

/// IPv4: an offset, or more to come. IPv6: a fragment header first.
fn is_fragment(frame: &TappedFrame) -> bool {
    match frame.bytes[12..14] {
        [0x08, 0x00] => u16::from_be_bytes([frame.bytes[20], frame.bytes[21]]) & 0x3fff != 0,
        [0x86, 0xdd] => frame.bytes[14 + 6] == 44,
        _ => false,
    }
}
