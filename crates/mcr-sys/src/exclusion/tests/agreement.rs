//! The program drops what the forwarding decision would take for an exclusive rule, and nothing
//! else: both are asked about the same frames.

use super::*;
use mcr_core::forward::{ChecksumStatus, Coalescing, Frame, forward};
use mcr_core::ids::{IfIndex, RuleSlot};
use mcr_core::interfaces::LinkLayer;
use mcr_core::route::RouteKey;
use mcr_core::table::ForwardingTable;
use mcr_core::verdict::{DropReason, Verdict};
use mcr_lab::frame::{Checksum, Fragment};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The loopback interface, which every namespace has.
const LO: u32 = 1;

/// Few addresses, so that random frames meet rules.
const SOURCES: [[&str; 2]; 2] = [["10.0.0.7", "10.0.0.8"], ["fd00::7", "fd00::8"]];
const GROUPS: [[&str; 3]; 2] =
    [["239.1.1.1", "239.1.1.2", "10.0.0.1"], ["ff3e::1", "ff3e::2", "fd00::1"]];
const PORTS: [u16; 3] = [5000, 5001, 0x0050];

/// A rule: destination (of both families), port, whether of the first source only, and its fate.
const RULES: [(usize, u16, bool, Fate); 5] = [
    (0, 5000, false, Fate::Ends),
    // Not exclusive, though the rule for any source is.
    (0, 5000, true, Fate::GoesOn),
    (1, 5000, true, Fate::Ends),
    (1, 5001, false, Fate::GoesOn),
    (2, 0x0050, false, Fate::Ends),
];

/// The rules as both sides know them.
struct Sides {
    table: ForwardingTable,
    programs: [(LinkLayer, OwnedFd); 2],
    _exclusions: Exclusions,
}

impl Sides {
    fn new() -> Self {
        let exclusions = Exclusions::create(ENTRIES).unwrap();
        let mut table = ForwardingTable::with_capacity(16);
        for (slot, (group, port, one_source, fate)) in (0..).zip(RULES) {
            for family in [0, 1] {
                let address = GROUPS[family][group].parse().unwrap();
                let source = one_source.then(|| SOURCES[family][0].parse().unwrap());
                let key = RouteKey { ifindex: IfIndex(LO), address, port };
                table.insert(key, source, RuleSlot(slot));
                exclusions.set(&Taken { ifindex: LO, address, port, source }, fate).unwrap();
            }
        }
        let load = |link| kernel::load(&program::compile(link, exclusions.table.as_fd())).unwrap();
        let programs = [
            (LinkLayer::Ethernet, load(LinkHeader::Ethernet)),
            (LinkLayer::Ip, load(LinkHeader::None)),
        ];
        Self { table, programs, _exclusions: exclusions }
    }

    /// Asks both; `extended` frames have IPv6 extension headers. Returns whether it was dropped.
    fn agree(&self, frame: &[u8], extended: bool) -> [bool; 2] {
        [0, 1].map(|place| {
            let (link, program) = &self.programs[place];
            let bytes = match link {
                LinkLayer::Ethernet => frame.to_vec(),
                LinkLayer::Ip => bare(frame),
            };
            let bytes = &*bytes;
            let taken = forward(&self.table, &seen(bytes, *link));
            if let Verdict::Drop(
                DropReason::BadChecksum | DropReason::Martian | DropReason::SourceRouted,
            ) = taken
            {
                return false;
            }
            let wanted = match taken {
                Verdict::Forward { rule, .. } => RULES[rule.0 as usize].3 == Fate::Ends,
                Verdict::Drop(_) => false,
            };
            match kernel::test_run(program.as_fd(), bytes, LO) {
                Ok(verdict) => {
                    let dropped = verdict == crate::abi::bpf::TCX_DROP;
                    let left_alone = (extended || is_fragment(frame)) && wanted;
                    assert!(dropped || verdict == crate::abi::bpf::TCX_NEXT, "verdict {verdict}");
                    assert!(dropped == wanted || left_alone, "{taken:?}: {bytes:02x?}");
                    dropped
                }
                // Test runs take no frame without an Ethernet and an IP header.
                Err(error) => {
                    assert!(
                        error.raw_os_error() == Some(libc::EINVAL) && bytes.len() < 54,
                        "{error}"
                    );
                    assert!(!wanted, "{bytes:02x?}");
                    false
                }
            }
        })
    }
}

/// Whether an IPv6 header for fragments comes first: a whole datagram may stand behind it (RFC
/// 6946), which goes on like all behind extension headers.
fn is_fragment(frame: &[u8]) -> bool {
    const NEXT_HEADER: usize = 14 + 6;
    frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(NEXT_HEADER) == Some(&44)
}

/// A checksum that a lying length makes wrong is not what is under test; a missing one is.
fn seen(bytes: &[u8], link: LinkLayer) -> Frame<'_> {
    Frame {
        bytes,
        original_len: bytes.len() as u32,
        ifindex: IfIndex(LO),
        link,
        checksum: ChecksumStatus::Valid,
        vlan_tagged: false,
        for_other_host: is_for_other_host(bytes),
        coalescing: Coalescing::Single,
    }
}

/// Without the Ethernet header. IPv6 gets a traffic class that makes its first byte odd, as that of
/// a group's hardware address is.
fn bare(frame: &[u8]) -> Vec<u8> {
    let mut packet = frame.get(14..).unwrap_or_default().to_vec();
    if let Some(first) = packet.first_mut().filter(|first| **first >> 4 == 6) {
        *first |= 1;
    }
    packet
}

/// A test run takes the first bytes for those of an Ethernet frame on the loopback interface,
/// whatever the program takes them for.
fn is_for_other_host(bytes: &[u8]) -> bool {
    let to = bytes.get(..6).unwrap_or_default();
    to.first().is_some_and(|first| first & 1 == 0) && to.iter().any(|byte| *byte != 0)
}

#[derive(Debug, Clone)]
struct Case {
    frame: Vec<u8>,
    extended: bool,
}

fn any_case() -> impl Strategy<Value = Case> {
    let ends = (0..2_usize, 0..2_usize, 0..3_usize, prop::sample::select(&PORTS[..]));
    let odd = |range: std::ops::Range<u16>| prop::option::weighted(0.2, range);
    let lies = (odd(0..80), odd(0..40), odd(0..16));
    let parts = (
        prop::option::weighted(0.1, (0..3_u16, any::<bool>())),
        prop::collection::vec(0..2_u8, 0..9),
        prop::option::weighted(0.1, prop::sample::select(&[6_u8, 58, 59][..])),
        prop::option::weighted(0.1, 1..4095_u16),
        prop::option::weighted(0.2, Just(Extension::DestinationOptions(vec![0; 6]))),
        any::<bool>(),
    );
    let mangled = (
        prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
        prop::option::weighted(0.2, any::<prop::sample::Index>()),
    );
    (ends, lies, parts, mangled).prop_map(|(ends, lies, parts, (changed, cut))| {
        let extended = parts.4.is_some() || changed.is_some();
        let mut frame = built(ends, lies, parts);
        if let Some((at, byte)) = changed {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if let Some(at) = cut {
            frame.truncate(at.index(frame.len()).max(14));
        }
        Case { frame, extended }
    })
}

type Ends = (usize, usize, usize, u16);
type Lies = (Option<u16>, Option<u16>, Option<u16>);
type Parts = (Option<(u16, bool)>, Vec<u8>, Option<u8>, Option<u16>, Option<Extension>, bool);

fn built((family, source, group, port): Ends, lies: Lies, parts: Parts) -> Vec<u8> {
    let from = SocketAddr::new(SOURCES[family][source].parse().unwrap(), 4000);
    let to = SocketAddr::new(GROUPS[family][group].parse().unwrap(), port);
    let mut builder = FrameBuilder::udp(from, to).payload(b"twenty bytes of data");
    let (ip_length, udp_length, words) = lies;
    let (fragment, options, protocol, vlan, extension, checksum) = parts;
    if let Some(bytes) = ip_length {
        builder = builder.ip_length(bytes);
    }
    if let Some(bytes) = udp_length {
        builder = builder.udp_length(bytes);
    }
    if let Some(words) = words {
        builder = builder.ipv4_header_words(words as u8);
    }
    if let Some((eights, more)) = fragment {
        builder = builder.fragment(Fragment { offset: eights * 8, more, identification: 1 });
    }
    if let Some(protocol) = protocol {
        builder = builder.protocol(protocol);
    }
    if let Some(id) = vlan {
        builder = builder.vlan(id);
    }
    if let Some(extension) = extension {
        builder = builder.extension(extension);
    }
    let checksum = if checksum { Checksum::Correct } else { Checksum::Zero };
    builder.ipv4_options(&options).checksum(checksum).build()
}

#[test]
fn no_frame_is_dropped_that_would_not_be_taken() {
    in_own_namespace(|| {
        if !tcx_is_there() {
            return;
        }
        let sides = Sides::new();
        let mut dropped = [0_u32; 2];
        let mut runner = TestRunner::new(Config { cases: 3000, ..Config::default() });
        let agreed = runner.run(&any_case(), |case| {
            sides.agree(&case.frame, case.extended);
            Ok(())
        });
        agreed.unwrap();
        // As it comes from a well-behaved sender, for each rule.
        for family in [0, 1] {
            for (group, port, _, _) in RULES {
                for source in [0, 1] {
                    let parts = (None, vec![], None, None, None, true);
                    let frame = built((family, source, group, port), (None, None, None), parts);
                    let [ethernet, bare] = sides.agree(&frame, false);
                    assert_eq!(ethernet, bare);
                    dropped[usize::from(ethernet)] += 1;
                }
            }
        }
        assert!(dropped.iter().all(|&frames| frames > 0), "{dropped:?} goes on and ends");
    });
}
