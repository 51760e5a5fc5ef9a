//! The admission filter: which UDP frames get from an interface into the packet ring.

use super::Program;
use super::assembler::{Assembler, Label};
use libc::{BPF_B, BPF_H, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JSET, BPF_W};
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

/// The header that a packet socket shows before the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkHeader {
    /// 14 bytes of Ethernet. (The kernel takes an outer VLAN tag off before a packet socket.)
    Ethernet,
    /// Nothing: tunnels that carry bare IP.
    None,
}

/// Consecutive destination keys, and the UDP destination ports wanted for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// The first key.
    pub first: u32,
    /// The last key, included.
    pub last: u32,
    /// Only these destination ports; any port where empty.
    pub ports: Vec<u16>,
}

/// The wanted destinations.
///
/// Admitted are UDP frames whose destination key lies in an interval and whose destination port is
/// one of the interval's; on the address alone those whose port cannot be told by a filter: IPv4
/// fragments after the first, IPv6 packets with extension headers. Not admitted: anything else,
/// and what this host sends itself.
///
/// Intervals are sorted and disjoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The place of the IP header.
    pub link: LinkHeader,
    /// IPv4 intervals; the key is the destination address in host order.
    pub v4: Vec<Interval>,
    /// IPv6 intervals; the key is the low 32 bits of the destination address in host order.
    pub v6: Vec<Interval>,
    /// Of UDP frames to any other destination, one in about so many is admitted, too; `None`: none.
    pub strangers: Option<NonZeroU32>,
}

const ADMIT: u32 = u32::MAX;
const REJECT: u32 = 0;

/// The scratch word that holds the destination port while the accumulator holds the address.
const PORT: u32 = 0;
/// In place of a port that cannot be told; no port has this value.
const UNKNOWN_PORT: u32 = 0x1_0000;

const ETHERNET_HEADER_BYTES: u32 = 14;
const IPV6_HEADER_BYTES: u32 = 40;
const UDP_DESTINATION_PORT: u32 = 2;
const UDP: u32 = libc::IPPROTO_UDP as u32;

/// The IPv6 next headers behind which UDP may follow (IANA's list of extension headers): hop by
/// hop, routing, fragment, authentication, destination options, mobility, HIP, Shim6.
const EXTENSION_HEADERS: [u32; 8] = [0, 43, 44, 51, 60, 135, 139, 140];

impl Admission {
    pub(super) fn compile(&self) -> Program {
        debug_assert!(is_sorted_and_disjoint(&self.v4) && is_sorted_and_disjoint(&self.v6));
        let mut assembler = Assembler::default();
        let (admit, reject) = (assembler.give(ADMIT), assembler.give(REJECT));
        let stranger = self.strangers.map_or(reject, |one_in| {
            let sample = assembler.branch(BPF_JGT, u32::MAX / one_in, reject, admit);
            assembler.load_ancillary(libc::SKF_AD_RANDOM, sample)
        });
        let verdicts = Verdicts { admit, reject, stranger };
        let v6 = self.ipv6(&mut assembler, verdicts);
        let v4 = self.ipv4(&mut assembler, verdicts);
        let protocol = self.protocol(&mut assembler, v4, v6, verdicts.reject);
        let incoming =
            assembler.branch(BPF_JEQ, u32::from(libc::PACKET_OUTGOING), verdicts.reject, protocol);
        let start = assembler.load_ancillary(libc::SKF_AD_PKTTYPE, incoming);
        // The kernel refuses a program if it thinks that a scratch word may be read before it is
        // written, and it thinks so of what merely follows a verdict. So it is written at once.
        assembler.store_scratch(PORT, start);
        assembler.finish()
    }

    /// Admits more with fewer instructions; false when nothing is left to give up.
    pub(super) fn coarsen(&mut self) -> bool {
        let families = [&mut self.v4, &mut self.v6];
        if families.iter().any(|family| family.iter().any(|i| !i.ports.is_empty())) {
            for interval in families.into_iter().flatten() {
                interval.ports.clear();
            }
            return true;
        }
        let mut coarser = false;
        for family in families {
            coarser |= family.len() > 1;
            *family = family.chunks(2).map(hull).collect();
        }
        coarser || self.admit_families()
    }

    /// Admits all UDP of each wanted family; false where that is so already.
    pub(super) fn admit_families(&mut self) -> bool {
        let mut coarser = false;
        for family in [&mut self.v4, &mut self.v6] {
            if !family.is_empty() && !is_everything(family) {
                *family = vec![Interval { first: 0, last: u32::MAX, ports: Vec::new() }];
                coarser = true;
            }
        }
        coarser
    }

    /// Whether UDP datagrams to this destination are admitted.
    pub fn admits(&self, address: IpAddr, port: u16) -> bool {
        let (key, intervals) = match address {
            IpAddr::V4(v4) => (v4.to_bits(), &self.v4),
            IpAddr::V6(v6) => (v6.to_bits() as u32, &self.v6),
        };
        let before = intervals.partition_point(|interval| interval.last < key);
        intervals.get(before).is_some_and(|interval| {
            interval.first <= key && (interval.ports.is_empty() || interval.ports.contains(&port))
        })
    }

    /// Tells the IP version.
    fn protocol(&self, asm: &mut Assembler, v4: Label, v6: Label, reject: Label) -> Label {
        match self.link {
            LinkHeader::Ethernet => {
                let not_v4 = asm.branch(BPF_JEQ, libc::ETH_P_IPV6 as u32, v6, reject);
                let ethertype = asm.branch(BPF_JEQ, libc::ETH_P_IP as u32, v4, not_v4);
                asm.load(BPF_H, ETHERNET_HEADER_BYTES - 2, ethertype)
            }
            LinkHeader::None => {
                let ip = self.ip_header();
                let not_v4 = asm.branch(BPF_JEQ, 0x60, v6, reject);
                let version = asm.branch(BPF_JEQ, 0x40, v4, not_v4);
                let nibble = asm.and(0xf0, version);
                asm.load(BPF_B, ip, nibble)
            }
        }
    }

    /// RFC 791: protocol at 9, fragment offset at 6, destination at 16.
    fn ipv4(&self, asm: &mut Assembler, verdicts: Verdicts) -> Label {
        let ip = self.ip_header();
        if is_everything(&self.v4) {
            let udp = asm.branch(BPF_JEQ, UDP, verdicts.admit, verdicts.reject);
            return asm.load(BPF_B, ip + 9, udp);
        }
        let Some(search) = self.search(asm, &self.v4, verdicts) else {
            return verdicts.reject;
        };
        let address = asm.load(BPF_W, ip + 16, search);
        let store = asm.store_scratch(PORT, address);
        let port = asm.load_indexed(BPF_H, ip + UDP_DESTINATION_PORT, store);
        let with_udp_header = asm.index_by_ipv4_header(ip, port);
        let without = asm.load_constant(UNKNOWN_PORT, store);
        let later_fragment = asm.branch(BPF_JSET, 0x1fff, without, with_udp_header);
        let fragment = asm.load(BPF_H, ip + 6, later_fragment);
        let protocol = asm.branch(BPF_JEQ, UDP, fragment, verdicts.reject);
        asm.load(BPF_B, ip + 9, protocol)
    }

    /// RFC 8200: next header at 6, low 32 bits of the destination at 36.
    fn ipv6(&self, asm: &mut Assembler, verdicts: Verdicts) -> Label {
        let ip = self.ip_header();
        let (port, without) = if is_everything(&self.v6) {
            (verdicts.admit, verdicts.admit)
        } else {
            let Some(search) = self.search(asm, &self.v6, verdicts) else {
                return verdicts.reject;
            };
            let address = asm.load(BPF_W, ip + 36, search);
            let store = asm.store_scratch(PORT, address);
            let port = asm.load(BPF_H, ip + IPV6_HEADER_BYTES + UDP_DESTINATION_PORT, store);
            (port, asm.load_constant(UNKNOWN_PORT, store))
        };
        let mut next_header = verdicts.reject;
        for extension in EXTENSION_HEADERS {
            next_header = asm.branch(BPF_JEQ, extension, without, next_header);
        }
        let udp = asm.branch(BPF_JEQ, UDP, port, next_header);
        asm.load(BPF_B, ip + 6, udp)
    }

    /// What follows for a UDP destination of the family in the accumulator; `None`: it is rejected.
    fn search(&self, asm: &mut Assembler, intervals: &[Interval], to: Verdicts) -> Option<Label> {
        address_search(asm, intervals, to).or(self.strangers.map(|_| to.stranger))
    }

    fn ip_header(&self) -> u32 {
        match self.link {
            LinkHeader::Ethernet => ETHERNET_HEADER_BYTES,
            // Counted from the network header: a tunnel to many (GRE without a remote end) shows
            // its own headers as those of its link.
            LinkHeader::None => libc::SKF_NET_OFF as u32,
        }
    }
}

#[derive(Clone, Copy)]
struct Verdicts {
    admit: Label,
    reject: Label,
    /// About a UDP destination that is not wanted.
    stranger: Label,
}

/// Finds the accumulator in `intervals`, then checks the port. `None`: there is no interval.
fn address_search(
    asm: &mut Assembler,
    intervals: &[Interval],
    verdicts: Verdicts,
) -> Option<Label> {
    let lowest = intervals.first()?.first;
    // All port checks fail into this one: with the port unknown, the address alone decides.
    let mismatch = asm.branch(BPF_JEQ, UNKNOWN_PORT, verdicts.admit, verdicts.stranger);
    let mut search = Search { asm, verdicts, mismatch, port_checks: HashMap::new() };
    let tree = search.tree(intervals);
    Some(asm.branch(BPF_JGE, lowest, tree, verdicts.stranger))
}

/// A binary search over intervals, under construction.
struct Search<'a> {
    asm: &'a mut Assembler,
    verdicts: Verdicts,
    mismatch: Label,
    /// Intervals with the same ports share the instructions that check them.
    port_checks: HashMap<&'a [u16], Label>,
}

impl<'a> Search<'a> {
    /// For keys that are not below the first of `intervals`, of which there is at least one.
    fn tree(&mut self, intervals: &'a [Interval]) -> Label {
        if let [interval] = intervals {
            let inside = self.port_check(&interval.ports);
            return self.asm.branch(BPF_JGT, interval.last, self.verdicts.stranger, inside);
        }
        let (low, high) = intervals.split_at(intervals.len() / 2);
        let boundary = high[0].first;
        let high = self.tree(high);
        let low = self.tree(low);
        self.asm.branch(BPF_JGE, boundary, high, low)
    }

    fn port_check(&mut self, ports: &'a [u16]) -> Label {
        if ports.is_empty() {
            return self.verdicts.admit;
        }
        if let Some(check) = self.port_checks.get(ports) {
            return *check;
        }
        let mut check = self.mismatch;
        for port in ports {
            check = self.asm.branch(BPF_JEQ, u32::from(*port), self.verdicts.admit, check);
        }
        let check = self.asm.load_scratch(PORT, check);
        self.port_checks.insert(ports, check);
        check
    }
}

/// The smallest interval around one or two neighbours.
fn hull(neighbours: &[Interval]) -> Interval {
    let last = neighbours[neighbours.len() - 1].last;
    Interval { first: neighbours[0].first, last, ports: Vec::new() }
}

fn is_everything(intervals: &[Interval]) -> bool {
    matches!(intervals, [Interval { first: 0, last: u32::MAX, ports }] if ports.is_empty())
}

fn is_sorted_and_disjoint(intervals: &[Interval]) -> bool {
    intervals.iter().all(|interval| interval.first <= interval.last)
        && intervals.windows(2).all(|pair| pair[0].last < pair[1].first)
}
