//! IPv4 packets (RFC 791).

use std::net::Ipv4Addr;

use super::checksum::Sum;
use super::u16_at;
use crate::verdict::DropReason;

/// Bytes of a header without options.
const FIXED_BYTES: usize = 20;

/// The bits of the fragment field that make a packet a fragment: "more fragments" and the offset.
const FRAGMENT_BITS: u16 = 0x2000 | 0x1fff;

/// A packet whose header is intact and whose bytes are all there.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Packet<'a> {
    fixed: &'a [u8; FIXED_BYTES],
    header_bytes: usize,
    payload: &'a [u8],
}

impl<'a> Ipv4Packet<'a> {
    /// Reads a packet at the start of `bytes`; what follows its total length is padding.
    ///
    /// The header checksum is verified before any other field is believed, whatever the kernel
    /// says of the frame: its word is about the UDP checksum.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let fixed: &[u8; FIXED_BYTES] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
        let header_bytes = usize::from(fixed[0] & 0x0f) * 4;
        if fixed[0] >> 4 != 4 || header_bytes < FIXED_BYTES {
            return Err(DropReason::Malformed);
        }
        let header = bytes.get(..header_bytes).ok_or(DropReason::Truncated)?;
        if !Sum::default().with_bytes(header).is_valid() {
            return Err(DropReason::BadChecksum);
        }
        let total_bytes = usize::from(u16_at(fixed, 2));
        if total_bytes < header_bytes {
            return Err(DropReason::Malformed);
        }
        if header_bytes > FIXED_BYTES {
            check_options(&header[FIXED_BYTES..])?;
        }
        let payload = bytes.get(header_bytes..total_bytes).ok_or(DropReason::Truncated)?;
        Ok(Self { fixed, header_bytes, payload })
    }

    /// Whether it is the first, a middle or the last fragment of a packet.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        u16_at(self.fixed, 6) & FRAGMENT_BITS != 0
    }

    /// The payload's protocol number.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        self.address(12)
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        self.address(16)
    }

    /// Bytes of the header with its options, 20 to 60.
    #[inline]
    pub fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// The bytes behind the options, without padding.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether no host can have sent it (RFC 1122, section 3.2.1.3): from a group, to all hosts, or
    /// from a host of "this network". Loopback addresses are left: an input may be on `lo`.
    #[inline]
    pub fn is_martian(&self) -> bool {
        let source = self.source();
        source.is_multicast() || source.is_broadcast() || source.octets()[0] == 0
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        let f = self.fixed;
        Ipv4Addr::new(f[at], f[at + 1], f[at + 2], f[at + 3])
    }
}

/// Options by number (RFC 791, section 3.1).
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const LOOSE_SOURCE_ROUTE: u8 = 131;
    pub(super) const STRICT_SOURCE_ROUTE: u8 = 137;
}

/// Each option must lie in the header. A source route is refused like the kernel does by default
/// (`accept_source_route`; RFC 7126, sections 4.3 and 4.4).
#[cold]
fn check_options(mut options: &[u8]) -> Result<(), DropReason> {
    while let [kind, rest @ ..] = options {
        options = match *kind {
            option::END => return Ok(()),
            option::NO_OPERATION => rest,
            option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE => {
                return Err(DropReason::SourceRouted);
            }
            _ => {
                let length = usize::from(*rest.first().ok_or(DropReason::Malformed)?);
                let is_whole = (2..=options.len()).contains(&length);
                if !is_whole {
                    return Err(DropReason::Malformed);
                }
                &options[length..]
            }
        };
    }
    Ok(())
}
