//! Ethernet II frames (IEEE 802.3, clause 3).

use super::u16_at;
use crate::interfaces::HardwareAddress;
use crate::verdict::DropReason;

/// Bytes of the header: two addresses and the type. The check sequence at the frame's end is never
/// captured.
pub const HEADER_BYTES: usize = 6 + 6 + 2;

/// The IP version that a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// RFC 791.
    Ipv4,
    /// RFC 8200.
    Ipv6,
}

impl Network {
    /// Tells it by the packet's first four bits, where no link-layer header says it.
    #[inline]
    pub fn by_version(packet: &[u8]) -> Result<Self, DropReason> {
        match packet.first().ok_or(DropReason::Truncated)? >> 4 {
            4 => Ok(Self::Ipv4),
            6 => Ok(Self::Ipv6),
            _ => Err(DropReason::NotUdp),
        }
    }
}

/// A frame.
#[derive(Clone, Copy, Debug)]
pub struct EthernetFrame<'a> {
    header: &'a [u8; HEADER_BYTES],
    payload: &'a [u8],
}

impl<'a> EthernetFrame<'a> {
    /// Takes the header off.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Result<Self, DropReason> {
        let (header, payload) = frame.split_first_chunk().ok_or(DropReason::Truncated)?;
        Ok(Self { header, payload })
    }

    /// Its sender on this link.
    #[inline]
    pub fn source(&self) -> HardwareAddress {
        let mut source = [0; 6];
        source.copy_from_slice(&self.header[6..12]);
        source
    }

    /// The content of the frame, by its type field.
    ///
    /// The kernel takes the outer VLAN tag off and reports it beside the frame, but a second one
    /// stays: 802.1Q and 802.1ad tags are told apart from other types.
    #[inline]
    pub fn network(&self) -> Result<Network, DropReason> {
        match u16_at(self.header, 12) {
            0x0800 => Ok(Network::Ipv4),
            0x86dd => Ok(Network::Ipv6),
            0x8100 | 0x88a8 => Err(DropReason::WrongVlan),
            _ => Err(DropReason::NotUdp),
        }
    }

    /// The bytes behind the header, padding included.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}
