//! Several datagrams in one frame: what a sender on the same host, another relay for one, or GRO
//! makes of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Result, ensure};
use mcr_api::control::{Added, Command, RuleState, Workers};
use mcr_api::rule::RuleSpec;
use mcr_lab::address::add_address;
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::payload::payload;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{identity, link, wait};
use nix::sys::socket::{setsockopt, sockopt};

use super::{input, output};
use crate::fixture::{Relay, SOON, Sent, delivered, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(super) fn trials(mut suite: Suite) -> Suite {
    let all = Variant::all();
    suite = matrix(suite, "frames::super_frames", &all, super_frames);
    suite = matrix(suite, "frames::super_frames_cut_up", &all, cut_up);
    suite = matrix(suite, "frames::super_frame_with_a_short_end", &all, short_end);
    // With GRO a veth receives on whichever core is free, and two workers then share a flow.
    let one_worker: Vec<_> = all.iter().copied().filter(|variant| variant.workers == 1).collect();
    suite = matrix(suite, "frames::merged_by_gro", &one_worker, merged_by_gro);
    matrix(suite, "frames::relays_in_a_chain", &all, chain)
}

/// Datagrams in one of the sender's super-frames.
const SEGMENTS: u16 = 10;

/// Super-frames that fit a slot of the ring, and such that do not.
const PAYLOADS_BYTES: [usize; 2] = [100, 1_000];

fn super_frames(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let outputs = [endpoint(output(variant), "out0"), endpoint(output(variant), "out1")];
        let added = relay.add_active(&rule(input(variant), "in0", &outputs))?;
        let mut sent_in_all = 0;
        for payload_bytes in PAYLOADS_BYTES {
            let sinks = [(0, "sink0"), (1, "sink1")]
                .map(|(n, ifname)| Sink::multicast(&relay.net.sinks[n], ifname, output(variant)));
            let runs = || {
                let generator = relay.generator().payload_bytes(payload_bytes).count(500);
                generator.segments_per_send(SEGMENTS)
            };
            let sent = relay.send_by(runs, input(variant))?;
            for sink in sinks {
                delivered(sink?, sent)?;
            }
            sent_in_all += sent.total();
        }
        let frames = sent_in_all / u64::from(SEGMENTS);
        let stats = relay.settled(frames)?;
        let totals = stats.totals;
        let in_frames = totals.received == frames && totals.frames_read == frames;
        ensure!(in_frames, "{frames} super-frames, {totals:#?}");
        let in_datagrams = [totals.datagrams, totals.matched, totals.copies / 2, totals.sent / 2];
        ensure!(in_datagrams == [sent_in_all; 4], "{sent_in_all} datagrams, {totals:#?}");
        let of_rule = stats.rules.iter().find(|rule| rule.id == added.rule);
        ensure!(of_rule.is_some_and(|rule| rule.packets == sent_in_all), "{:#?}", stats.rules);
        Ok(())
    })
}

/// Where a segment is longer than the egress takes, every datagram goes by itself.
fn cut_up(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().ingress_mtu(9_000).egress_mtu(1_500).build()?;
    Relay::run_on(variant, net, &[], |relay| {
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out0")]))?;
        let runs = || {
            let generator = relay.generator().payload_bytes(4_000).rate(500).count(200);
            generator.segments_per_send(SEGMENTS)
        };
        let sent = relay.send_by(runs, input(variant))?;
        delivered(sink, sent)?;
        let totals = relay.settled(sent.total() / u64::from(SEGMENTS))?.totals;
        // Each copy was a send of its own.
        ensure!(totals.sends == totals.sent, "{totals:#?}");
        Ok(())
    })
}

fn short_end(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out0")]))?;
        let sender = relay.net.source.enter(|| sender(input(variant)))?;
        setsockopt(&sender, sockopt::UdpGsoSegment, &700)?;
        let parts = [payload(0, 0, 700), payload(0, 1, 700), payload(0, 2, 77)];
        sender.send(&parts.concat())?;
        delivered(sink, Sent { streams: 1, of_each: 3 })?;
        Ok(())
    })
}

/// A socket that sends there out of `src0`, whatever the routing table lacks.
fn sender(destination: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = match destination {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let sender = UdpSocket::bind((any, 0))?;
    setsockopt(&sender, sockopt::BindToDevice, &"src0".into())?;
    sender.connect(destination)?;
    Ok(sender)
}

/// The receive path of `in0` merges frames again that the sender's kernel had split.
fn merged_by_gro(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    link::set_gso_max_segments(&net.source, "src0", 1)?;
    for feature in ["rx-gro", "rx-udp-gro-forwarding"] {
        link::set_feature(&net.relay, "in0", feature, true)?;
    }
    Relay::run_on(variant, net, &[], |relay| {
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output(variant))?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out0")]))?;
        let runs = || relay.generator().segments_per_send(SEGMENTS);
        let sent = relay.send_by(runs, input(variant))?;
        delivered(sink, sent)?;
        let totals = relay.settled(1)?.totals;
        ensure!(totals.datagrams == sent.total(), "{sent:?} {totals:#?}");
        ensure!(totals.frames_read * 2 < sent.total(), "hardly any was merged: {totals:#?}");
        Ok(())
    })
}

/// One relay feeds another over a veth pair, which carries its runs unsplit.
fn chain(variant: Variant) -> Result<()> {
    Relay::run(variant, |first| {
        let second = SecondRelay::start(first)?;
        first.add_active(&rule(input(variant), "in0", &[endpoint(output(variant), "out0")]))?;
        let end = SocketAddr::new(variant.family.output_group(9), 7_000);
        second.add(&rule(output(variant), "sink0", &[endpoint(end, "near0")]))?;
        for payload_bytes in PAYLOADS_BYTES {
            let sink = Sink::multicast(&second.far, "far0", end)?;
            let runs = || {
                let generator = first.generator().payload_bytes(payload_bytes);
                generator.rate(20_000).count(5_000).segments_per_send(SEGMENTS)
            };
            let sent = first.send_by(runs, input(variant))?;
            delivered(sink, sent)?;
        }
        let sent = first.settled(0)?.totals.sent;
        let totals = identity::wait_until_settled(&second.daemon, 1)?.totals;
        ensure!(totals.datagrams == sent && totals.sent == sent, "{sent} {totals:#?}");
        ensure!(totals.frames_read < sent, "no super-frame among {totals:#?}");
        Ok(())
    })
}

/// A relay behind the first one's `out0`, and a namespace behind it.
struct SecondRelay {
    daemon: Daemon,
    far: Namespace,
}

impl SecondRelay {
    fn start(first: &Relay) -> Result<Self> {
        let (near, far) = (first.net.sinks[0].clone(), Namespace::new("far")?);
        link::veth_pair((&near, "near0"), (&far, "far0"))?;
        for (namespace, ifname, number) in [(&near, "near0", 1), (&far, "far0", 2)] {
            link::set_up(namespace, ifname)?;
            add_address(namespace, ifname, Ipv4Addr::new(10, 3, 0, number).into(), 24)?;
            let v6 = Ipv6Addr::new(0xfd00, 3, 0, 0, 0, 0, 0, number.into());
            add_address(namespace, ifname, v6.into(), 64)?;
        }
        link::wait_until_up(&near, "near0")?;
        link::wait_until_up(&far, "far0")?;
        let cores: Vec<String> = first.cores.iter().map(ToString::to_string).collect();
        let (cores, io) = (cores.join(","), first.variant.io.name());
        let daemon = Daemon::start(&near, &["--cores", &cores, "--io", io])?;
        Ok(Self { daemon, far })
    }

    fn add(&self, rule: &RuleSpec) -> Result<()> {
        let added: Added = self.daemon.ask(&Command::AddRule { rule: rule.clone() })?;
        wait::until("the second relay's workers have the rule", SOON, || {
            let workers: Workers = self.daemon.ask(&Command::ListWorkers {})?;
            Ok(workers.workers.iter().all(|worker| worker.in_sync && worker.rules == 1))
        })?;
        ensure!(added.state == RuleState::Active && added.problems.is_empty(), "{added:?}");
        Ok(())
    }
}
