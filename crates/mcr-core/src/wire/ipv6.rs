//! IPv6 packets and their extension headers (RFC 8200).

use std::net::Ipv6Addr;

use super::u16_at;
use crate::limits;
use crate::verdict::DropReason;

/// Bytes of the header without extensions.
pub const HEADER_BYTES: usize = 40;

/// Extension headers, by IANA's protocol numbers.
mod next_header {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// A packet whose bytes are all there.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Packet<'a> {
    header: &'a [u8; HEADER_BYTES],
    payload: &'a [u8],
}

/// The bytes behind the extension headers.
#[derive(Clone, Copy, Debug)]
pub struct UpperLayer<'a> {
    /// Its protocol number; one that is no protocol to MCR (59, "no next header") included.
    pub protocol: u8,
    /// Bytes of the extension headers before it.
    pub extension_bytes: usize,
    /// Its bytes, to the packet's end.
    pub bytes: &'a [u8],
}

impl<'a> Ipv6Packet<'a> {
    /// Reads a packet at the start of `bytes`; what follows its payload length is padding.
    ///
    /// A payload length of zero announces a jumbogram (RFC 2675), longer than any slot and than
    /// any UDP datagram that IPv4 or a socket could send on: malformed, to MCR.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, rest): (&[u8; HEADER_BYTES], _) =
            bytes.split_first_chunk().ok_or(DropReason::Truncated)?;
        let payload_bytes = usize::from(u16_at(header, 4));
        if header[0] >> 4 != 6 || payload_bytes == 0 {
            return Err(DropReason::Malformed);
        }
        let payload = rest.get(..payload_bytes).ok_or(DropReason::Truncated)?;
        Ok(Self { header, payload })
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        self.address(8)
    }

    /// The destination address. Under a routing header with segments left it is not the final
    /// one, which the UDP checksum covers: such a datagram is refused there.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        self.address(24)
    }

    /// Walks the extension headers, in any order and number as RFC 8200 (section 4.1) has a
    /// receiver do, up to [`limits::EXTENSION_HEADERS`].
    ///
    /// An atomic fragment (RFC 6946) is a whole datagram: its header is walked like another. A
    /// routing header with segments left is refused: this is not its destination (RFC 5095).
    #[inline]
    pub fn upper_layer(&self) -> Result<UpperLayer<'a>, DropReason> {
        let mut protocol = self.header[6];
        let mut bytes = self.payload;
        for place in 0..=limits::EXTENSION_HEADERS {
            match protocol {
                next_header::FRAGMENT if !is_atomic(bytes) => return Err(DropReason::Fragment),
                next_header::ROUTING if bytes.get(SEGMENTS_LEFT).is_some_and(|left| *left > 0) => {
                    return Err(DropReason::SourceRouted);
                }
                // "Immediately after the IPv6 header only" (RFC 8200, section 4.1).
                next_header::HOP_BY_HOP if place > 0 => return Err(DropReason::Malformed),
                next_header::HOP_BY_HOP
                | next_header::ROUTING
                | next_header::FRAGMENT
                | next_header::AUTHENTICATION
                | next_header::DESTINATION
                | next_header::MOBILITY
                | next_header::HIP
                | next_header::SHIM6 => {}
                _ => {
                    return Ok(UpperLayer {
                        protocol,
                        extension_bytes: self.payload.len() - bytes.len(),
                        bytes,
                    });
                }
            }
            let [next, length] = *bytes.first_chunk().ok_or(DropReason::Malformed)?;
            let whole = extension_bytes(protocol, length).ok_or(DropReason::Malformed)?;
            bytes = bytes.get(whole..).ok_or(DropReason::Malformed)?;
            protocol = next;
        }
        Err(DropReason::Malformed)
    }

    /// Whether no host can have sent it (RFC 4291, sections 2.7 and 2.5.5.2): from a group, or from
    /// an IPv4 address.
    #[inline]
    pub fn is_martian(&self) -> bool {
        let source = self.source();
        source.is_multicast() || source.to_ipv4_mapped().is_some()
    }

    fn address(&self, at: usize) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.header[at..at + 16]);
        octets.into()
    }
}

/// Where a routing header has its segments left (RFC 8200, section 4.4).
const SEGMENTS_LEFT: usize = 3;

/// Whether a fragment header's packet is whole: offset 0, and no more fragments (RFC 8200, section
/// 4.5). One that is cut is malformed like any other header.
fn is_atomic(header: &[u8]) -> bool {
    header.first_chunk().is_none_or(|header: &[u8; 4]| u16_at(header, 2) & 0xfff9 == 0)
}

/// Bytes of an extension header by its length field; `None` where that is less than what every
/// header of the kind has.
fn extension_bytes(protocol: u8, length: u8) -> Option<usize> {
    let length = usize::from(length);
    if protocol == next_header::FRAGMENT {
        // It has no length field.
        return Some(8);
    }
    if protocol == next_header::AUTHENTICATION {
        // In units of 4 bytes, less two, of which there are three before the check value (RFC 4302,
        // section 2.2).
        (length > 0).then_some((length + 2) * 4)
    } else {
        // In units of 8 bytes, less one (RFC 8200, section 4; RFC 6275, 7401 and 5533 alike).
        Some((length + 1) * 8)
    }
}
