//! A storm of frames that went wrong on the way, or were made wrong: the same from the same seed.
//!
//! Half of each frame's faults are lies told by whoever built it, under checksums that are right;
//! the others are damage done to the bytes of the finished frame. So some frames are refused by
//! their first byte, some by their last, and some are as good as any.

use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;

use crate::frame::{Checksum, Extension, Fragment, FrameBuilder, internet_checksum};

/// Frames without end.
#[derive(Clone, Debug)]
pub struct Storm {
    chance: Rng,
    flows: Vec<[SocketAddr; 2]>,
}

/// An Ethernet header alone: what is shorter no interface takes.
const SHORTEST_BYTES: usize = 14;

/// What an MTU of 1,500 takes.
const LONGEST_BYTES: usize = 1_514;

/// Where headers end, mostly: a fault there is seen by more than a checksum.
const HEADERS_BYTES: usize = 80;

/// Bytes at which lengths, versions and numbers turn.
const EDGES: [u8; 8] = [0, 1, 0x0f, 0x7f, 0x80, 0xf0, 0xfe, 0xff];

impl Storm {
    /// Frames that once were datagrams of these flows, each a source and a destination.
    ///
    /// # Panics
    /// If there is no flow, or the ends of one are of two families.
    pub fn new(seed: u64, flows: &[[SocketAddr; 2]]) -> Self {
        assert!(!flows.is_empty(), "a storm comes from somewhere");
        Self { chance: Rng::with_seed(seed), flows: flows.to_vec() }
    }

    /// The next frame, with its Ethernet header; it fits an MTU of 1,500.
    pub fn frame(&mut self) -> Vec<u8> {
        let mut frame = self.lie().build();
        if self.chance.bool() {
            for _ in 0..=self.below(3) {
                self.damage(&mut frame);
            }
            if self.chance.bool() {
                mend_header_checksum(&mut frame);
            }
        }
        frame.resize(frame.len().clamp(SHORTEST_BYTES, LONGEST_BYTES), 0);
        frame
    }

    /// A datagram of a flow, and what its builder says of it that is not so.
    fn lie(&mut self) -> FrameBuilder {
        let flow = self.below(self.flows.len());
        let [mut source, mut destination] = self.flows[flow];
        match self.below(32) {
            0 => destination.set_port(destination.port().wrapping_add(1)),
            1 => destination.set_ip(neighbour(destination.ip())),
            2 => source.set_ip(neighbour(source.ip())),
            _ => {}
        }
        let payload_bytes = if self.below(64) == 0 { 1_400 } else { self.below(200) };
        let mut frame = FrameBuilder::udp(source, destination).payload(&self.bytes(payload_bytes));
        for _ in 0..self.below(3) {
            frame = self.one_lie(frame, payload_bytes);
        }
        frame
    }

    fn one_lie(&mut self, frame: FrameBuilder, payload_bytes: usize) -> FrameBuilder {
        match self.below(12) {
            0 => frame.ip_length(self.length(20 + 8 + payload_bytes)),
            1 => frame.udp_length(self.length(8 + payload_bytes)),
            2 => frame.ipv4_header_words(self.chance.u8(0..16)),
            3 => frame.checksum(Checksum::Bad),
            4 => frame.checksum(Checksum::Zero),
            5 => frame.fragment(Fragment {
                offset: self.chance.u16(..) & !7,
                more: self.chance.bool(),
                identification: self.chance.u32(..),
            }),
            6 => {
                let options = self.below(41);
                frame.ipv4_options(&self.bytes(options))
            }
            7 => (0..=self.below(10)).fold(frame, |frame, _| frame.extension(self.extension())),
            8 => frame.protocol(self.chance.u8(..)),
            9 => frame.vlan(self.chance.u16(0..3)),
            10 => frame.vlan(self.chance.u16(..)).vlan(self.chance.u16(..)),
            _ => frame.ttl(self.chance.u8(..)),
        }
    }

    fn extension(&mut self) -> Extension {
        let body_bytes = 6 + 8 * self.below(3);
        let body = self.bytes(body_bytes);
        match self.below(8) {
            0 => Extension::HopByHop(body),
            1 => Extension::Routing(body),
            _ => Extension::DestinationOptions(body),
        }
    }

    /// A length near the true one, or any.
    fn length(&mut self, true_bytes: usize) -> u16 {
        if self.chance.bool() {
            return self.chance.u16(..);
        }
        (true_bytes + self.below(9)).saturating_sub(4) as u16
    }

    fn damage(&mut self, frame: &mut Vec<u8>) {
        let at = self.place(frame.len());
        match self.below(6) {
            0 => frame.truncate(self.below(frame.len() + 1)),
            1 => {
                let padding = self.below(64);
                let padding = self.bytes(padding);
                frame.extend(padding);
            }
            kind => {
                let Some(byte) = frame.get_mut(at) else { return };
                *byte = match kind {
                    2 => EDGES[self.chance.usize(..EDGES.len())],
                    3 => self.chance.u8(..),
                    _ => *byte ^ 1 << self.chance.u8(..8),
                };
            }
        }
    }

    /// Mostly where the headers are.
    fn place(&mut self, bytes: usize) -> usize {
        let end = if self.below(4) == 0 { bytes } else { bytes.min(HEADERS_BYTES) };
        self.below(end)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.chance.fill(&mut bytes);
        bytes
    }

    /// A number below `end`; 0 where that is 0.
    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.chance.usize(..end) }
    }
}

/// The address beside another.
fn neighbour(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => std::net::Ipv4Addr::from_bits(v4.to_bits() ^ 1).into(),
        IpAddr::V6(v6) => std::net::Ipv6Addr::from_bits(v6.to_bits() ^ 1).into(),
    }
}

/// Makes an untagged IPv4 header's checksum right, so that what else is wrong is looked at.
fn mend_header_checksum(frame: &mut [u8]) {
    let Some((link, packet)) = frame.split_at_checked(SHORTEST_BYTES) else { return };
    let header_bytes = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    if link[12..] != [0x08, 0x00] || header_bytes < 20 || packet.len() < header_bytes {
        return;
    }
    let header = &mut frame[SHORTEST_BYTES..SHORTEST_BYTES + header_bytes];
    header[10..12].fill(0);
    let checksum = internet_checksum(header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(seed: u64) -> Vec<Vec<u8>> {
        let ends = |text: [&str; 2]| text.map(|end| end.parse().unwrap());
        let flows = [
            ends(["192.0.2.1:4000", "239.1.1.1:5000"]),
            ends(["[2001:db8::1]:4000", "[ff3e::1]:5000"]),
        ];
        let mut storm = Storm::new(seed, &flows);
        (0..2_000).map(|_| storm.frame()).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_storm() {
        assert_eq!(frames(7), frames(7));
        assert_ne!(frames(7), frames(8));
    }

    #[test]
    fn frames_differ_and_fit_an_interface() {
        let mut frames = frames(1);
        let lengths = SHORTEST_BYTES..=LONGEST_BYTES;
        assert!(frames.iter().all(|frame| lengths.contains(&frame.len())));
        frames.sort_unstable();
        frames.dedup();
        assert!(frames.len() > 1_900, "{} of 2,000", frames.len());
    }

    #[test]
    fn a_mended_header_is_right() {
        let builder =
            FrameBuilder::udp("192.0.2.1:4000".parse().unwrap(), "239.1.1.1:5000".parse().unwrap());
        let right = builder.build();
        let mut wrong = right.clone();
        wrong[24] ^= 0xff;
        mend_header_checksum(&mut wrong);
        assert_eq!(wrong, right);
        // Nothing there to mend.
        mend_header_checksum(&mut wrong[..15]);
        mend_header_checksum(&mut []);
        assert_eq!(wrong, right);
    }
}
