//! What a parser that is not MCR's, etherparse, reads of a frame: a witness for tests to what MCR
//! reads of it.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use etherparse::{IpPayloadSlice, Ipv6Header, NetSlice, SlicedPacket, UdpSlice, ip_number};

/// A whole UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Testimony<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Its payload.
    pub payload: &'a [u8],
    /// The checksum that it has; 0 says that it has none.
    pub checksum: u16,
    /// The checksum that is right.
    pub right_checksum: u16,
}

impl<'a> Testimony<'a> {
    /// Reads a frame that begins with an Ethernet header.
    ///
    /// # Errors
    /// It is no whole UDP datagram in one piece.
    pub fn of_ethernet(frame: &'a [u8]) -> Result<Self> {
        Self::of(SlicedPacket::from_ethernet(frame)?)
    }

    /// Reads an IP packet.
    ///
    /// # Errors
    /// As for [`Self::of_ethernet`].
    pub fn of_ip(packet: &'a [u8]) -> Result<Self> {
        Self::of(SlicedPacket::from_ip(packet)?)
    }

    fn of(packet: SlicedPacket<'a>) -> Result<Self> {
        let net = packet.net.context("no packet")?;
        let udp = datagram(net.ip_payload_ref().context("no IP payload")?)?;
        let (source, destination, right_checksum) = ends(&net, &udp)?;
        Ok(Self {
            source: SocketAddr::new(source, udp.source_port()),
            destination: SocketAddr::new(destination, udp.destination_port()),
            payload: udp.payload(),
            checksum: udp.checksum(),
            right_checksum,
        })
    }
}

/// The datagram in a packet. The parser stops at headers of later standards (mobility, HIP, Shim6),
/// which MCR walks like any other; from there on it goes header by header.
fn datagram<'a>(ip: &IpPayloadSlice<'a>) -> Result<UdpSlice<'a>> {
    ensure!(!ip.fragmented, "a fragment");
    let (mut protocol, mut bytes) = (ip.ip_number, ip.payload);
    while Ipv6Header::is_skippable_header_extension(protocol) {
        // An atomic fragment (RFC 6946) is a whole datagram.
        let is_whole = matches!(bytes, [_, _, high, low, ..] if *high == 0 && low & !6 == 0);
        ensure!(protocol != ip_number::IPV6_FRAG || is_whole, "a fragment");
        (protocol, bytes) = Ipv6Header::skip_header_extension_in_slice(bytes, protocol)?;
    }
    ensure!(protocol == ip_number::UDP, "no UDP datagram but {protocol:?}");
    Ok(UdpSlice::from_slice(bytes)?)
}

/// Source, destination and the right UDP checksum.
fn ends(net: &NetSlice<'_>, udp: &UdpSlice<'_>) -> Result<(IpAddr, IpAddr, u16)> {
    let header = udp.to_header();
    Ok(match net {
        NetSlice::Ipv4(ip) => {
            let (from, to) = (ip.header().source(), ip.header().destination());
            let sum = header.calc_checksum_ipv4_raw(from, to, udp.payload())?;
            (from.into(), to.into(), sum)
        }
        NetSlice::Ipv6(ip) => {
            let (from, to) = (ip.header().source(), ip.header().destination());
            let sum = header.calc_checksum_ipv6_raw(from, to, udp.payload())?;
            (from.into(), to.into(), sum)
        }
        NetSlice::Arp(_) => bail!("ARP"),
    })
}
