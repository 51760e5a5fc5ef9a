use super::samples::{self, extension};
use super::*;
use crate::limits;
use std::net::SocketAddr;

const PAYLOAD: &[u8] = b"seven bytes and more";

fn v4() -> (SocketAddr, SocketAddr) {
    addresses("10.0.0.7:4000", "239.1.1.1:5000")
}

fn v6() -> (SocketAddr, SocketAddr) {
    addresses("[fd00::7]:4000", "[ff3e::1234]:5000")
}

fn addresses(from: &str, to: &str) -> (SocketAddr, SocketAddr) {
    (from.parse().unwrap(), to.parse().unwrap())
}

/// The payload of a bare IP packet.
fn payload(packet: &[u8]) -> Result<&[u8], DropReason> {
    let datagram = Datagram::parse(LinkLayer::Ip, packet)?;
    assert!(datagram.checksum_is_valid());
    assert_eq!(&packet[datagram.payload.clone()], datagram.udp.payload());
    Ok(&packet[datagram.payload])
}

fn refused(packet: &[u8]) -> DropReason {
    payload(packet).unwrap_err()
}

#[test]
fn reads_both_families_on_both_links() {
    for (from, to) in [v4(), v6()] {
        let packet = samples::packet(from, to, PAYLOAD);
        let frame = samples::ethernet(&packet);
        for (link, bytes) in [(LinkLayer::Ip, &packet), (LinkLayer::Ethernet, &frame)] {
            let datagram = Datagram::parse(link, bytes).unwrap();
            assert_eq!(datagram.source, from.ip());
            assert_eq!(datagram.destination, to.ip());
            assert_eq!(datagram.udp.source_port(), from.port());
            assert_eq!(datagram.udp.destination_port(), to.port());
            assert_eq!(&bytes[datagram.payload.clone()], PAYLOAD);
            assert!(datagram.checksum_is_valid());
        }
    }
}

#[test]
fn an_empty_payload_is_one() {
    for (from, to) in [v4(), v6()] {
        let packet = samples::packet(from, to, &[]);
        let datagram = Datagram::parse(LinkLayer::Ip, &packet).unwrap();
        assert_eq!(datagram.payload, packet.len()..packet.len());
    }
}

#[test]
fn what_follows_the_datagram_is_not_its_own() {
    for (from, to) in [v4(), v6()] {
        let mut padded = samples::packet(from, to, PAYLOAD);
        padded.extend([0xee; 18]);
        assert_eq!(payload(&padded), Ok(PAYLOAD));
        // And inside the IP payload, behind what the UDP length covers.
        let mut udp = samples::udp(from, to, PAYLOAD);
        udp.extend([0xee; 7]);
        let packet = if from.is_ipv4() {
            samples::ipv4(from.ip(), to.ip(), &[], &udp)
        } else {
            samples::ipv6(from.ip(), to.ip(), UDP, &udp)
        };
        assert_eq!(payload(&packet), Ok(PAYLOAD));
    }
}

#[test]
fn every_shorter_capture_is_truncated() {
    for (from, to) in [v4(), v6()] {
        let frame = samples::frame(from, to, PAYLOAD);
        for bytes in 0..frame.len() {
            assert_eq!(
                Datagram::parse(LinkLayer::Ethernet, &frame[..bytes]).unwrap_err(),
                DropReason::Truncated,
                "{bytes} bytes"
            );
        }
    }
}

#[test]
fn ipv4_options_are_skipped() {
    let (from, to) = v4();
    let udp = samples::udp(from, to, PAYLOAD);
    for words in 1..=10 {
        let options = vec![1; words * 4];
        let packet = samples::ipv4(from.ip(), to.ip(), &options, &udp);
        assert_eq!(payload(&packet), Ok(PAYLOAD), "{words} words");
    }
}

#[test]
fn ipv4_headers_that_lie() {
    let (from, to) = v4();
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut packet = samples::packet(from, to, PAYLOAD);
        change(&mut packet);
        refused(&packet)
    };
    assert_eq!(changed(|p| p[8] ^= 1), DropReason::BadChecksum);
    assert_eq!(changed(|p| p[0] = 0x44), DropReason::Malformed);
    assert_eq!(changed(|p| p[0] = 0x40), DropReason::Malformed);
    let refilled = |at: usize, value: u16| {
        let mut packet = samples::packet(from, to, PAYLOAD);
        packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
        samples::fill_ipv4_checksum(&mut packet);
        refused(&packet)
    };
    assert_eq!(refilled(2, 0), DropReason::Malformed);
    assert_eq!(refilled(2, 19), DropReason::Malformed);
    assert_eq!(refilled(2, 20), DropReason::Malformed);
    assert_eq!(refilled(2, 27), DropReason::Malformed);
    assert_eq!(refilled(2, 0xffff), DropReason::Truncated);
    assert_eq!(refilled(8, 0x1006), DropReason::NotUdp);
    assert_eq!(refilled(8, 0x1088), DropReason::NotUdp);
}

#[test]
fn ipv4_fragments_are_told_first() {
    let (from, to) = v4();
    for (name, field) in [("first", 0x2000), ("middle", 0x20b9), ("last", 370)] {
        let mut packet = samples::packet(from, to, PAYLOAD);
        packet[6..8].copy_from_slice(&u16::to_be_bytes(field));
        // What stands in the UDP header's place is no concern of a fragment's.
        packet[20..28].fill(0);
        samples::fill_ipv4_checksum(&mut packet);
        assert_eq!(refused(&packet), DropReason::Fragment, "{name}");
    }
    let mut whole = samples::packet(from, to, PAYLOAD);
    whole[6..8].copy_from_slice(&u16::to_be_bytes(0x4000));
    samples::fill_ipv4_checksum(&mut whole);
    assert_eq!(payload(&whole), Ok(PAYLOAD), "do not fragment");
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let (from, to) = v6();
    let udp = samples::udp(from, to, PAYLOAD);
    let packet = |first: u8, rest: &[u8]| samples::ipv6(from.ip(), to.ip(), first, rest);
    for header in [0, 43, 60, 135, 139, 140] {
        for units in 0..4_u8 {
            let bytes = (usize::from(units) + 1) * 8;
            let packet = packet(header, &extension(UDP, units, bytes, &udp));
            assert_eq!(payload(&packet), Ok(PAYLOAD), "{header} of {bytes} bytes");
        }
    }
    let authenticated = packet(51, &extension(UDP, 4, 24, &udp));
    assert_eq!(payload(&authenticated), Ok(PAYLOAD));
    let usual = extension(60, 0, 8, &extension(43, 0, 8, &extension(UDP, 1, 16, &udp)));
    assert_eq!(payload(&packet(0, &usual)), Ok(PAYLOAD));
}

#[test]
fn ipv6_extension_chains_are_bounded() {
    let (from, to) = v6();
    let chain = |headers: usize| {
        let mut rest = samples::udp(from, to, PAYLOAD);
        for place in (0..headers).rev() {
            let next = if place == headers - 1 { UDP } else { 60 };
            rest = extension(next, 0, 8, &rest);
        }
        samples::ipv6(from.ip(), to.ip(), 60, &rest)
    };
    assert_eq!(payload(&chain(limits::EXTENSION_HEADERS)), Ok(PAYLOAD));
    assert_eq!(refused(&chain(limits::EXTENSION_HEADERS + 1)), DropReason::Malformed);
}

#[test]
fn ipv6_headers_that_lie() {
    let (from, to) = v6();
    let udp = samples::udp(from, to, PAYLOAD);
    let packet = |first: u8, rest: &[u8]| samples::ipv6(from.ip(), to.ip(), first, rest);
    let mut jumbogram = packet(0, &extension(UDP, 0, 8, &udp));
    jumbogram[4..6].fill(0);
    assert_eq!(refused(&jumbogram), DropReason::Malformed);
    let mut longer = packet(UDP, &udp);
    longer[5] += 1;
    assert_eq!(refused(&longer), DropReason::Truncated);
    let beyond_the_packet = extension(UDP, 200, 8, &udp);
    assert_eq!(refused(&packet(60, &beyond_the_packet)), DropReason::Malformed);
    assert_eq!(refused(&packet(60, &[UDP])), DropReason::Malformed);
    let less_than_its_fixed_part = extension(UDP, 0, 8, &udp);
    assert_eq!(refused(&packet(51, &less_than_its_fixed_part)), DropReason::Malformed);
    let hop_by_hop_later = extension(0, 0, 8, &extension(UDP, 0, 8, &udp));
    assert_eq!(refused(&packet(60, &hop_by_hop_later)), DropReason::Malformed);
    assert_eq!(refused(&packet(59, &udp)), DropReason::NotUdp);
    assert_eq!(refused(&packet(58, &udp)), DropReason::NotUdp);
    assert_eq!(refused(&packet(50, &udp)), DropReason::NotUdp);
}

#[test]
fn a_datagram_on_its_way_to_elsewhere_is_refused() {
    let (from, to) = v6();
    let udp = samples::udp(from, to, PAYLOAD);
    for (segments_left, expected) in [(0, Ok(PAYLOAD)), (1, Err(DropReason::SourceRouted))] {
        let mut routing = extension(UDP, 0, 8, &udp);
        routing[3] = segments_left;
        let packet = samples::ipv6(from.ip(), to.ip(), 43, &routing);
        assert_eq!(payload(&packet), expected, "{segments_left} segments left");
    }
    let (from, to) = v4();
    let udp = samples::udp(from, to, PAYLOAD);
    let with = |options: &[u8]| samples::ipv4(from.ip(), to.ip(), options, &udp);
    for kind in [131, 137] {
        let route = with(&[kind, 7, 4, 10, 0, 0, 1, 0]);
        assert_eq!(refused(&route), DropReason::SourceRouted, "{kind}");
    }
    let router_alert = with(&[148, 4, 0, 0]);
    assert_eq!(payload(&router_alert), Ok(PAYLOAD));
    assert_eq!(payload(&with(&[1, 1, 0, 9])), Ok(PAYLOAD), "behind the end stands nothing");
    for malformed in [[148, 0, 0, 0], [148, 1, 0, 0], [148, 5, 0, 0], [1, 1, 1, 148]] {
        assert_eq!(refused(&with(&malformed)), DropReason::Malformed, "{malformed:?}");
    }
}

#[test]
fn sources_that_cannot_be_are_named() {
    let (_, to) = v4();
    for source in ["0.0.0.0:1", "0.1.2.3:1", "224.0.0.1:1", "239.1.1.1:1", "255.255.255.255:1"] {
        let packet = samples::packet(source.parse().unwrap(), to, PAYLOAD);
        assert_eq!(refused(&packet), DropReason::Martian, "{source}");
    }
    let (_, to) = v6();
    for source in ["[ff02::1]:1", "[::ffff:10.0.0.1]:1"] {
        let packet = samples::packet(source.parse().unwrap(), to, PAYLOAD);
        assert_eq!(refused(&packet), DropReason::Martian, "{source}");
    }
    let loopback = samples::packet("127.0.0.1:1".parse().unwrap(), v4().1, PAYLOAD);
    assert_eq!(payload(&loopback), Ok(PAYLOAD));
}

#[test]
fn ipv6_fragments_are_refused_wherever_their_header_stands() {
    let (from, to) = v6();
    let udp = samples::udp(from, to, PAYLOAD);
    let fragment = |field: u16| {
        let mut header = extension(UDP, 0, 8, &udp);
        header[2..4].copy_from_slice(&field.to_be_bytes());
        header
    };
    for (name, field) in [("first", 1), ("middle", 185 << 3 | 1), ("last", 370 << 3)] {
        let packet = samples::ipv6(from.ip(), to.ip(), 44, &fragment(field));
        assert_eq!(refused(&packet), DropReason::Fragment, "{name}");
    }
    let atomic = samples::ipv6(from.ip(), to.ip(), 44, &fragment(0));
    assert_eq!(payload(&atomic), Ok(PAYLOAD), "atomic: whole");
    let mut reserved = fragment(0b110);
    reserved[1] = 0xff;
    let atomic = samples::ipv6(from.ip(), to.ip(), 44, &reserved);
    assert_eq!(payload(&atomic), Ok(PAYLOAD), "reserved bits are ignored");
    let behind_options = extension(44, 0, 8, &fragment(1));
    let packet = samples::ipv6(from.ip(), to.ip(), 60, &behind_options);
    assert_eq!(refused(&packet), DropReason::Fragment);
}

#[test]
fn udp_lengths_that_lie() {
    for (from, to) in [v4(), v6()] {
        for length in [0, 1, 7, 8 + PAYLOAD.len() as u16 + 1, 0xffff] {
            let mut packet = samples::packet(from, to, PAYLOAD);
            let at = packet.len() - PAYLOAD.len() - 4;
            packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
            assert_eq!(refused(&packet), DropReason::Malformed, "{length}");
        }
    }
    let (from, to) = v6();
    let short = samples::ipv6(from.ip(), to.ip(), UDP, &[0; 7]);
    assert_eq!(refused(&short), DropReason::Malformed);
}

#[test]
fn other_frames_are_not_udp() {
    let (from, to) = v4();
    let packet = samples::packet(from, to, PAYLOAD);
    let refused = |ether_type: u16| {
        let frame = samples::ethernet_of(ether_type, &packet);
        Datagram::parse(LinkLayer::Ethernet, &frame).unwrap_err()
    };
    assert_eq!(refused(0x0806), DropReason::NotUdp);
    assert_eq!(refused(0x0026), DropReason::NotUdp, "IEEE 802.3 length");
    assert_eq!(refused(0x86dd), DropReason::Malformed, "IPv4 called IPv6");
    assert_eq!(refused(0x8100), DropReason::WrongVlan);
    assert_eq!(refused(0x88a8), DropReason::WrongVlan);
    let other_version = [0x50; 60];
    assert_eq!(Datagram::parse(LinkLayer::Ip, &other_version).unwrap_err(), DropReason::NotUdp);
}
