use std::net::SocketAddr;

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::ids::RuleSlot;
use crate::table::{Egress, OwnSocket};
use crate::wire::samples;

const PAYLOAD: &[u8] = b"a datagram's payload";
const INGRESS: IfIndex = IfIndex(2);
const V4: RuleSlot = RuleSlot(4);
const V6: RuleSlot = RuleSlot(6);

/// One rule for each family, and an egress socket of our own.
fn table() -> ForwardingTable {
    let mut table = ForwardingTable::with_capacity(4);
    for (to, slot) in [(v4().1, V4), (v6().1, V6)] {
        let key = RouteKey { ifindex: INGRESS, address: to.ip(), port: to.port() };
        table.insert(key, None, slot);
    }
    for own in ["10.0.0.1:40000", "[fd00::1]:40000"] {
        let egress = Egress { ifindex: INGRESS, hardware: None };
        table.insert_own(OwnSocket { address: own.parse().unwrap(), egress });
    }
    table
}

fn v4() -> (SocketAddr, SocketAddr) {
    addresses("10.0.0.7:4000", "239.1.1.1:5000")
}

fn v6() -> (SocketAddr, SocketAddr) {
    addresses("[fd00::7]:4000", "[ff3e::1234]:5000")
}

fn addresses(from: &str, to: &str) -> (SocketAddr, SocketAddr) {
    (from.parse().unwrap(), to.parse().unwrap())
}

/// The checksum of UDP, in a packet without options or extension headers.
fn not_filled_in(frame: &[u8]) -> ChecksumStatus {
    let ip_header = if frame[12..14] == [0x86, 0xdd] { 40 } else { 20 };
    ChecksumStatus::NotFilledIn { start: 14 + ip_header }
}

fn seen(bytes: &[u8]) -> Frame<'_> {
    Frame {
        bytes,
        original_len: bytes.len() as u32,
        ifindex: INGRESS,
        link: LinkLayer::Ethernet,
        checksum: ChecksumStatus::Unverified,
        vlan_tagged: false,
        for_other_host: false,
        coalescing: Coalescing::Single,
    }
}

fn verdict(bytes: &[u8]) -> Verdict {
    forward(&table(), &seen(bytes))
}

/// The rule that takes the frame, and the payload that it gets.
fn taken(frame: &Frame<'_>) -> (RuleSlot, Vec<u8>) {
    match forward(&table(), frame) {
        Verdict::Forward { rule, payload } => (rule, frame.bytes[payload].to_vec()),
        Verdict::Drop(reason) => panic!("dropped: {}", reason.name()),
    }
}

#[test]
fn a_wanted_datagram_is_forwarded() {
    for ((from, to), slot) in [(v4(), V4), (v6(), V6)] {
        for payload in [PAYLOAD, &[], &[0xab; 1472]] {
            let frame = samples::frame(from, to, payload);
            assert_eq!(taken(&seen(&frame)), (slot, payload.to_vec()));
            let packet = samples::packet(from, to, payload);
            let bare = Frame { link: LinkLayer::Ip, ..seen(&packet) };
            assert_eq!(taken(&bare), (slot, payload.to_vec()));
        }
    }
}

/// A capture that ends in the padding has lost nothing.
#[test]
fn only_padding_cut_off() {
    let (from, to) = v4();
    let frame = samples::frame(from, to, &[]);
    let cut = Frame { original_len: 60, ..seen(&frame) };
    assert_eq!(taken(&cut), (V4, Vec::new()));
}

#[test]
fn the_outermost_reason_is_named() {
    let (from, to) = v4();
    let frame = samples::frame(from, to, PAYLOAD);
    let tagged = Frame { vlan_tagged: true, ..seen(&frame) };
    let drop = |frame: &Frame<'_>| forward(&table(), frame);
    assert_eq!(drop(&tagged), Verdict::Drop(DropReason::WrongVlan));
    let strange = Frame { for_other_host: true, ..seen(&frame) };
    assert_eq!(forward(&table(), &strange), Verdict::Drop(DropReason::OtherHost));
    let coalesced = Frame { coalescing: Coalescing::Unknown, ..tagged };
    assert_eq!(drop(&coalesced), Verdict::Drop(DropReason::Coalesced));
}

/// What the kernel shows of datagrams with these bytes of payload each, but the last.
fn super_frame(bytes: &[u8], segment_bytes: u16) -> Frame<'_> {
    Frame {
        coalescing: Coalescing::Segments(NonZeroU16::new(segment_bytes).unwrap()),
        checksum: not_filled_in(bytes),
        ..seen(bytes)
    }
}

#[test]
fn a_super_frame_is_as_many_datagrams_as_it_has_segments() {
    let payload: Vec<u8> = (0..=255).collect();
    for ((from, to), slot) in [(v4(), V4), (v6(), V6)] {
        let bytes = samples::frame(from, to, &payload);
        for (segment_bytes, count) in [(100, 3), (128, 2), (255, 2), (256, 1), (300, 1), (2, 128)] {
            let frame = super_frame(&bytes, segment_bytes);
            let Verdict::Forward { rule, payload: range } = forward(&table(), &frame) else {
                panic!("{segment_bytes}")
            };
            let parts: Vec<_> = frame.coalescing.payloads(range).collect();
            assert_eq!((rule, parts.len(), frame.datagrams()), (slot, count, count));
            let each = usize::from(segment_bytes);
            assert!(parts[..count - 1].iter().all(|part| part.len() == each));
            let whole: Vec<u8> = parts.into_iter().flat_map(|part| bytes[part].to_vec()).collect();
            assert_eq!(whole, payload);
        }
    }
}

#[test]
fn a_super_frame_that_nobody_vouches_for_is_dropped() {
    let (from, to) = v4();
    let bytes = samples::frame(from, to, PAYLOAD);
    let whole = super_frame(&bytes, 5);
    for (checksum, taken) in [
        (not_filled_in(&bytes), true),
        (ChecksumStatus::Valid, true),
        (ChecksumStatus::Unverified, false),
    ] {
        let verdict = forward(&table(), &Frame { checksum, ..whole });
        let dropped = verdict == Verdict::Drop(DropReason::Coalesced);
        assert_eq!((matches!(verdict, Verdict::Forward { .. }), dropped), (taken, !taken));
    }
    let long = samples::frame(from, to, &[0; limits::DATAGRAMS_IN_A_FRAME + 1]);
    let many = super_frame(&long, 1);
    assert_eq!(forward(&table(), &many), Verdict::Drop(DropReason::Coalesced));
}

/// What is lost is counted in datagrams, also where only the beginning was captured.
#[test]
fn a_super_frame_cut_short_is_still_counted_by_datagrams() {
    let (from, to) = v4();
    let bytes = samples::frame(from, to, &[0xab; 1000]);
    let cut = Frame { original_len: bytes.len() as u32, ..super_frame(&bytes[..500], 100) };
    assert_eq!(forward(&table(), &cut), Verdict::Drop(DropReason::Truncated));
    assert_eq!(cut.datagrams(), 10);
    let single = Frame { coalescing: Coalescing::Single, ..cut };
    assert_eq!(single.datagrams(), 1);
}

#[test]
fn an_empty_datagram_is_one() {
    for coalescing in [Coalescing::Single, Coalescing::Segments(NonZeroU16::MIN)] {
        let mut payloads = coalescing.payloads(42..42);
        assert_eq!((payloads.next(), payloads.next()), (Some(42..42), None));
    }
}

#[test]
fn what_no_rule_wants() {
    let none = Verdict::Drop(DropReason::NoRule);
    let (from, to) = v4();
    let frame = samples::frame(from, to, PAYLOAD);
    let elsewhere = Frame { ifindex: IfIndex(3), ..seen(&frame) };
    assert_eq!(forward(&table(), &elsewhere), none);
    for other in ["239.1.1.2:5000", "239.1.1.1:5001", "239.1.1.1:0"] {
        let frame = samples::frame(from, other.parse().unwrap(), PAYLOAD);
        assert_eq!(verdict(&frame), none, "{other}");
    }
}

#[test]
fn our_own_transmission_is_not_taken_again() {
    for (from, (_, to)) in [("10.0.0.1:40000", v4()), ("[fd00::1]:40000", v6())] {
        let own: SocketAddr = from.parse().unwrap();
        let frame = samples::frame(own, to, PAYLOAD);
        assert_eq!(verdict(&frame), Verdict::Drop(DropReason::Own));
        let neighbour = SocketAddr::new(own.ip(), 40001);
        let frame = samples::frame(neighbour, to, PAYLOAD);
        assert!(matches!(verdict(&frame), Verdict::Forward { .. }));
    }
}

#[test]
fn corruption_is_not_laundered() {
    let bad = Verdict::Drop(DropReason::BadChecksum);
    for (from, to) in [v4(), v6()] {
        let intact = samples::frame(from, to, PAYLOAD);
        for place in intact.len() - PAYLOAD.len()..intact.len() {
            let mut frame = intact.clone();
            frame[place] ^= 0x10;
            assert_eq!(verdict(&frame), bad, "byte {place}");
        }
        let mut frame = intact;
        let last = frame.len() - 1;
        frame[last] ^= 1;
        for checksum in [ChecksumStatus::Valid, not_filled_in(&frame)] {
            let believed = Frame { checksum, ..seen(&frame) };
            assert!(matches!(forward(&table(), &believed), Verdict::Forward { .. }));
        }
    }
}

/// A tunnel's end on this host fills in the outer checksum alone.
#[test]
fn a_checksum_within_the_payload_has_to_be_filled_in() {
    for (from, to) in [v4(), v6()] {
        let bytes = samples::frame(from, to, PAYLOAD);
        let start = bytes.len() - PAYLOAD.len() + 2;
        let single = Frame { checksum: ChecksumStatus::NotFilledIn { start }, ..seen(&bytes) };
        assert_eq!(forward(&table(), &single), Verdict::Drop(DropReason::Unfilled));
        let checksum = single.checksum;
        let several = Frame { checksum, ..super_frame(&bytes, 5) };
        assert_eq!(forward(&table(), &several), Verdict::Drop(DropReason::Coalesced));
    }
}

#[test]
fn a_checksum_of_zero_is_none() {
    let without = |(from, to)| {
        let mut frame = samples::frame(from, to, PAYLOAD);
        let at = frame.len() - PAYLOAD.len() - 2;
        frame[at..at + 2].fill(0);
        frame
    };
    assert_eq!(taken(&seen(&without(v4()))), (V4, PAYLOAD.to_vec()));
    let frame = without(v6());
    let none = Verdict::Drop(DropReason::NoChecksum);
    assert_eq!(verdict(&frame), none);
    let called_valid = Frame { checksum: ChecksumStatus::Valid, ..seen(&frame) };
    assert_eq!(forward(&table(), &called_valid), none);
    let to_be_filled_in = Frame { checksum: not_filled_in(&frame), ..seen(&frame) };
    assert_eq!(taken(&to_be_filled_in), (V6, PAYLOAD.to_vec()));
}

/// A datagram whose checksum comes out as zero bears all ones instead (RFC 768).
#[test]
fn a_checksum_of_all_ones_is_one() {
    for ((from, to), slot) in [(v4(), V4), (v6(), V6)] {
        let plain = samples::udp(from, to, &[0; 4]);
        // The complement of the checksum, put into the payload, makes the sum all ones.
        let payload = [plain[6], plain[7], 0, 0];
        let frame = samples::frame(from, to, &payload);
        let at = frame.len() - payload.len() - 2;
        assert_eq!(frame[at..at + 2], [0xff, 0xff]);
        assert_eq!(taken(&seen(&frame)), (slot, payload.to_vec()));
    }
}

/// Frames made by another's code, so that an error of ours is not on both sides.
#[test]
fn reads_what_others_write() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 7], [1, 0, 0x5e, 1, 1, 1])
        .ipv4([10, 0, 0, 7], [239, 1, 1, 1], 16)
        .udp(4000, 5000)
        .write(&mut frame, PAYLOAD)
        .unwrap();
    assert_eq!(taken(&seen(&frame)), (V4, PAYLOAD.to_vec()));
    let (from, to) = ("fd00::7", "ff3e::1234");
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 7], [0x33, 0x33, 0, 0, 0x12, 0x34])
        .ipv6(octets(from), octets(to), 16)
        .udp(4000, 5000)
        .write(&mut frame, PAYLOAD)
        .unwrap();
    assert_eq!(taken(&seen(&frame)), (V6, PAYLOAD.to_vec()));
}

/// A frame that a rule wants, with or without options or extension headers and padding.
fn wanted_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    (any::<bool>(), payload, 0..4_usize, 0..20_usize).prop_map(|(ipv6, payload, extra, padding)| {
        let (from, to) = if ipv6 { v6() } else { v4() };
        let udp = samples::udp(from, to, &payload);
        let packet = if !ipv6 {
            samples::ipv4(from.ip(), to.ip(), &vec![1; extra * 4], &udp)
        } else if extra == 0 {
            samples::ipv6(from.ip(), to.ip(), 17, &udp)
        } else {
            let options = samples::extension(17, extra as u8 - 1, extra * 8, &udp);
            samples::ipv6(from.ip(), to.ip(), 60, &options)
        };
        let mut frame = samples::ethernet(&packet);
        frame.resize(frame.len() + padding, 0xee);
        frame
    })
}

fn any_status() -> impl Strategy<Value = ChecksumStatus> {
    prop_oneof![
        Just(ChecksumStatus::Unverified),
        Just(ChecksumStatus::Valid),
        (0..100_usize).prop_map(|start| ChecksumStatus::NotFilledIn { start }),
    ]
}

/// What a payload range must never break: it is the end of a UDP datagram inside the frame.
fn assert_inside(frame: &Frame<'_>) {
    if let Verdict::Forward { payload, .. } = forward(&table(), frame) {
        assert!(payload.start <= payload.end && payload.end <= frame.bytes.len());
        let header = &frame.bytes[payload.start - 8..payload.start];
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        assert_eq!(length, 8 + payload.len());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        checksum in any_status(),
        bare: bool,
    ) {
        let link = if bare { LinkLayer::Ip } else { LinkLayer::Ethernet };
        assert_inside(&Frame { link, checksum, ..seen(&bytes) });
    }

    #[test]
    fn every_wanted_frame_is_forwarded(bytes in wanted_frame()) {
        taken(&seen(&bytes));
        assert_inside(&seen(&bytes));
    }

    #[test]
    fn changed_frames_do_no_harm(
        mut bytes in wanted_frame(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        refill: bool,
        checksum in any_status(),
    ) {
        let headers = bytes.len().min(14 + 40 + 8);
        for (place, value) in changes {
            bytes[place.index(headers)] = value;
        }
        let header_bytes = usize::from(bytes[14] & 0x0f) * 4;
        if refill && header_bytes >= 20 && bytes.len() >= 14 + header_bytes {
            samples::fill_ipv4_checksum(&mut bytes[14..]);
        }
        assert_inside(&Frame { checksum, ..seen(&bytes) });
        bytes.truncate(cut.index(bytes.len() + 1));
        assert_inside(&Frame { checksum, ..seen(&bytes) });
    }

    /// One wrong bit is noticed wherever it could matter.
    #[test]
    fn a_flipped_bit_is_never_forwarded_as_another_payload(
        bytes in wanted_frame(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let frame = seen(&bytes);
        let (_, before) = taken(&frame);
        let mut flipped = bytes.clone();
        flipped[place.index(bytes.len())] ^= 1 << bit;
        if let Verdict::Forward { payload, .. } = verdict(&flipped) {
            // Padding, or the bit that makes an IPv4 datagram's checksum zero, "none".
            prop_assert_eq!(&flipped[payload], &before[..]);
        }
    }
}
