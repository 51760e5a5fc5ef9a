//! Checksums that a tunnel's end on this host left to a device, within the payload.

use anyhow::{Context, Result, ensure};
use mcr_lab::frame::internet_checksum;
use mcr_lab::harness::Suite;
use mcr_lab::payload::payload;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_sys::tun::{Begins, Offloads, Segments, Unfilled};

use super::undescribed::{TAP, tap};
use super::{frame, input, output};
use crate::fixture::{Relay, SOON, Sent, delivered, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trial.
pub(super) fn trials(suite: Suite) -> Suite {
    let one = Variant { workers: 1, ..Variant::usual() };
    let both = Family::BOTH.map(|family| Variant { family, ..one });
    matrix(suite, "frames::checksums_within_the_payload", &both, within_the_payload)
}

/// Bytes of payloads: within a slot of the ring, and beyond.
const PAYLOADS_BYTES: [usize; 2] = [300, 3_001];

/// Where the inner header with the checksum stands in the payload, and the checksum in it.
const INNER: [usize; 2] = [50, 6];

/// Frames of each length.
const COUNT: u64 = 20;

/// The copies have the checksum that a device would have filled in. What would have to be cut up
/// within the payload is dropped by name.
fn within_the_payload(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().egress_mtu(9_000).build()?;
    let tap = tap(&net.relay, variant.family, Begins::Ethernet)?;
    mcr_lab::link::set_mtu(&net.relay, TAP, 9_000)?;
    Relay::run_on(variant, net, &[], |relay| {
        relay.add_active(&rule(input(variant), TAP, &[endpoint(output(variant), "out0")]))?;
        for payload_bytes in PAYLOADS_BYTES {
            let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
            for number in 0..COUNT {
                let (bytes, unfilled) = unfilled(variant, number, payload_bytes)?;
                let offloads = Offloads { unfilled: Some(unfilled), segments: None };
                tap.receive(&bytes, offloads).context("a frame")?;
            }
            delivered(sink, Sent { streams: 1, of_each: COUNT })?;
        }
        let (bytes, unfilled) = unfilled(variant, 0, PAYLOADS_BYTES[0])?;
        let headers = unfilled.start + 8;
        let offloads = Offloads {
            unfilled: Some(unfilled),
            segments: Some((headers, 100, Segments::Datagrams)),
        };
        tap.receive(&bytes, offloads).context("a super-frame")?;
        let drops = |reason: &str| Ok::<_, anyhow::Error>(relay.settled(0)?.totals.drops[reason]);
        mcr_lab::wait::until("the super-frame is dropped", SOON, || Ok(drops("coalesced")? > 0))?;
        let totals = relay.settled(2 * COUNT + 1)?.totals;
        ensure!(totals.matched == 2 * COUNT && totals.drops["unfilled"] == 0, "{totals:#?}");
        Ok(())
    })
}

/// A frame, and the checksum within its payload that is still to be filled in; the payload is then
/// that of the lab.
fn unfilled(variant: Variant, number: u64, payload_bytes: usize) -> Result<(Vec<u8>, Unfilled)> {
    let whole = payload(0, number, payload_bytes);
    let mut bytes = frame(variant).payload(&whole).build();
    let start = bytes.len() - payload_bytes + INNER[0];
    let field = start + INNER[1]..start + INNER[1] + 2;
    let wanted = u16::from_be_bytes([bytes[field.start], bytes[field.start + 1]]);
    bytes[field.clone()].fill(0);
    // Added to the sum of all the rest, it makes the complement of the wanted one.
    let sum = u32::from(!wanted) + u32::from(internet_checksum(&bytes[start..]));
    let partial = ((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[field].copy_from_slice(&partial.to_be_bytes());
    Ok((bytes, Unfilled { start: start.try_into()?, offset: INNER[1] as u16 }))
}
