//! Frames as they stand on the wire: checked views over bytes.
//!
//! A view is made by `parse`, which holds every length against the bytes that are there; its
//! methods then cannot fail and never show a byte from outside what the headers delimit. What
//! does not hold is refused with the [`DropReason`] under which it is counted.

pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
pub mod udp;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::Range;

use crate::interfaces::LinkLayer;
use crate::verdict::DropReason;
use checksum::Sum;
use ethernet::{EthernetFrame, Network};
use ipv4::Ipv4Packet;
use ipv6::Ipv6Packet;
use udp::UdpDatagram;

/// The protocol number of UDP (RFC 768) in both IP headers.
const UDP: u8 = 17;

/// A UDP datagram with the addresses of the packet that carries it.
#[derive(Clone, Debug)]
pub struct Datagram<'a> {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The datagram.
    pub udp: UdpDatagram<'a>,
    /// The place of its payload in the frame.
    pub payload: Range<usize>,
}

impl<'a> Datagram<'a> {
    /// Reads a frame that starts with the header of `link`.
    ///
    /// IP fragments are refused before anything in them is taken for a UDP header: all but the
    /// first have none, and the first one's speaks of bytes that are not there.
    #[inline]
    pub fn parse(link: LinkLayer, frame: &'a [u8]) -> Result<Self, DropReason> {
        let (network, packet) = match link {
            LinkLayer::Ethernet => {
                let frame = EthernetFrame::parse(frame)?;
                (frame.network()?, frame.payload())
            }
            LinkLayer::Ip => (Network::by_version(frame)?, frame),
        };
        let link_bytes = frame.len() - packet.len();
        match network {
            Network::Ipv4 => Self::in_ipv4(packet, link_bytes),
            Network::Ipv6 => Self::in_ipv6(packet, link_bytes),
        }
    }

    #[inline]
    fn in_ipv4(bytes: &'a [u8], link_bytes: usize) -> Result<Self, DropReason> {
        let packet = Ipv4Packet::parse(bytes)?;
        if packet.is_martian() {
            return Err(DropReason::Martian);
        }
        if packet.is_fragment() {
            return Err(DropReason::Fragment);
        }
        if packet.protocol() != UDP {
            return Err(DropReason::NotUdp);
        }
        let udp = UdpDatagram::parse(packet.payload())?;
        Ok(Self {
            source: packet.source().into(),
            destination: packet.destination().into(),
            payload: payload_range(&udp, link_bytes + packet.header_bytes()),
            udp,
        })
    }

    #[inline]
    fn in_ipv6(bytes: &'a [u8], link_bytes: usize) -> Result<Self, DropReason> {
        let packet = Ipv6Packet::parse(bytes)?;
        if packet.is_martian() {
            return Err(DropReason::Martian);
        }
        let upper = packet.upper_layer()?;
        if upper.protocol != UDP {
            return Err(DropReason::NotUdp);
        }
        let udp = UdpDatagram::parse(upper.bytes)?;
        let headers = ipv6::HEADER_BYTES + upper.extension_bytes;
        Ok(Self {
            source: packet.source().into(),
            destination: packet.destination().into(),
            payload: payload_range(&udp, link_bytes + headers),
            udp,
        })
    }

    /// The place of the UDP header in the frame.
    #[inline]
    pub fn udp_header(&self) -> usize {
        self.payload.start - udp::HEADER_BYTES
    }

    /// Whether the UDP checksum agrees with the datagram and its addresses. Only for a datagram
    /// that has one ([`UdpDatagram::checksum`]).
    #[inline]
    pub fn checksum_is_valid(&self) -> bool {
        Sum::of_pseudo_header(self.source, self.destination, self.udp.length())
            .with_bytes(self.udp.bytes())
            .is_valid()
    }
}

fn payload_range(udp: &UdpDatagram<'_>, udp_at: usize) -> Range<usize> {
    let first = udp_at + udp::HEADER_BYTES;
    first..first + udp.payload().len()
}

/// Two bytes in network order.
fn u16_at<const N: usize>(header: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}
