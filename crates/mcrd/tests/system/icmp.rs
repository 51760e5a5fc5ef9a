//! What forged ICMP messages can do: anybody may send them, and the network's own routers say by
//! them what did not arrive.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::icmpv6::DestUnreachableCode;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder};
use mcr_api::control::{Added, OutputStats};
use mcr_lab::frame::FrameBuilder;
use mcr_lab::harness::Suite;
use mcr_lab::link::MacAddress;
use mcr_lab::raw_sender::RawSender;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{hiccup, identity, link, wait};

use crate::fixture::{Relay, SOON, rule};
use crate::losses::{VethDrops, accounted};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let both = Variant::both_families();
    suite = matrix(suite, "icmp::a_flood_of_reports", &both, a_flood_of_reports);
    matrix(suite, "icmp::a_forged_path_mtu", &both, a_forged_path_mtu)
}

/// Reports of a flood, by portions: far more than the daemon wants to read.
const PORTIONS: u32 = 30;
const PORTION: u32 = 10_000;

/// Reports that the daemon reads, at most, in each time of this length.
const READ_AT_ONCE: u128 = 256;
const READING: Duration = Duration::from_millis(10);

/// The longest that a client may have to wait beside a flood.
const ANSWER: Duration = Duration::from_secs(1);

/// Datagrams a second of each clean stream.
const CLEAN_RATE: u64 = 2_000;

/// Whoever floods the daemon with reports has it count some, and disturbs neither flows nor
/// clients.
fn a_flood_of_reports(variant: Variant) -> Result<()> {
    let mut relay = Relay::start_alone(variant, RelayTopology::builder().build()?)?;
    relay.try_out(|relay| {
        let clean = SocketAddr::new(variant.family.group(2), 5_000);
        let clean_output = SocketAddr::new(variant.family.output_group(2), 6_000);
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", clean_output)?;
        relay.add_active(&rule(clean, "in0", &[endpoint(clean_output, "out0")]))?;
        let victim = Victim::admit(relay)?;
        let report = victim.port_unreachable()?;
        let veth_drops = VethDrops::begin(&relay.net)?;
        let before = relay.settled(0)?.totals;

        let endless = || relay.generator().rate(CLEAN_RATE).count(u64::MAX);
        let traffic = relay.start_sending(endless, clean)?;
        let begun = Instant::now();
        for _ in 0..PORTIONS {
            (0..PORTION).try_for_each(|_| victim.sender.send(&report))?;
            let asked = Instant::now();
            relay.workers()?;
            hiccup::bound("an answer beside a flood", asked, ANSWER)?;
        }
        let readings = begun.elapsed().as_millis() / READING.as_millis();
        let sent = traffic.stop()?;

        let arrived = veth_drops.reach_relay(&relay.net, sent)?;
        let after = relay.settled(before.received + arrived.start())?.totals;
        let copies = after.sent - before.sent;
        let lost = sent.checked_sub(copies).context("more copies than datagrams")?;
        let kernel_drops = after.kernel_drops - before.kernel_drops;
        let explained = kernel_drops + (sent - arrived.start());
        ensure!(lost <= explained, "{lost} of {sent} datagrams lost, {explained} explained");
        accounted(sink, copies, veth_drops.behind_relay(&relay.net, 0)?)?;
        // Two more than there were: what was half over, and what waited when the last had come.
        let counted = u128::from(victim.output()?.unreachable);
        let most = READ_AT_ONCE * (readings + 2);
        ensure!((1..=most).contains(&counted), "{counted} reports, not up to {most}");
        Ok(())
    })?;
    relay.stop().map(drop)
}

/// Before the packet that a frame carries.
const ETHERNET_BYTES: usize = 14;

/// Datagrams that an Ethernet's usual MTU has room for, and no smaller one.
const LONG_BYTES: usize = 1_400;

/// What a path takes, says the forger.
const FORGED_MTU: u16 = 1_280;

/// Whoever says that a path is narrow has the relay lose nothing; and send no fragments, which many
/// a receiver drops, but in IPv6: there routers make none, so that the kernel has to believe them.
fn a_forged_path_mtu(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let victim = Victim::admit(relay)?;
        victim.sender.send(&victim.path_too_narrow()?)?;
        match variant.family {
            Family::V4 => {
                wait::until("the forgery is there", SOON, || Ok(victim.output()?.unreachable > 0))?;
                victim.send_long_ones()?;
                let made = victim.fragments()?;
                ensure!(made == 0, "{made} fragments");
                Ok(())
            }
            Family::V6 => {
                wait::until("the kernel believes the forgery", SOON, || {
                    victim.send_long_ones()?;
                    Ok(victim.fragments()? > 0)
                })?;
                victim.others_keep_their_runs()?;
                victim.keeps_its_order()
            }
        }
    })
}

/// A flow to `sink1`, and somebody in that network who knows of the flow what it takes to forge
/// messages about it. The kernel takes none that comes by another interface than an egress's.
#[derive(Debug)]
struct Victim<'a> {
    relay: &'a Relay,
    rule: Added,
    input: SocketAddr,
    sink: Sink,
    sender: RawSender,
    macs: [MacAddress; 2],
    /// One of its datagrams as the relay sent it: its source and its destination.
    ends: [SocketAddr; 2],
}

impl<'a> Victim<'a> {
    /// Adds the flow's rule, and learns by one datagram where its copies come from.
    fn admit(relay: &'a Relay) -> Result<Self> {
        let family = relay.variant.family;
        let input = SocketAddr::new(family.group(1), 5_000);
        let output = SocketAddr::new(family.sink(1), 7_000);
        let rule = relay.add_active(&rule(input, "in0", &[endpoint(output, "out1")]))?;
        let receiver = relay.net.sinks[1].enter(|| UdpSocket::bind(output))?;
        receiver.set_read_timeout(Some(SOON))?;
        relay.generator().count(1).flow(0, input).run()?;
        let (_, origin) = receiver.recv_from(&mut [0; 2_000]).context("one datagram")?;
        drop(receiver);
        let sender = RawSender::open(&relay.net.sinks[1], "sink1")?;
        let macs = [
            link::mac_address(&relay.net.sinks[1], "sink1")?,
            link::mac_address(&relay.net.relay, "out1")?,
        ];
        let sink = Sink::unicast(&relay.net.sinks[1], output)?;
        Ok(Self { relay, rule, input, sink, sender, macs, ends: [origin, output] })
    }

    /// What the daemon counts of its output.
    fn output(&self) -> Result<OutputStats> {
        let rules = identity::stats(&self.relay.daemon)?.rules;
        let rule = rules.into_iter().find(|stats| stats.id == self.rule.rule);
        rule.and_then(|rule| rule.outputs.into_iter().next()).context("its output")
    }

    /// Datagrams that just fit, sent one by one and in runs of segments: all of them arrive, whole
    /// or put together.
    fn send_long_ones(&self) -> Result<()> {
        const FEW: u64 = 50;
        let before = self.sink.received();
        for segments in [1, 10] {
            let generator = self.relay.generator().rate(1_000).count(FEW);
            let generator = generator.payload_bytes(LONG_BYTES).segments_per_send(segments);
            generator.flow(0, self.input).run()?;
        }
        self.sink.wait_for(before + 2 * FEW, SOON)
    }

    /// A group on the same egress still goes out in runs.
    fn others_keep_their_runs(&self) -> Result<()> {
        const DATAGRAMS: u64 = 200;
        const SEGMENTS: u16 = 10;
        let Self { relay, .. } = self;
        let family = relay.variant.family;
        let input = SocketAddr::new(family.group(2), 5_000);
        let output = SocketAddr::new(family.output_group(2), 7_000);
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out1")]))?;
        let before = relay.settled(0)?.totals;
        let generator = relay.generator().rate(1_000).count(DATAGRAMS);
        let generator = generator.payload_bytes(LONG_BYTES).segments_per_send(SEGMENTS);
        generator.flow(0, input).run()?;
        let after = relay.settled(before.received + DATAGRAMS / u64::from(SEGMENTS))?.totals;
        let [sends, copies] = [after.sends - before.sends, after.sent - before.sent];
        let runs = DATAGRAMS / u64::from(SEGMENTS);
        ensure!(copies == DATAGRAMS && sends <= runs, "{sends} sends for {copies} copies");
        Ok(())
    }

    /// Another rule's first run to the host is refused, and its datagrams arrive in order.
    fn keeps_its_order(&self) -> Result<()> {
        const DATAGRAMS: u64 = 200;
        let Self { relay, .. } = self;
        let family = relay.variant.family;
        let input = SocketAddr::new(family.group(3), 5_000);
        let output = SocketAddr::new(family.sink(1), 7_001);
        let sink = Sink::unicast(&relay.net.sinks[1], output)?;
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out1")]))?;
        let before = relay.settled(0)?.totals.gso_refused;
        let generator = relay.generator().rate(1_000).count(DATAGRAMS).one_core();
        let generator = generator.payload_bytes(LONG_BYTES).segments_per_send(10);
        generator.flow(0, input).run()?;
        sink.wait_for(DATAGRAMS, SOON)?;
        let report = sink.finish()?;
        ensure!(report.stream(0).is_perfect(DATAGRAMS), "{report:#?}");
        let refused = relay.settled(0)?.totals.gso_refused - before;
        // One try in ten seconds for each worker.
        let most = relay.cores.len() as u64 + 1;
        ensure!((1..=most).contains(&refused), "{refused} runs refused");
        Ok(())
    }

    fn port_unreachable(&self) -> Result<Vec<u8>> {
        self.message(
            Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port),
            Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port),
        )
    }

    fn path_too_narrow(&self) -> Result<Vec<u8>> {
        let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: FORGED_MTU };
        self.message(
            Icmpv4Type::DestinationUnreachable(needed),
            Icmpv6Type::PacketTooBig { mtu: FORGED_MTU.into() },
        )
    }

    /// A frame with a message of its family about one of its datagrams.
    fn message(&self, v4: Icmpv4Type, v6: Icmpv6Type) -> Result<Vec<u8>> {
        let family = self.relay.variant.family;
        let [source, destination] = self.macs;
        let link = PacketBuilder::ethernet2(source, destination);
        let (mut frame, quote) = (Vec::new(), self.quote());
        match (family.sink(1), family.egress(1)) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let ip = link.ipv4(from.octets(), to.octets(), 64);
                ip.icmpv4(v4).write(&mut frame, &quote)?;
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let ip = link.ipv6(from.octets(), to.octets(), 64);
                ip.icmpv6(v6).write(&mut frame, &quote)?;
            }
            mixed => bail!("two families: {mixed:?}"),
        }
        Ok(frame)
    }

    /// The datagram as such messages quote it.
    fn quote(&self) -> Vec<u8> {
        let [source, destination] = self.ends;
        FrameBuilder::udp(source, destination).payload(&[0; 64]).build().split_off(ETHERNET_BYTES)
    }

    /// Packets that the relay's kernel made of longer ones.
    fn fragments(&self) -> Result<u64> {
        let net = &self.relay.net.relay;
        let count = match self.relay.variant.family {
            Family::V4 => {
                let text = net.read_proc_net("snmp")?;
                let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
                let (names, counts) = lines.next().zip(lines.next()).context("no \"Ip:\"")?;
                let mut pairs = names.split(' ').zip(counts.split(' '));
                pairs.find(|(name, _)| *name == "FragCreates").and_then(|(_, n)| n.parse().ok())
            }
            Family::V6 => {
                let text = net.read_proc_net("snmp6")?;
                let count = text.lines().find_map(|line| line.strip_prefix("Ip6FragCreates"));
                count.and_then(|count| count.trim().parse().ok())
            }
        };
        count.context("no count of fragments")
    }
}
