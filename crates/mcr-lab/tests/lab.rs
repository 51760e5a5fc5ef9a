//! The lab tries itself: without the relay, what is sent is what arrives.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use mcr_lab::frame::{FrameBuilder, udp_checksum};
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::payload::payload;
use mcr_lab::raw_sender::RawSender;
use mcr_lab::sink::{Sink, SinkReport};
use mcr_lab::tap::{Direction, RawTap};
use mcr_lab::topology::{self, RelayTopology};
use mcr_lab::{address, igmp, link, packet_socket, wait};
use mcr_sys::capture::{CaptureRing, Captured, Wanted};
use mcr_sys::packet::RingGeometry;
use mcr_sys::tx_ring::TxRing;
use nix::sys::socket::SockProtocol;

/// Enough for what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    Suite::new("lab")
        .trial("ipv4_multicast_arrives_whole", || multicast_arrives_whole("239.1.1.1:5000"))
        .trial("ipv6_multicast_arrives_whole", || multicast_arrives_whole("[ff3e::1234]:5000"))
        .trial("link_local_group_arrives", || multicast_arrives_whole("[ff02::1234]:5000"))
        .trial("relay_unicast_is_reachable", relay_unicast_is_reachable)
        .trial("strict_reverse_path_filter_drops", strict_reverse_path_filter_drops)
        .trial("source_specific_sink", source_specific_sink)
        .trial("raw_frame_is_seen_and_delivered", raw_frame_is_seen_and_delivered)
        .trial("fragments_are_reassembled", fragments_are_reassembled)
        .trial("segments_are_split_before_the_wire", segments_are_split_before_the_wire)
        .trial("checksums_are_filled_in_before_the_wire", checksums_are_filled_in_before_the_wire)
        .trial("a_ring_sends_frames_as_written", a_ring_sends_frames_as_written)
        .trial("corrupt_and_stray_datagrams_are_told", corrupt_and_stray_datagrams_are_told)
        .trial("socket_overrun_is_reported", socket_overrun_is_reported)
        .trial("links_change", links_change)
        .trial("namespaces_vanish", namespaces_vanish)
        .run()
}

fn one_sink() -> Result<RelayTopology> {
    RelayTopology::builder().egress_links(1).build()
}

fn multicast_arrives_whole(group: &str) -> Result<()> {
    let net = one_sink()?;
    let group: SocketAddr = group.parse()?;
    let sink = Sink::multicast(&net.sinks[0], "sink0", group)?;
    igmp::wait_for_member(&net.sinks[0], "sink0", group.ip(), SOON)?;
    let generator = Generator::new(&net.relay, "out0").flow(3, group).rate(20_000).count(20_000);
    let sent = generator.ttl(5).run()?;
    ensure!(sent.total() == 20_000, "{sent:?}");
    ensure!(sent.elapsed >= Duration::from_millis(990), "too fast: {:?}", sent.elapsed);
    sink.wait_for(20_000, SOON)?;
    let report = sink.finish()?;
    ensure_perfect(&report, 3, 20_000)?;
    let stream = report.stream(3);
    ensure!(stream.ttls.iter().eq([&5]), "{:?}", stream.ttls);
    ensure!(stream.latency.samples == 20_000 && stream.latency.p50_ns > 0, "{stream:?}");
    ensure!(stream.origins.len() == 1, "{:?}", stream.origins);
    Ok(())
}

fn ensure_perfect(report: &SinkReport, stream: u32, sent: u64) -> Result<()> {
    let perfect = report.stream(stream).is_perfect(sent);
    ensure!(perfect && report.socket_drops == 0 && report.stray_count == 0, "{report:#?}");
    Ok(())
}

fn relay_unicast_is_reachable() -> Result<()> {
    let net = one_sink()?;
    // Strict reverse-path filtering would drop it before the socket.
    net.relay.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
    net.relay.sysctl("net/ipv4/conf/in0/rp_filter", "0")?;
    let v4 = IpAddr::V4(topology::ingress_v4(0));
    for address in [v4, topology::ingress_v6(0).into()] {
        let address = SocketAddr::new(address, 7000);
        let sink = Sink::unicast(&net.relay, address)?;
        let sent = Generator::new(&net.source, "src0").flow(1, address).count(100).run()?;
        sink.wait_for(sent.total(), SOON)?;
        ensure_perfect(&sink.finish()?, 1, 100)?;
    }
    Ok(())
}

fn strict_reverse_path_filter_drops() -> Result<()> {
    let net = one_sink()?;
    let group: SocketAddr = "239.1.1.1:5000".parse()?;
    let sink = Sink::multicast(&net.relay, "in0", group)?;
    let tap = RawTap::open(&net.relay, "in0")?;
    Generator::new(&net.source, "src0").flow(1, group).count(10).run()?;
    // Its frame of the last sequence number proves that all ten came and were refused.
    let last = payload(1, 9, 24)[4..16].to_vec();
    let seen = tap.wait_for(SOON, |frame| frame.bytes.windows(12).any(|part| part == last));
    ensure!(seen.is_some(), "the frames did not arrive");
    let report = sink.finish()?;
    ensure!(report.received() == 0, "{report:?}");
    Ok(())
}

fn source_specific_sink() -> Result<()> {
    let net = one_sink()?;
    let v4 = (IpAddr::V4(topology::egress_v4(0)), "10.2.0.99", 24, "232.1.1.1:5000");
    let v6 = (IpAddr::V6(topology::egress_v6(0)), "fd00:2::99", 64, "[ff3e::232]:5000");
    for (wanted, unwanted, prefix_length, group) in [v4, v6] {
        let group: SocketAddr = group.parse()?;
        let unwanted: IpAddr = unwanted.parse()?;
        address::add_address(&net.relay, "out0", unwanted, prefix_length)?;
        let sink = Sink::multicast_from(&net.sinks[0], "sink0", wanted, group)?;
        let filters = igmp::source_filters(&net.sinks[0])?;
        let own = filters.iter().find(|filter| filter.group == group.ip());
        ensure!(own.is_some_and(|own| own.source == wanted), "{filters:?}");
        for (stream, source) in [(1, unwanted), (2, wanted)] {
            let generator = Generator::new(&net.relay, "out0").flow(stream, group).count(50);
            generator.source(SocketAddr::new(source, 0)).run()?;
        }
        sink.wait_for(50, SOON)?;
        let report = sink.finish()?;
        ensure_perfect(&report, 2, 50)?;
        ensure!(report.stream(1).received == 0, "{report:?}");
    }
    Ok(())
}

fn raw_frame_is_seen_and_delivered() -> Result<()> {
    let net = one_sink()?;
    for (source, group) in
        [("192.0.2.9:9", "239.7.7.7:5000"), ("[2001:db8::9]:9", "[ff3e::77]:5000")]
    {
        let group: SocketAddr = group.parse()?;
        let sink = Sink::multicast(&net.sinks[0], "sink0", group)?;
        let near = RawTap::open(&net.relay, "out0")?;
        let far = RawTap::open(&net.sinks[0], "sink0")?;
        let frame =
            FrameBuilder::udp(source.parse()?, group).ttl(9).payload(&payload(4, 0, 200)).build();
        RawSender::open(&net.relay, "out0")?.send(&frame)?;
        let sent = near.wait_for(SOON, |seen| seen.bytes == frame);
        ensure!(sent.is_some_and(|seen| seen.direction == Direction::Sent), "not on out0");
        let received = far.wait_for(SOON, |seen| seen.bytes == frame);
        ensure!(received.is_some_and(|seen| seen.direction == Direction::Received), "not on sink0");
        sink.wait_for(1, SOON)?;
        let report = sink.finish()?;
        ensure_perfect(&report, 4, 1)?;
        ensure!(report.stream(4).origins.contains(&source.parse()?), "{report:?}");
    }
    Ok(())
}

fn fragments_are_reassembled() -> Result<()> {
    let net = one_sink()?;
    for (source, group) in [("10.2.0.1:9", "239.7.7.7:5000"), ("[fd00:2::1]:9", "[ff3e::77]:5000")]
    {
        let group: SocketAddr = group.parse()?;
        let sink = Sink::multicast(&net.sinks[0], "sink0", group)?;
        let sender = RawSender::open(&net.relay, "out0")?;
        let whole = FrameBuilder::udp(source.parse()?, group).payload(&payload(4, 0, 65_000));
        for frame in whole.fragments(1400, 0x1234) {
            sender.send(&frame)?;
        }
        sink.wait_for(1, SOON)?;
        ensure_perfect(&sink.finish()?, 4, 1)?;
    }
    Ok(())
}

fn segments_are_split_before_the_wire() -> Result<()> {
    let net = one_sink()?;
    let group: SocketAddr = "239.1.1.1:5000".parse()?;
    let sink = Sink::multicast(&net.sinks[0], "sink0", group)?;
    for (limit, run_is_whole) in [(64, true), (1, false)] {
        link::set_gso_max_segments(&net.relay, "out0", limit)?;
        let tap = RawTap::open(&net.sinks[0], "sink0")?;
        let generator = Generator::new(&net.relay, "out0").flow(limit, group).count(40);
        generator.segments_per_send(20).run()?;
        let last = payload(limit, 39, 24)[4..16].to_vec();
        let seen = tap.wait_for(SOON, |frame| frame.bytes.windows(12).any(|part| part == last));
        ensure!(seen.is_some(), "the frames did not arrive");
        let longest = tap.frames().iter().map(|frame| frame.bytes.len()).max().unwrap_or(0);
        ensure!((longest > 1514) == run_is_whole, "limit {limit}: longest frame {longest}");
    }
    sink.wait_for(80, SOON)?;
    let report = sink.finish()?;
    ensure_perfect(&report, 64, 40)?;
    ensure_perfect(&report, 1, 40)
}

/// A frame that a ring showed: its bytes, its length on the wire, whether it lacks its checksum.
type Shown = (Vec<u8>, u32, bool);

/// What `ifname` receives of IPv4 with UDP, until it was so many frames.
fn captured(mut ring: CaptureRing, count: usize) -> Result<Vec<Shown>> {
    let mut shown = Vec::new();
    wait::until("the frames arrive", SOON, || {
        let keep = |frame: &Captured<'_>| {
            (frame.bytes.to_vec(), frame.original_len, frame.checksum_missing)
        };
        while let Some(frame) = ring.take(keep) {
            if frame.0[12..14] == [8, 0] && frame.0[23] == 17 {
                shown.push(frame);
            }
        }
        Ok(shown.len() >= count)
    })?;
    Ok(shown)
}

fn capture(namespace: &Namespace, ifname: &str, wanted: &Wanted) -> Result<CaptureRing> {
    let socket = packet_socket::open(namespace, ifname, Some(SockProtocol::EthAll))?;
    Ok(CaptureRing::new(socket, RingGeometry::covering(64 * 1024, 64), wanted)?)
}

fn has_right_checksum(frame: &[u8]) -> Result<bool> {
    let address = |at: usize| -> Result<IpAddr> {
        Ok(IpAddr::from(<[u8; 4]>::try_from(&frame[at..at + 4])?))
    };
    let mut datagram = frame[34..].to_vec();
    let written = u16::from_be_bytes([datagram[6], datagram[7]]);
    datagram[6..8].fill(0);
    Ok(written == udp_checksum(address(26)?, address(30)?, &datagram))
}

fn checksums_are_filled_in_before_the_wire() -> Result<()> {
    let everything = Wanted { lengths: 1..=u32::MAX, kept_bytes: u32::MAX };
    let group: SocketAddr = "239.1.1.1:5000".parse()?;
    for by_the_kernel in [false, true] {
        let net = one_sink()?;
        if by_the_kernel {
            link::set_feature(&net.relay, "out0", link::TX_CHECKSUMS, false)?;
        }
        let ring = capture(&net.sinks[0], "sink0", &everything)?;
        let generator = Generator::new(&net.relay, "out0").flow(1, group).count(40);
        generator.segments_per_send(20).run()?;
        let frames = captured(ring, if by_the_kernel { 40 } else { 2 })?;
        let alone = frames.iter().all(|(bytes, ..)| bytes.len() <= 1514);
        let unfilled = frames.iter().filter(|(_, _, missing)| *missing).count();
        if by_the_kernel {
            ensure!(frames.len() == 40 && alone && unfilled == 0, "{unfilled} unfilled");
            for (bytes, ..) in &frames {
                ensure!(has_right_checksum(bytes)?, "{bytes:x?}");
            }
        } else {
            // What the benchmark would measure without it: two super-frames.
            ensure!(frames.len() == 2 && !alone && unfilled == 2, "{} frames", frames.len());
        }
    }
    Ok(())
}

fn a_ring_sends_frames_as_written() -> Result<()> {
    let net = one_sink()?;
    let written = |number: u64| {
        let to = "239.7.7.7:5000".parse()?;
        let payload = payload(4, number, 200);
        anyhow::Ok(FrameBuilder::udp("192.0.2.9:9".parse()?, to).payload(&payload).build())
    };
    let frames = (0..60).map(written).collect::<Result<Vec<_>>>()?;
    let length = frames[0].len() as u32;
    // Their beginning is kept, and others not at all.
    let ring =
        capture(&net.sinks[0], "sink0", &Wanted { lengths: length..=length, kept_bytes: 66 })?;
    let socket = packet_socket::open(&net.relay, "out0", None)?;
    let mut sender = TxRing::new(socket, 32, &frames[0])?;
    let mut sent = 0;
    wait::until("all frames are sent", SOON, || {
        // More than once around the ring, whose slots come back as the frames are read.
        let batch = 10.min(frames.len() - sent);
        sent += sender.send(batch, |place, frame| frame.copy_from_slice(&frames[sent + place]))?;
        Ok(sent == frames.len())
    })?;
    let shown = captured(ring, frames.len())?;
    ensure!(shown.len() == frames.len(), "{} frames", shown.len());
    for ((bytes, on_the_wire, missing), frame) in shown.iter().zip(&frames) {
        ensure!(bytes == &frame[..66] && *on_the_wire == length && !missing, "{bytes:x?}");
    }
    Ok(())
}

fn corrupt_and_stray_datagrams_are_told() -> Result<()> {
    let net = one_sink()?;
    let group: SocketAddr = "239.7.7.7:5000".parse()?;
    let sink = Sink::multicast(&net.sinks[0], "sink0", group)?;
    let sender = RawSender::open(&net.relay, "out0")?;
    let mut damaged = payload(1, 0, 100);
    damaged[50] ^= 1;
    for bytes in [&damaged[..], b"", b"stray"] {
        let frame = FrameBuilder::udp("10.2.0.1:9".parse()?, group).payload(bytes);
        sender.send(&frame.build())?;
    }
    sink.wait_for_strays(2, SOON)?;
    let report = sink.finish()?;
    ensure!(report.stream(1).corrupt == 1 && report.received() == 0, "{report:?}");
    let strays: Vec<&[u8]> = report.strays.iter().map(|stray| &stray.payload[..]).collect();
    ensure!(strays == [&b""[..], b"stray"], "{strays:?}");
    Ok(())
}

fn socket_overrun_is_reported() -> Result<()> {
    let net = one_sink()?;
    let group: SocketAddr = "239.1.1.1:5000".parse()?;
    let sink = Sink::multicast(&net.sinks[0], "sink0", group)?;
    // More than the largest buffer holds, faster than a sink reads: some must be dropped, and
    // each dropped datagram must be named.
    let sent = Generator::new(&net.relay, "out0").flow(1, group).rate(0).count(100_000).run()?;
    wait::until("every datagram is read or dropped", SOON, || {
        let report = sink.report()?;
        Ok(report.received() + report.socket_drops >= sent.total())
    })?;
    let report = sink.finish()?;
    ensure!(report.stream(1).lost(sent.total()) == report.socket_drops, "{report:?}");
    Ok(())
}

fn links_change() -> Result<()> {
    let here = Namespace::new("here")?;
    link::veth_pair((&here, "a"), (&here, "b"))?;
    link::rename(&here, "a", "c")?;
    ensure!(!link::exists(&here, "a") && link::exists(&here, "c"), "not renamed");
    link::add_bridge(&here, "br")?;
    link::enslave(&here, "b", "br")?;
    for ifname in ["b", "c", "br"] {
        link::set_up(&here, ifname)?;
    }
    link::add_macvlan(&here, "mv", "c")?;
    ensure!(link::mac_address(&here, "mv")? != link::mac_address(&here, "c")?, "same address");
    let network = "10.5.0.0".parse::<IpAddr>()?;
    address::add_address(&here, "br", "10.4.0.1".parse()?, 24)?;
    address::add_route(&here, network, 24, "10.4.0.2".parse()?)?;
    ensure!(here.read_proc_net("route")?.contains("0000050A\t0200040A"), "no route");
    address::delete_address(&here, "br", "10.4.0.1".parse()?)?;
    ensure!(!here.read_proc_net("route")?.contains("0000050A"), "the route stays");
    link::set_down(&here, "c")?;
    link::delete_link(&here, "c")?;
    ensure!(!link::exists(&here, "b"), "one end of the pair stays");
    Ok(())
}

fn namespaces_vanish() -> Result<()> {
    let witness = Namespace::new("witness")?;
    let doomed = Namespace::new("doomed")?;
    link::veth_pair((&witness, "here"), (&doomed, "there"))?;
    let sink = Sink::unicast(&doomed, "127.0.0.1:9000".parse()?)?;
    drop(doomed);
    ensure!(link::exists(&witness, "here"), "a socket holds its namespace");
    drop(sink);
    // With a namespace go its interfaces, and with one end of a pair the other.
    wait::until("the interface vanishes", SOON, || Ok(!link::exists(&witness, "here")))
}
