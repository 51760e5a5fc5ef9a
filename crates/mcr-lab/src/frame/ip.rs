//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers around a transport payload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{FrameBuilder, internet_checksum};

/// Next-header number of the IPv6 fragment header.
const NEXT_FRAGMENT: u8 = 44;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

/// An IPv6 extension header. The bytes are its body without the first two (next header and
/// length), padded with zeros to the size the length field can say; a zero is the option `Pad1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options.
    HopByHop(Vec<u8>),
    /// Routing header.
    Routing(Vec<u8>),
    /// Destination options.
    DestinationOptions(Vec<u8>),
}

impl Extension {
    fn number(&self) -> u8 {
        match self {
            Self::HopByHop(_) => 0,
            Self::Routing(_) => 43,
            Self::DestinationOptions(_) => 60,
        }
    }

    fn body(&self) -> &[u8] {
        match self {
            Self::HopByHop(body) | Self::Routing(body) | Self::DestinationOptions(body) => body,
        }
    }
}

pub(super) fn packet(frame: &FrameBuilder, transport: &[u8]) -> Vec<u8> {
    match (frame.source.ip(), frame.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ipv4(frame, (source, destination), transport)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6(frame, (source, destination), transport)
        }
        _ => unreachable!("FrameBuilder::udp refuses mixed families"),
    }
}

fn ipv4(frame: &FrameBuilder, ends: (Ipv4Addr, Ipv4Addr), transport: &[u8]) -> Vec<u8> {
    let header_bytes = 20 + frame.options.len();
    let words = frame.header_words.unwrap_or((header_bytes / 4) as u8);
    let length = frame.ip_length.unwrap_or((header_bytes + transport.len()) as u16);
    let mut flags = if frame.dont_fragment { DONT_FRAGMENT } else { 0 };
    let mut identification = 0;
    if let Some(fragment) = frame.fragment {
        flags |= fragment.offset / 8;
        flags |= if fragment.more { MORE_FRAGMENTS } else { 0 };
        identification = fragment.identification as u16;
    }
    let mut packet = vec![0x40 | (words & 0x0f), 0];
    packet.extend(length.to_be_bytes());
    packet.extend(identification.to_be_bytes());
    packet.extend(flags.to_be_bytes());
    packet.extend([frame.ttl, frame.protocol, 0, 0]);
    packet.extend(ends.0.octets());
    packet.extend(ends.1.octets());
    packet.extend(&frame.options);
    let checksum = internet_checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(transport);
    packet
}

fn ipv6(frame: &FrameBuilder, ends: (Ipv6Addr, Ipv6Addr), transport: &[u8]) -> Vec<u8> {
    let (first_header, extensions) = extension_chain(frame);
    let true_length = (extensions.len() + transport.len()) as u16;
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(frame.ip_length.unwrap_or(true_length).to_be_bytes());
    packet.extend([first_header, frame.ttl]);
    packet.extend(ends.0.octets());
    packet.extend(ends.1.octets());
    packet.extend(extensions);
    packet.extend(transport);
    packet
}

/// The first header's number and the chain's bytes; built from its end, since each header names
/// the next. The fragment header comes last, before the part that is cut.
fn extension_chain(frame: &FrameBuilder) -> (u8, Vec<u8>) {
    let mut next = frame.protocol;
    let mut chain = Vec::new();
    if let Some(fragment) = frame.fragment {
        let offset_and_more = (fragment.offset & !7) | u16::from(fragment.more);
        let mut header = vec![next, 0];
        header.extend(offset_and_more.to_be_bytes());
        header.extend(fragment.identification.to_be_bytes());
        chain = header;
        next = NEXT_FRAGMENT;
    }
    for extension in frame.extensions.iter().rev() {
        let bytes = (2 + extension.body().len()).next_multiple_of(8);
        let mut header = vec![next, (bytes / 8 - 1) as u8];
        header.extend(extension.body());
        header.resize(bytes, 0);
        header.append(&mut chain);
        chain = header;
        next = extension.number();
    }
    (next, chain)
}
