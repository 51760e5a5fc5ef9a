//! Headers that lie, contradict each other, or are merely unusual.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use mcr_lab::frame::{Checksum, Extension, Fragment, FrameBuilder};
use mcr_lab::harness::Suite;
use mcr_lab::link::{self, MacAddress};
use mcr_lab::payload::payload;
use mcr_lab::raw_sender::RawSender;
use mcr_lab::sink::Sink;
use mcr_lab::{identity, wait};

use super::{frame, input, output};
use crate::fixture::{Relay, SOON, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trial.
pub(super) fn trials(suite: Suite) -> Suite {
    matrix(suite, "frames::headers", &Variant::all(), headers)
}

/// What is to become of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Relayed, every byte of the payload.
    Relayed,
    /// Read and counted under this reason.
    Dropped(&'static str),
    /// Kept out by the kernel's filter: neither received nor counted.
    KeptOut,
}

use Fate::{Dropped, KeptOut, Relayed};

/// A frame, what is odd about it, and what is to become of it.
type Case = (&'static str, Vec<u8>, Fate);

/// Bytes of every payload.
const PAYLOAD_BYTES: usize = 200;

/// How often each frame is sent.
const TIMES: u64 = 5;

/// Sends each frame some times over. Its counter, and no other, rises by as much; nothing of it is
/// relayed unless it should be; and an ordinary frame sent after it still is.
fn headers(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out0")]))?;
        let sender = RawSender::open(&relay.net.source, "src0")?;
        let mut expected = Expected::default();
        let own_mac = link::mac_address(&relay.net.relay, "in0")?;
        let cases = cases(variant).into_iter().chain(to_hosts(variant, own_mac));
        for (name, bytes, fate) in cases {
            for _ in 0..TIMES {
                sender.send(&bytes).context(name)?;
            }
            sender.send(&ordinary(variant, expected.ordinary))?;
            expected.add(fate);
            sink.wait_for(expected.relayed(), SOON).with_context(|| format!("after {name}"))?;
            let mut seen = BTreeMap::new();
            wait::until(name, SOON, || {
                seen = drops(relay)?;
                Ok(seen == expected.drops)
            })
            .with_context(|| format!("counted {seen:?} instead of {:?}", expected.drops))?;
        }
        let totals = relay.settled(expected.received())?.totals;
        ensure!(totals.received == expected.received(), "{expected:?} {totals:#?}");
        ensure!(drops(relay)? == expected.drops, "{expected:?} {totals:#?}");
        let report = sink.finish()?;
        ensure!(report.stray_count == 0 && report.received() == expected.relayed(), "{report:#?}");
        ensure!(report.stream(ORDINARY).is_perfect(expected.ordinary), "{report:#?}");
        ensure!(report.stream(ODD).corrupt == 0, "{report:#?}");
        Ok(())
    })
}

/// What must have been counted so far.
#[derive(Debug, Default)]
struct Expected {
    ordinary: u64,
    odd_relayed: u64,
    drops: BTreeMap<String, u64>,
}

impl Expected {
    fn add(&mut self, fate: Fate) {
        self.ordinary += 1;
        match fate {
            Relayed => self.odd_relayed += TIMES,
            Dropped(reason) => *self.drops.entry(reason.into()).or_default() += TIMES,
            KeptOut => {}
        }
    }

    fn relayed(&self) -> u64 {
        self.ordinary + self.odd_relayed
    }

    fn received(&self) -> u64 {
        self.relayed() + self.drops.values().sum::<u64>()
    }
}

/// The drop reasons that occurred.
fn drops(relay: &Relay) -> Result<BTreeMap<String, u64>> {
    let mut drops = identity::stats(&relay.daemon)?.totals.drops;
    drops.retain(|_, count| *count > 0);
    Ok(drops)
}

/// The stream of the frames with nothing odd about them.
const ORDINARY: u32 = 1;

/// The stream of all others.
const ODD: u32 = 2;

fn ordinary(variant: Variant, number: u64) -> Vec<u8> {
    frame(variant).payload(&payload(ORDINARY, number, PAYLOAD_BYTES)).build()
}

fn odd(variant: Variant) -> FrameBuilder {
    frame(variant).payload(&payload(ODD, 0, PAYLOAD_BYTES))
}

fn cases(variant: Variant) -> Vec<Case> {
    let mut cases = of_either_family(variant);
    cases.extend(match variant.family {
        Family::V4 => of_ipv4(variant),
        Family::V6 => of_ipv6(variant),
    });
    cases
}

fn of_either_family(variant: Variant) -> Vec<Case> {
    let odd = || odd(variant);
    let whole = odd().build();
    let fragment =
        |offset, more| odd().fragment(Fragment { offset, more, identification: 7 }).build();
    let mut padded = whole.clone();
    padded.extend([0xee; 30]);
    vec![
        ("first fragment", fragment(0, true), Dropped("ip_fragments_dropped")),
        ("middle fragment", fragment(1480, true), Dropped("ip_fragments_dropped")),
        ("last fragment", fragment(2960, false), Dropped("ip_fragments_dropped")),
        ("cut in the payload", whole[..whole.len() - 1].to_vec(), Dropped("truncated")),
        ("cut behind the ports", whole[..whole.len() - 204].to_vec(), Dropped("truncated")),
        ("cut in the IP header", whole[..14 + 19].to_vec(), KeptOut),
        ("IP length beyond the frame", odd().ip_length(1000).build(), Dropped("truncated")),
        ("padding behind the packet", padded, Relayed),
        ("UDP length 0", odd().udp_length(0).build(), Dropped("malformed")),
        ("UDP length 7", odd().udp_length(7).build(), Dropped("malformed")),
        ("UDP length beyond the packet", odd().udp_length(209).build(), Dropped("malformed")),
        ("bad checksum", odd().checksum(Checksum::Bad).build(), Dropped("bad_checksum")),
        ("VLAN tag", odd().vlan(7).build(), Dropped("wrong_vlan")),
        ("priority tag", odd().vlan(0).build(), Relayed),
        ("two VLAN tags", odd().vlan(8).vlan(7).build(), KeptOut),
        ("TTL 1", odd().ttl(1).build(), Relayed),
    ]
}

/// The group in frames that are not for the group's hardware address.
fn to_hosts(variant: Variant, own_mac: MacAddress) -> [Case; 3] {
    let to = |mac| odd(variant).destination_mac(mac).build();
    let stranger = [0x02, 0, 0, 0, 0, 0x99];
    [
        ("a frame for this host", to(own_mac), Relayed),
        ("a frame for all hosts", to([0xff; 6]), Relayed),
        ("a frame for another host", to(stranger), Dropped("other_host")),
    ]
}

fn of_ipv4(variant: Variant) -> Vec<Case> {
    let odd = || odd(variant);
    // Where the port would stand if the header had the 60 bytes that it claims.
    let mut decoy = payload(ODD, 0, PAYLOAD_BYTES);
    decoy[60 + 2 - 28..60 + 4 - 28].copy_from_slice(&input(variant).port().to_be_bytes());
    let long_header = odd().payload(&decoy).ipv4_header_words(15).build();
    let mut bad_header_sum = odd().build();
    bad_header_sum[14 + 8] ^= 1;
    vec![
        ("zero checksum", odd().checksum(Checksum::Zero).build(), Relayed),
        ("options", odd().ipv4_options(&[1, 1, 7, 4, 4, 0]).build(), Relayed),
        ("40 bytes of options", odd().ipv4_options(&[1; 40]).build(), Relayed),
        ("do not fragment", odd().dont_fragment().build(), Relayed),
        ("IP length below the header", odd().ip_length(19).build(), Dropped("malformed")),
        ("IP length within the UDP header", odd().ip_length(27).build(), Dropped("malformed")),
        ("IP length within the payload", odd().ip_length(100).build(), Dropped("malformed")),
        ("header of 16 bytes", odd().ipv4_header_words(4).build(), KeptOut),
        ("header of 60 bytes that are not there", long_header, Dropped("bad_checksum")),
        ("bad header checksum", bad_header_sum, Dropped("bad_checksum")),
        ("TCP", odd().protocol(6).build(), KeptOut),
    ]
}

fn of_ipv6(variant: Variant) -> Vec<Case> {
    let odd = || odd(variant);
    let options = || Extension::DestinationOptions(vec![0; 6]);
    let usual = odd().extension(Extension::HopByHop(vec![0; 6])).extension(options());
    let late = odd().extension(options()).extension(Extension::HopByHop(vec![0; 6]));
    // The extension header ends where its length says, beyond the packet.
    let mut endless = odd().extension(options()).build();
    endless[14 + 40 + 1] = 255;
    let long_chain = (0..9).fold(odd(), |frame, _| frame.extension(options()));
    vec![
        ("zero checksum", odd().checksum(Checksum::Zero).build(), Dropped("no_checksum")),
        ("two extension headers", usual.build(), Relayed),
        ("routing header", odd().extension(Extension::Routing(vec![0; 6])).build(), Relayed),
        ("hop-by-hop options not first", late.build(), Dropped("malformed")),
        ("endless extension header", endless, Dropped("malformed")),
        ("nine extension headers", long_chain.build(), Dropped("malformed")),
        ("payload length 0", odd().ip_length(0).build(), Dropped("malformed")),
        ("payload length within the UDP header", odd().ip_length(7).build(), Dropped("malformed")),
        ("payload length within the payload", odd().ip_length(100).build(), Dropped("malformed")),
        ("TCP", odd().protocol(6).build(), KeptOut),
        ("TCP behind options", odd().protocol(6).extension(options()).build(), Dropped("not_udp")),
    ]
}
