//! Ethernet frames made byte by byte: right by default, wrong where a test asks for it.

mod checksum;
mod ip;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::link::MacAddress;

pub use checksum::{internet_checksum, udp_checksum};
pub use ip::Extension;

/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q customer tag.
const ETHERTYPE_CTAG: u16 = 0x8100;
/// 802.1ad service tag, the outer one of two.
const ETHERTYPE_STAG: u16 = 0x88a8;

/// What to write into the UDP checksum field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// The right one.
    Correct,
    /// A wrong one, never zero.
    Bad,
    /// Zero: "none" in IPv4, forbidden in IPv6.
    Zero,
}

/// A slice of the IP payload, sent as a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Where it belongs, in bytes; a multiple of 8.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// What the fragments of one packet have in common.
    pub identification: u32,
}

/// Describes one UDP datagram in one frame. Everything not said is as a real sender would do.
#[derive(Debug, Clone)]
pub struct FrameBuilder {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    source_mac: MacAddress,
    destination_mac: MacAddress,
    vlans: Vec<u16>,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) fragment: Option<Fragment>,
    pub(crate) options: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) ip_length: Option<u16>,
    pub(crate) header_words: Option<u8>,
    udp_length: Option<u16>,
    checksum: Checksum,
    payload: Vec<u8>,
    raw_ip_payload: Option<Vec<u8>>,
}

impl FrameBuilder {
    /// A datagram from `source` to `destination`, both of one family. The destination's
    /// hardware address follows from a group; for a unicast destination it is broadcast
    /// until [`Self::destination_mac`] says better.
    ///
    /// # Panics
    /// If the families differ.
    pub fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one packet has one family");
        Self {
            source,
            destination,
            source_mac: [0x02, 0, 0, 0, 0, 0x01],
            destination_mac: group_mac(destination.ip()).unwrap_or([0xff; 6]),
            vlans: Vec::new(),
            ttl: 64,
            protocol: PROTOCOL_UDP,
            dont_fragment: false,
            fragment: None,
            options: Vec::new(),
            extensions: Vec::new(),
            ip_length: None,
            header_words: None,
            udp_length: None,
            checksum: Checksum::Correct,
            payload: Vec::new(),
            raw_ip_payload: None,
        }
    }

    /// The UDP payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The sender's hardware address.
    #[must_use]
    pub fn source_mac(mut self, mac: MacAddress) -> Self {
        self.source_mac = mac;
        self
    }

    /// The receiver's hardware address.
    #[must_use]
    pub fn destination_mac(mut self, mac: MacAddress) -> Self {
        self.destination_mac = mac;
        self
    }

    /// Adds a VLAN tag inside those already there. One tag is 802.1Q; of two, the outer is
    /// 802.1ad (`QinQ`).
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.vlans.push(id);
        self
    }

    /// TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The protocol number claimed for the IP payload.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets IPv4's "don't fragment".
    #[must_use]
    pub fn dont_fragment(mut self) -> Self {
        self.dont_fragment = true;
        self
    }

    /// Marks the packet as a fragment (IPv6: by a fragment header). It still carries the UDP
    /// header and payload given; see [`Self::fragments`] for a datagram really cut up.
    #[must_use]
    pub fn fragment(mut self, fragment: Fragment) -> Self {
        self.fragment = Some(fragment);
        self
    }

    /// IPv4 options; padded with "end of options" to a multiple of 4, at most 40 bytes.
    #[must_use]
    pub fn ipv4_options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Appends an IPv6 extension header.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Claims another IPv4 total length or IPv6 payload length.
    #[must_use]
    pub fn ip_length(mut self, bytes: u16) -> Self {
        self.ip_length = Some(bytes);
        self
    }

    /// Claims another IPv4 header length, in 32-bit words (0 to 15).
    #[must_use]
    pub fn ipv4_header_words(mut self, words: u8) -> Self {
        self.header_words = Some(words);
        self
    }

    /// Claims another UDP length.
    #[must_use]
    pub fn udp_length(mut self, bytes: u16) -> Self {
        self.udp_length = Some(bytes);
        self
    }

    /// What to write into the UDP checksum.
    #[must_use]
    pub fn checksum(mut self, checksum: Checksum) -> Self {
        self.checksum = checksum;
        self
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        let transport = self.raw_ip_payload.clone().unwrap_or_else(|| self.udp_datagram());
        let packet = ip::packet(self, &transport);
        let mut frame = Vec::with_capacity(14 + 4 * self.vlans.len() + packet.len());
        frame.extend(self.destination_mac);
        frame.extend(self.source_mac);
        for (depth, id) in self.vlans.iter().enumerate() {
            let outer_of_two = depth + 1 < self.vlans.len();
            let tag = if outer_of_two { ETHERTYPE_STAG } else { ETHERTYPE_CTAG };
            frame.extend(tag.to_be_bytes());
            frame.extend((id & 0x0fff).to_be_bytes());
        }
        let ethertype = if self.source.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        frame
    }

    /// The datagram cut into fragments, each with at most `bytes` of it (rounded down to a
    /// multiple of 8), in order.
    pub fn fragments(&self, bytes: usize, identification: u32) -> Vec<Vec<u8>> {
        let datagram = self.udp_datagram();
        let size = (bytes / 8 * 8).max(8);
        let count = datagram.len().div_ceil(size);
        datagram
            .chunks(size)
            .enumerate()
            .map(|(index, piece)| {
                let offset = (index * size) as u16;
                let fragment = Fragment { offset, more: index + 1 < count, identification };
                let mut one = self.clone().fragment(fragment);
                one.raw_ip_payload = Some(piece.to_vec());
                one.build()
            })
            .collect()
    }

    fn udp_datagram(&self) -> Vec<u8> {
        let true_length = (8 + self.payload.len()) as u16;
        let mut datagram = Vec::with_capacity(true_length.into());
        datagram.extend(self.source.port().to_be_bytes());
        datagram.extend(self.destination.port().to_be_bytes());
        datagram.extend(self.udp_length.unwrap_or(true_length).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(&self.payload);
        let correct = udp_checksum(self.source.ip(), self.destination.ip(), &datagram);
        let written = match self.checksum {
            Checksum::Correct => correct,
            // Neither 0 ("none") nor 0xffff (the other form of 0) by flipping one bit.
            Checksum::Bad => [correct ^ 0x0001, correct ^ 0x0002]
                .into_iter()
                .find(|sum| ![0, 0xffff].contains(sum))
                .expect("two different sums are not both excluded, as they differ in two bits"),
            Checksum::Zero => 0,
        };
        datagram[6..8].copy_from_slice(&written.to_be_bytes());
        datagram
    }
}

/// The Ethernet group address of a multicast address (RFC 1112 section 6.4, RFC 2464 section 7).
pub fn group_mac(address: IpAddr) -> Option<MacAddress> {
    match address {
        IpAddr::V4(group) => ipv4_group_mac(group),
        IpAddr::V6(group) => ipv6_group_mac(group),
    }
}

fn ipv4_group_mac(group: Ipv4Addr) -> Option<MacAddress> {
    let [_, b, c, d] = group.octets();
    group.is_multicast().then_some([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}

fn ipv6_group_mac(group: Ipv6Addr) -> Option<MacAddress> {
    let [.., a, b, c, d] = group.octets();
    group.is_multicast().then_some([0x33, 0x33, a, b, c, d])
}
