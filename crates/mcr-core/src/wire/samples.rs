//! Frames for tests, built header by header so that each can be made wrong in its own way.

use std::net::{IpAddr, SocketAddr};

use super::UDP;
use super::checksum::Sum;

/// A whole Ethernet frame with one UDP datagram; the family is that of the addresses.
pub(crate) fn frame(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    ethernet(&packet(from, to, payload))
}

/// An IP packet with one UDP datagram.
pub(crate) fn packet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let udp = udp(from, to, payload);
    if from.is_ipv4() {
        ipv4(from.ip(), to.ip(), &[], &udp)
    } else {
        ipv6(from.ip(), to.ip(), UDP, &udp)
    }
}

/// Ethernet around an IP packet, its type by the packet's version.
pub(crate) fn ethernet(packet: &[u8]) -> Vec<u8> {
    let ether_type: u16 = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    ethernet_of(ether_type, packet)
}

/// Ethernet of any type.
pub(crate) fn ethernet_of(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x01, 0x00, 0x5e, 1, 1, 1, 0x02, 0, 0, 0, 0, 7];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// IPv4 with options (a multiple of 4 bytes) around a UDP datagram.
pub(crate) fn ipv4(from: IpAddr, to: IpAddr, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_bytes = 20 + options.len();
    let total = (header_bytes + payload.len()) as u16;
    let mut packet = vec![0x40 | (header_bytes / 4) as u8, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0x12, 0x34, 0, 0, 16, UDP, 0, 0]);
    packet.extend(octets(from));
    packet.extend(octets(to));
    packet.extend(options);
    packet.extend(payload);
    fill_ipv4_checksum(&mut packet);
    packet
}

/// Makes the header checksum right after a change.
pub(crate) fn fill_ipv4_checksum(packet: &mut [u8]) {
    let header_bytes = usize::from(packet[0] & 0x0f) * 4;
    packet[10..12].fill(0);
    let checksum = Sum::default().with_bytes(&packet[..header_bytes]).checksum();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// IPv6 around whatever `next_header` says.
pub(crate) fn ipv6(from: IpAddr, to: IpAddr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 16]);
    packet.extend(octets(from));
    packet.extend(octets(to));
    packet.extend(payload);
    packet
}

/// An extension header of `bytes` in length (at least 8) before `payload`.
pub(crate) fn extension(next_header: u8, length: u8, bytes: usize, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0; bytes];
    header[0] = next_header;
    header[1] = length;
    header.extend(payload);
    header
}

/// A UDP datagram with its checksum.
pub(crate) fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut datagram = Vec::new();
    for field in [from.port(), to.port(), length, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    let sum = Sum::of_pseudo_header(from.ip(), to.ip(), length).with_bytes(&datagram);
    let checksum = match sum.checksum() {
        0 => u16::MAX,
        checksum => checksum,
    };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    datagram
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
