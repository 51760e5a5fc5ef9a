use mcr_core::interfaces::LinkLayer;
use mcr_core::steering::{Shares, Steering};
use mcr_core::wire::Datagram;
use mcr_core::wire::checksum::Sum;
use proptest::prelude::*;

use super::super::interpreter::{Input, run};
use super::*;

fn member(program: &Program, packet: &[u8], cpu: u32) -> u32 {
    run(program, &Input { frame: packet, network: 0, packet_type: 0, cpu })
}

#[test]
fn by_cpu_the_core_names_the_member() {
    let member = |cores: &[usize], cpu| member(&Program::steer_by_cpu(cores), &[], cpu);
    assert_eq!([member(&[3, 1], 3), member(&[3, 1], 1)], [0, 1]);
    assert_eq!([member(&[3, 1], 0), member(&[3, 1], 5)], [0, 1], "modulo for other cores");
    assert_eq!(member(&[], 7), 0);
    let many: Vec<usize> = (0..5000).rev().collect();
    assert_eq!(member(&many, 4999), 0);
    assert!(Program::steer_by_cpu(&many).len() <= limits::MAX_INSTRUCTIONS);
}

#[test]
fn as_many_members_as_it_says_fit_a_program() {
    let seeds: Vec<u32> = (0..2 * limits::MAX_HASHED_MEMBERS as u32).collect();
    let program = Program::steer_by_hash(&seeds);
    assert!(program.len() <= limits::MAX_INSTRUCTIONS, "{}", program.len());
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    match program.attach(&socket) {
        // `net.core.optmem_max` before Linux 6.7; a steering program is not held against it.
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
        outcome => outcome.unwrap(),
    }
}

/// Headers of an IP packet in random number, and a UDP header.
#[derive(Clone, Debug)]
struct Packet {
    is_v4: bool,
    protocol: u8,
    ip_words: u8,
    extensions: Vec<(u8, u8)>,
    noise: Vec<u8>,
}

fn packets() -> impl Strategy<Value = Packet> {
    let protocol = prop_oneof![6 => Just(17_u8), 1 => any::<u8>()];
    let kinds = vec![0_u8, 43, 51, 60, 135, 139, 140, 44, 99];
    let extension = (prop::sample::select(kinds), 0_u8..4);
    let extensions = prop::collection::vec(extension, 0..10);
    let noise = prop::collection::vec(any::<u8>(), 460);
    (any::<bool>(), protocol, 5_u8..=15, extensions, noise).prop_map(
        |(is_v4, protocol, ip_words, extensions, noise)| Packet {
            is_v4,
            protocol,
            ip_words,
            extensions,
            noise,
        },
    )
}

impl Packet {
    /// The packet among noise, with lengths that fit, and whole.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.noise.clone();
        let total = bytes.len() as u16;
        let udp = if self.is_v4 {
            bytes[0] = 0x40 | self.ip_words;
            bytes[2..4].copy_from_slice(&total.to_be_bytes());
            bytes[6..8].fill(0);
            bytes[9] = self.protocol;
            bytes[10..12].fill(0);
            bytes[12] = 10;
            let header_bytes = usize::from(self.ip_words) * 4;
            // No operation: noise would be malformed options.
            bytes[20..header_bytes].fill(1);
            let checksum = Sum::default().with_bytes(&bytes[..header_bytes]).checksum();
            bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
            header_bytes
        } else {
            bytes[0] = 0x60;
            bytes[8] = 0x20;
            bytes[4..6].copy_from_slice(&(total - 40).to_be_bytes());
            let mut kind_at = 6;
            let mut at = 40;
            for (kind, length) in &self.extensions {
                bytes[kind_at] = *kind;
                bytes[at + 1] = *length;
                // An atomic fragment, or a routing header without segments left.
                if matches!(*kind, 43 | 44) {
                    bytes[at + 2..at + 4].fill(0);
                }
                kind_at = at;
                let length = usize::from(*length);
                at += match *kind {
                    44 => 8,
                    51 => (length + 2) * 4,
                    _ => (length + 1) * 8,
                };
            }
            bytes[kind_at] = self.protocol;
            at
        };
        let udp_bytes = total - udp as u16;
        bytes[udp + 4..udp + 6].copy_from_slice(&udp_bytes.to_be_bytes());
        bytes
    }
}

/// Whose a packet is that the forwarding decision takes for a datagram.
fn owner(shares: &Shares, bytes: &[u8]) -> Option<u32> {
    let datagram = Datagram::parse(LinkLayer::Ip, bytes).ok()?;
    let owner = shares.owner(datagram.destination, datagram.udp.destination_port());
    owner.map(|worker| worker.0)
}

#[test]
fn options_and_extension_headers_hide_no_port() {
    let shares = Shares::new(Steering::Hash, &[0, 1, 2, 3]);
    let program = Program::steer_by_hash(shares.seeds());
    let plain = Packet {
        is_v4: true,
        protocol: 17,
        ip_words: 5,
        extensions: Vec::new(),
        noise: (0..460).map(|n| (n * 7) as u8).collect(),
    };
    let chain = [(0, 0), (60, 1), (43, 2), (51, 3), (135, 0), (139, 1), (140, 0), (44, 3)];
    let samples = [
        plain.clone(),
        Packet { ip_words: 15, ..plain.clone() },
        Packet { is_v4: false, ..plain.clone() },
        Packet { is_v4: false, extensions: chain.to_vec(), ..plain },
    ];
    for sample in samples {
        let bytes = sample.bytes();
        let owner = owner(&shares, &bytes);
        assert!(owner.is_some(), "{sample:?}");
        assert_eq!(Some(member(&program, &bytes, 0)), owner, "{sample:?}");
    }
}

proptest! {
    /// Whatever the forwarding decision can take for a datagram comes to the worker that holds the
    /// rules for its destination.
    #[test]
    fn by_hash_the_owner_gets_the_datagram(
        packets in prop::collection::vec(packets(), 20),
        cores in prop::collection::btree_set(0..300_usize, 1..9),
        cut in 0..460_usize,
    ) {
        let cores: Vec<usize> = cores.into_iter().collect();
        let shares = Shares::new(Steering::Hash, &cores);
        let program = Program::steer_by_hash(shares.seeds());
        for packet in packets {
            let bytes = packet.bytes();
            let steered = member(&program, &bytes, 0);
            prop_assert!((steered as usize) < cores.len());
            if let Some(owner) = owner(&shares, &bytes) {
                prop_assert_eq!(steered, owner);
            }
            // Whatever is cut short goes to somebody.
            prop_assert!((member(&program, &bytes[..cut], 0) as usize) < cores.len());
        }
    }
}
