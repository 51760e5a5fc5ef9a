//! UDP datagrams (RFC 768).

use super::u16_at;
use crate::verdict::DropReason;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 8;

/// A datagram whose bytes are all there.
#[derive(Clone, Copy, Debug)]
pub struct UdpDatagram<'a> {
    header: &'a [u8; HEADER_BYTES],
    bytes: &'a [u8],
}

impl<'a> UdpDatagram<'a> {
    /// Reads a datagram at the start of an IP payload. It may be shorter than that payload, which
    /// RFC 768 does not forbid; what follows is not its own. A length of zero is that of a
    /// jumbogram (RFC 2675) and refused like any other that is below 8.
    #[inline]
    pub fn parse(ip_payload: &'a [u8]) -> Result<Self, DropReason> {
        let header = ip_payload.first_chunk().ok_or(DropReason::Malformed)?;
        let length = usize::from(u16_at(header, 4));
        if length < HEADER_BYTES {
            return Err(DropReason::Malformed);
        }
        let bytes = ip_payload.get(..length).ok_or(DropReason::Malformed)?;
        Ok(Self { header, bytes })
    }

    /// The source port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        u16_at(self.header, 0)
    }

    /// The destination port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        u16_at(self.header, 2)
    }

    /// The length field: bytes of header and payload.
    #[inline]
    pub fn length(&self) -> u16 {
        u16_at(self.header, 4)
    }

    /// The checksum field; `None` is zero, by which a sender says that it made none.
    #[inline]
    pub fn checksum(&self) -> Option<u16> {
        Some(u16_at(self.header, 6)).filter(|checksum| *checksum != 0)
    }

    /// Header and payload.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The payload.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }
}
