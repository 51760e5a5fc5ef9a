use super::*;
use crate::test_namespace::{in_own_namespace, with_veth_pair};
use mcr_lab::address::add_address;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::prelude::*;
use std::net::{Ipv6Addr, UdpSocket};

/// Waits for the next message, at most ten seconds.
fn next_message(reports: &UnreachableReports) -> Message {
    let mut ready = [PollFd::new(reports.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut ready, PollTimeout::from(10_000_u16)).unwrap(), 1, "no message came");
    reports.read().unwrap()
}

fn report_of_closed_port(family: Family, host: &str, port_unreachable: u8) {
    in_own_namespace(|| {
        let reports = UnreachableReports::open(family).unwrap();
        assert_eq!(reports.read().unwrap(), Message::NoneWaiting);
        let host: IpAddr = host.parse().unwrap();
        let sender = UdpSocket::bind(SocketAddr::new(host, 0)).unwrap();
        let destination = SocketAddr::new(host, 9);
        sender.send_to(b"nobody listens", destination).unwrap();
        let expected = Unreachable {
            reporter: host,
            original_source: sender.local_addr().unwrap(),
            original_destination: destination,
            code: port_unreachable,
        };
        assert_eq!(next_message(&reports), Message::Unreachable(expected));
        assert_eq!(reports.read().unwrap(), Message::NoneWaiting);
    });
}

#[test]
fn a_closed_ipv4_port_is_reported() {
    report_of_closed_port(Family::V4, "127.0.0.1", 3);
}

#[test]
fn a_closed_ipv6_port_is_reported() {
    report_of_closed_port(Family::V6, "::1", 4);
}

#[test]
fn a_host_that_does_not_answer_arp_is_reported() {
    with_veth_pair(|namespace| {
        add_address(namespace, "va", "10.9.0.1".parse().unwrap(), 24).unwrap();
        let reports = UnreachableReports::open(Family::V4).unwrap();
        let sender = UdpSocket::bind("10.9.0.1:0").unwrap();
        sender.send_to(b"nobody there", "10.9.0.99:5000").unwrap();
        let Message::Unreachable(report) = next_message(&reports) else {
            panic!("no report about a UDP datagram");
        };
        assert_eq!(report.original_destination, "10.9.0.99:5000".parse().unwrap());
        assert_eq!((report.reporter, report.code), ("10.9.0.1".parse().unwrap(), 1));
    });
}

#[test]
fn each_message_about_another_protocol_is_a_reading_of_its_own() {
    let tcp = libc::IPPROTO_TCP as u8;
    // A raw socket is given the ICMP message to send, without the IPv4 header before it.
    let v4 = changed(icmp_v4(), 28 + 9, tcp).split_off(20);
    let v6 = changed(icmp_v6(), 48, tcp);
    let cases = [(Family::V4, "127.0.0.1:0", v4), (Family::V6, "[::1]:0", v6)];
    for (family, host, message) in cases {
        in_own_namespace(|| {
            let reports = UnreachableReports::open(family).unwrap();
            let sender = UnreachableReports::open(family).unwrap().socket;
            let host: SocketAddr = host.parse().unwrap();
            for _ in 0..2 {
                sender.send_to(&message, &host.into()).unwrap();
            }
            assert_eq!(next_message(&reports), Message::Unrelated);
            assert_eq!(next_message(&reports), Message::Unrelated);
            assert_eq!(reports.read().unwrap(), Message::NoneWaiting);
        });
    }
}

/// An ICMP error as a raw socket gives it, quoting UDP 10.0.0.1:4660 to 10.0.0.2:9029.
fn icmp_v4() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 10, 0, 0, 1];
    packet.extend([3, 3, 0, 0, 0, 0, 0, 0]);
    packet.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend([0x12, 0x34, 0x23, 0x45, 0, 8, 0, 0]);
    packet
}

/// The same in `ICMPv6`, with a fragment header before the quoted UDP header.
fn icmp_v6() -> Vec<u8> {
    let mut message = vec![1, 4, 0, 0, 0, 0, 0, 0];
    message.extend([0x60, 0, 0, 0, 0, 16, 44, 64]);
    message.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    message.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    message.extend([17, 0, 0, 1, 0, 0, 0, 7]);
    message.extend([0x12, 0x34, 0x23, 0x45, 0, 8, 0, 0]);
    message
}

fn changed(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    bytes[at] = value;
    bytes
}

#[test]
fn quotes_are_read_or_skipped() {
    let v4 = quote::unreachable_v4(&icmp_v4()).unwrap();
    assert_eq!(v4.reporter, "192.0.2.1".parse::<IpAddr>().unwrap());
    assert_eq!(v4.original_source, "10.0.0.1:4660".parse().unwrap());
    assert_eq!(v4.original_destination, "10.0.0.2:9029".parse().unwrap());
    let reporter = "2001:db8::ff".parse().unwrap();
    let v6 = quote::unreachable_v6(&icmp_v6(), reporter).unwrap();
    assert_eq!(v6.original_destination, "[2001:db8::2]:9029".parse().unwrap());

    let tcp = changed(icmp_v4(), 28 + 9, 6);
    let later_fragment = changed(icmp_v4(), 28 + 7, 1);
    let other_type = changed(icmp_v4(), 20, 8);
    for packet in [tcp, later_fragment, other_type] {
        assert_eq!(quote::unreachable_v4(&packet), None);
    }
    let later_fragment = changed(icmp_v6(), 48 + 3, 8);
    let extension_that_leads_nowhere = changed(icmp_v6(), 48, 50);
    for message in [later_fragment, extension_that_leads_nowhere] {
        assert_eq!(quote::unreachable_v6(&message, reporter), None);
    }
}

#[test]
fn a_cut_quote_is_skipped() {
    // The last four bytes, length and checksum of the quoted UDP header, are not needed.
    for cut in 0..icmp_v4().len() - 4 {
        assert_eq!(quote::unreachable_v4(&icmp_v4()[..cut]), None, "{cut}");
    }
    let reporter = "2001:db8::ff".parse().unwrap();
    for cut in 0..icmp_v6().len() - 4 {
        assert_eq!(quote::unreachable_v6(&icmp_v6()[..cut], reporter), None, "{cut}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(
        noise in prop::collection::vec(any::<u8>(), 0..120),
        flips in prop::collection::vec((0_usize..56, any::<u8>()), 0..6),
    ) {
        let reporter = "::1".parse().unwrap();
        quote::unreachable_v4(&noise);
        quote::unreachable_v6(&noise, reporter);
        let (mut v4, mut v6) = (icmp_v4(), icmp_v6());
        for (at, value) in flips {
            v4[at] = value;
            v6[at] = value;
        }
        quote::unreachable_v4(&v4);
        quote::unreachable_v6(&v6, reporter);
    }
}
