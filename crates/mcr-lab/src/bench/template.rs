//! The generator's frames: made once, then changed in place for every datagram.
//!
//! Only the addresses and 20 bytes of payload differ, so the checksums follow from sums made
//! beforehand: a frame costs some tens of nanoseconds, whatever its length.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::frame::{FrameBuilder, udp_checksum};
use crate::payload::{self, Header};

/// Where the parts of an Ethernet, IPv4 and UDP header stand.
const IP: usize = 14;
const UDP: usize = IP + 20;
const UDP_CHECKSUM: usize = UDP + 6;
const PAYLOAD: usize = UDP + 8;

/// What is the same in every frame to one destination.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    /// From the Ethernet header to the UDP header, the UDP checksum aside.
    headers: [u8; PAYLOAD],
    /// One's complement sum of all that the UDP checksum covers, the stamp aside.
    sum: u64,
}

/// All frames of one scenario: they differ in [`Destination`] and stamp.
#[derive(Debug, Clone)]
pub(super) struct FrameTemplate {
    source: SocketAddr,
    payload: Vec<u8>,
}

impl FrameTemplate {
    /// Frames from `source` with so many bytes of payload.
    pub(super) fn new(source: SocketAddr, payload_bytes: usize) -> Self {
        Self { source, payload: payload::payload(0, 0, payload_bytes) }
    }

    /// A whole frame, to be written over by [`Destination::write`].
    pub(super) fn blank(&self) -> Vec<u8> {
        let anywhere = SocketAddrV4::new(Ipv4Addr::new(239, 0, 0, 0), 1);
        self.frame(anywhere)
    }

    /// What frames to `destination` have in common.
    pub(super) fn destination(&self, destination: SocketAddrV4) -> Destination {
        let mut frame = self.frame(destination);
        payload::write_header(&mut frame[PAYLOAD..], ZERO);
        frame[UDP_CHECKSUM..][..2].fill(0);
        let to = IpAddr::V4(*destination.ip());
        // The checksum is the complement of the sum, folded; of a zero it cannot be told, but
        // then a sum of all ones is as good.
        let sum = u64::from(!udp_checksum(self.source.ip(), to, &frame[UDP..]));
        let headers = frame[..PAYLOAD].try_into().expect("a frame has headers");
        Destination { headers, sum }
    }

    fn frame(&self, destination: SocketAddrV4) -> Vec<u8> {
        FrameBuilder::udp(self.source, SocketAddr::V4(destination)).payload(&self.payload).build()
    }
}

/// The header that adds nothing to a checksum but its magic.
const ZERO: Header = Header { stream: 0, sequence: 0, sent_at_ns: 0 };

impl Destination {
    /// Makes `frame`, once a blank, a datagram to this destination.
    pub(super) fn write(&self, frame: &mut [u8], header: Header) {
        frame[..PAYLOAD].copy_from_slice(&self.headers);
        payload::write_header(&mut frame[PAYLOAD..], header);
        let sum = self.sum
            + words(header.stream.into())
            + words(header.sequence)
            + words(header.sent_at_ns);
        let checksum = match !fold(sum) {
            // RFC 768: zero would mean "none".
            0 => 0xffff,
            checksum => checksum,
        };
        frame[UDP_CHECKSUM..][..2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The sum of a number's four 16-bit words.
fn words(number: u64) -> u64 {
    (number >> 48) + (number >> 32 & 0xffff) + (number >> 16 & 0xffff) + (number & 0xffff)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::internet_checksum;

    #[test]
    fn frames_changed_in_place_have_valid_checksums() {
        let source: SocketAddr = "10.1.0.2:4000".parse().unwrap();
        for payload_bytes in [64, 65, 1_000, 8_000] {
            let template = FrameTemplate::new(source, payload_bytes);
            let mut frame = template.blank();
            for number in 0..1_000_u64 {
                let to = SocketAddrV4::new(Ipv4Addr::new(239, 1, 0, number as u8), 5_000);
                let header = Header {
                    stream: number as u32 * 77_777,
                    sequence: (number << 40) | (number * 65_537),
                    sent_at_ns: number * 0x1234_5678_9abc,
                };
                template.destination(to).write(&mut frame, header);
                assert_eq!(internet_checksum(&frame[IP..UDP]), 0, "IP, number {number}");
                let mut datagram = frame[UDP..].to_vec();
                datagram[6..8].fill(0);
                let right = udp_checksum(source.ip(), (*to.ip()).into(), &datagram);
                let written = u16::from_be_bytes([frame[UDP_CHECKSUM], frame[UDP_CHECKSUM + 1]]);
                assert_eq!(written, right, "UDP, number {number}");
                assert_eq!(frame[IP + 16..][..4], to.ip().octets());
                assert_eq!(payload::read_header(&frame[PAYLOAD..]), Some(header));
            }
        }
    }
}
