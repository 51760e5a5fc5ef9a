//! Reading the datagram that an ICMP error quotes. Pure, and made for hostile bytes: whatever is
//! short, inconsistent or not UDP is `None`.

use super::Unreachable;
use crate::{abi, limits};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const UDP: u8 = libc::IPPROTO_UDP as u8;
/// RFC 791: the low thirteen bits; above them are the flags.
const FRAGMENT_OFFSET: u16 = (1 << 13) - 1;
const ICMP_HEADER_BYTES: usize = 8;
const IPV6_HEADER_BYTES: usize = 40;

/// Reads what a raw ICMP socket gives: the IPv4 header, the ICMP header, the quote.
pub(super) fn unreachable_v4(packet: &[u8]) -> Option<Unreachable> {
    let message = packet.get(ipv4_header_bytes(packet)?..)?;
    if *message.first()? != abi::ICMP_DEST_UNREACH {
        return None;
    }
    let quoted = message.get(ICMP_HEADER_BYTES..)?;
    let udp = quoted.get(ipv4_header_bytes(quoted)?..)?;
    // Only a first fragment starts with the UDP header.
    let is_first = u16_at(quoted, 6)? & FRAGMENT_OFFSET == 0;
    if *quoted.get(9)? != UDP || !is_first {
        return None;
    }
    Some(Unreachable {
        reporter: ipv4_at(packet, 12)?,
        original_source: SocketAddr::new(ipv4_at(quoted, 12)?, u16_at(udp, 0)?),
        original_destination: SocketAddr::new(ipv4_at(quoted, 16)?, u16_at(udp, 2)?),
        code: *message.get(1)?,
    })
}

/// Reads what a raw `ICMPv6` socket gives: the `ICMPv6` header and the quote.
pub(super) fn unreachable_v6(message: &[u8], reporter: Ipv6Addr) -> Option<Unreachable> {
    if *message.first()? != abi::ICMPV6_DEST_UNREACH {
        return None;
    }
    let quoted = message.get(ICMP_HEADER_BYTES..)?;
    if quoted.first()? >> 4 != 6 {
        return None;
    }
    let udp = udp_behind_extension_headers(quoted)?;
    Some(Unreachable {
        reporter: reporter.into(),
        original_source: SocketAddr::new(ipv6_at(quoted, 8)?, u16_at(udp, 0)?),
        original_destination: SocketAddr::new(ipv6_at(quoted, 24)?, u16_at(udp, 2)?),
        code: *message.get(1)?,
    })
}

/// RFC 8200 section 4: extension headers give the next header and their own length.
fn udp_behind_extension_headers(packet: &[u8]) -> Option<&[u8]> {
    let mut next_header = *packet.get(6)?;
    let mut rest = packet.get(IPV6_HEADER_BYTES..)?;
    for _ in 0..=limits::MAX_EXTENSION_HEADERS {
        let length = match i32::from(next_header) {
            libc::IPPROTO_UDP => return Some(rest),
            libc::IPPROTO_HOPOPTS | libc::IPPROTO_ROUTING | libc::IPPROTO_DSTOPTS => {
                (usize::from(*rest.get(1)?) + 1) * 8
            }
            // Only a first fragment starts with the UDP header.
            libc::IPPROTO_FRAGMENT if u16_at(rest, 2)? & 0xfff8 == 0 => 8,
            _ => return None,
        };
        next_header = *rest.first()?;
        rest = rest.get(length..)?;
    }
    None
}

fn ipv4_header_bytes(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let bytes = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && bytes >= 20).then_some(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let value = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*value))
}

fn ipv4_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets = bytes.get(at..)?.first_chunk::<4>()?;
    Some(Ipv4Addr::from_octets(*octets).into())
}

fn ipv6_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets = bytes.get(at..)?.first_chunk::<16>()?;
    Some(Ipv6Addr::from_octets(*octets).into())
}
