//! The Internet checksum (RFC 1071) and UDP's use of it (RFC 768, RFC 8200 section 8.1).

use std::net::IpAddr;

use super::PROTOCOL_UDP;

/// The checksum of `bytes`, an odd last byte padded with zero.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The checksum of a UDP datagram whose checksum field is zero; never zero itself.
pub fn udp_checksum(source: IpAddr, destination: IpAddr, datagram: &[u8]) -> u16 {
    let addresses = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&from.octets()) + sum(&to.octets()),
        (from, to) => sum(&ipv6_octets(from)) + sum(&ipv6_octets(to)),
    };
    let pseudo_header = addresses + u64::from(PROTOCOL_UDP) + datagram.len() as u64;
    match !fold(pseudo_header + sum(datagram)) {
        0 => 0xffff,
        checksum => checksum,
    }
}

fn ipv6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let whole: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    whole + rest.first().map_or(0, |last| u64::from(*last) << 8)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
