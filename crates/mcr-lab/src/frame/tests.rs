//! Frames are checked by an independent parser, etherparse.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::*;

fn v4() -> FrameBuilder {
    FrameBuilder::udp("198.51.100.10:40000".parse().unwrap(), "239.1.1.1:5000".parse().unwrap())
}

fn v6() -> FrameBuilder {
    let source = "[2001:db8:51::10]:40000".parse().unwrap();
    FrameBuilder::udp(source, "[ff3e::1234]:5000".parse().unwrap())
}

fn udp_payload(frame: &[u8]) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    match packet.transport.unwrap() {
        TransportSlice::Udp(udp) => udp.payload().to_vec(),
        other => panic!("not UDP: {other:?}"),
    }
}

#[test]
fn a_plain_datagram_parses_in_both_families() {
    for builder in [v4(), v6()] {
        let frame = builder.payload(b"hello").build();
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("not UDP") };
        assert_eq!((udp.source_port(), udp.destination_port()), (40000, 5000));
        assert_eq!(udp.payload(), b"hello");
        let expected = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap()
            }
            Some(NetSlice::Ipv6(ip)) => {
                udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap()
            }
            other => panic!("not IP: {other:?}"),
        };
        assert_eq!(udp.checksum(), expected);
    }
}

#[test]
fn the_ipv4_header_checksum_is_right_with_options_too() {
    let frame = v4().ipv4_options(&[0x94, 0x04, 0, 0]).payload(b"x").build();
    let packet = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("not IPv4") };
    let header = ip.header().to_header();
    assert_eq!(header.options.len(), 4);
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(udp_payload(&frame), b"x");
}

#[test]
fn wrong_checksums_are_wrong_in_the_way_asked_for() {
    let sum_of = |frame: Vec<u8>| u16::from_be_bytes([frame[40], frame[41]]);
    let right = sum_of(v4().payload(b"abc").build());
    let bad = sum_of(v4().payload(b"abc").checksum(Checksum::Bad).build());
    assert!(bad != right && bad != 0);
    assert_eq!(sum_of(v4().payload(b"abc").checksum(Checksum::Zero).build()), 0);
}

#[test]
fn extension_headers_form_a_chain() {
    let frame = v6()
        .extension(Extension::HopByHop(vec![5, 2, 0, 0]))
        .extension(Extension::DestinationOptions(vec![0; 20]))
        .payload(b"behind")
        .build();
    assert_eq!(udp_payload(&frame), b"behind");
    assert_eq!(frame[14 + 6], 0, "hop-by-hop comes first");
}

#[test]
fn tags_nest_with_the_service_tag_outside() {
    let one = v4().vlan(5).payload(b"t").build();
    assert_eq!(one[12..16], [0x81, 0x00, 0, 5]);
    assert_eq!(udp_payload(&one), b"t");
    let two = v4().vlan(100).vlan(5).payload(b"t").build();
    assert_eq!(two[12..20], [0x88, 0xa8, 0, 100, 0x81, 0x00, 0, 5]);
    assert_eq!(udp_payload(&two), b"t");
}

#[test]
fn lengths_can_lie() {
    let frame = v4().payload(b"abcd").ip_length(9999).udp_length(7777).build();
    assert_eq!(frame[16..18], 9999_u16.to_be_bytes());
    assert_eq!(frame[38..40], 7777_u16.to_be_bytes());
    let frame = v6().payload(b"abcd").ip_length(3).build();
    assert_eq!(frame[18..20], 3_u16.to_be_bytes());
    let frame = v4().ipv4_header_words(15).build();
    assert_eq!(frame[14], 0x4f);
}

#[test]
fn fragments_put_together_are_the_datagram() {
    let payload: Vec<u8> = (0..3000_u16).map(|n| n as u8).collect();
    for (builder, header) in [(v4(), 14 + 20), (v6(), 14 + 40 + 8)] {
        let builder = builder.payload(&payload);
        let frames = builder.fragments(1403, 77);
        assert_eq!(frames.len(), 3);
        let joined: Vec<u8> =
            frames.iter().flat_map(|frame| frame[header..].iter().copied()).collect();
        assert_eq!(joined, builder.udp_datagram());
    }
    let second = &v4().payload(&payload).fragments(1403, 77)[1];
    assert_eq!(second[18..20], 77_u16.to_be_bytes());
    assert_eq!(second[20..22], (MORE_AND_OFFSET).to_be_bytes());
}

/// More fragments follow; offset 1400 in units of 8.
const MORE_AND_OFFSET: u16 = 0x2000 | (1400 / 8);

#[test]
fn group_addresses_map_to_ethernet() {
    let mac = |text: &str| group_mac(text.parse().unwrap());
    assert_eq!(mac("239.129.2.3"), Some([0x01, 0x00, 0x5e, 0x01, 2, 3]));
    assert_eq!(mac("ff3e::12:3456"), Some([0x33, 0x33, 0x00, 0x12, 0x34, 0x56]));
    assert_eq!(mac("192.0.2.1"), None);
    assert_eq!(mac("fd00::1"), None);
}
