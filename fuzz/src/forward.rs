//! The decision about a frame, and the kernel's filter before it.

use std::num::NonZeroU16;
use std::sync::LazyLock;

use mcr_core::admission::{Interval, WantedDestinations};
use mcr_core::forward::{ChecksumStatus, Coalescing, Frame, claimant, forward as decide};
use mcr_core::ids::IfIndex;
use mcr_core::interfaces::LinkLayer;
use mcr_core::limits;
use mcr_core::route::Route;
use mcr_core::table::{Egress, ForwardingTable, OwnSocket};
use mcr_core::verdict::{DropReason, Verdict};
use mcr_core::wire::Datagram;
use mcr_sys::filter::{self, LinkHeader, Program};

use crate::{frame, sample};

const ON: IfIndex = IfIndex(7);

/// What decides: the same in each run.
struct Relay {
    routes: Vec<Route>,
    table: ForwardingTable,
    /// The filters of an interface of either kind.
    filters: [Program; 2],
}

static RELAY: LazyLock<Relay> = LazyLock::new(|| {
    let routes = sample::routes(ON);
    let mut table = ForwardingTable::with_capacity(routes.len());
    let mut wanted = WantedDestinations::default();
    for route in &routes {
        table.insert(route.key, route.source, route.slot);
        wanted.insert(route.key.address, route.key.port);
    }
    let egress = Egress { ifindex: ON, hardware: None };
    table.insert_own(OwnSocket { address: sample::own(), egress });
    let admission = wanted.intervals();
    let intervals = |intervals: &[Interval]| {
        let same = |i: &Interval| filter::Interval {
            first: i.first,
            last: i.last,
            ports: i.ports.clone(),
        };
        intervals.iter().map(same).collect::<Vec<_>>()
    };
    let filters = [LinkHeader::Ethernet, LinkHeader::None].map(|link| {
        let (v4, v6) = (intervals(&admission.v4), intervals(&admission.v6));
        Program::admit(&filter::Admission { link, v4, v6, strangers: None })
    });
    Relay { routes, table, filters }
});

/// The first four bytes say what the kernel says beside a frame, the others are the frame.
pub fn forward(data: &[u8]) {
    let Some(([flags, segment_low, segment_high, missing], bytes)) = data.split_first_chunk()
    else {
        return;
    };
    let segment = NonZeroU16::new(u16::from_le_bytes([*segment_low, *segment_high]));
    let frame = Frame {
        bytes,
        original_len: bytes.len() as u32 + u32::from(*missing),
        ifindex: ON,
        link: if flags & 1 == 0 { LinkLayer::Ethernet } else { LinkLayer::Ip },
        checksum: match flags >> 1 & 3 {
            0 => ChecksumStatus::Unverified,
            1 => ChecksumStatus::Valid,
            _ => ChecksumStatus::NotFilledIn { start: usize::from(*missing) },
        },
        vlan_tagged: flags & 8 != 0,
        for_other_host: flags & 64 != 0,
        coalescing: match (flags >> 4 & 3, segment) {
            (0 | 1, _) => Coalescing::Single,
            (2, Some(bytes)) => Coalescing::Segments(bytes),
            _ => Coalescing::Unknown,
        },
    };
    let verdict = decide(&RELAY.table, &frame);
    assert_eq!(verdict, decide(&RELAY.table, &frame));
    assert!(frame.datagrams() >= 1);
    let claimed = claimant(&RELAY.table, &frame);
    match verdict {
        Verdict::Forward { rule, payload } => {
            assert_eq!(claimed, Some(rule));
            check_forwarded(&frame, rule.0 as usize, &payload);
        }
        Verdict::Drop(DropReason::NoRule) => assert_eq!(claimed, None),
        Verdict::Drop(_) => {}
    }
}

fn check_forwarded(frame: &Frame<'_>, slot: usize, payload: &std::ops::Range<usize>) {
    let Relay { routes, table, filters } = &*RELAY;
    assert!(!frame.vlan_tagged && frame.coalescing != Coalescing::Unknown);
    let datagram = Datagram::parse(frame.link, frame.bytes).expect("it was read to be forwarded");
    assert_eq!(datagram.payload, *payload);
    assert!(!table.is_own(datagram.source, datagram.udp.source_port(), frame.arrival()));
    let route = &routes[slot];
    assert_eq!(route.key.address, datagram.destination);
    assert_eq!(route.key.port, datagram.udp.destination_port());
    assert!(route.source.is_none_or(|source| source == datagram.source));
    if frame.checksum == ChecksumStatus::Unverified {
        let is_absent = datagram.udp.checksum().is_none() && datagram.source.is_ipv4();
        assert!(is_absent || frame::naive_sum(&datagram) == u16::MAX);
    }
    // The payloads tile the frame's, and each but the last is as long as the first.
    let count = frame.coalescing.datagrams(payload.len());
    assert!((1..=limits::DATAGRAMS_IN_A_FRAME).contains(&count));
    let pieces: Vec<_> = frame.coalescing.payloads(payload.clone()).collect();
    assert_eq!(pieces.len(), count);
    assert_eq!((pieces[0].start, pieces[count - 1].end), (payload.start, payload.end));
    for pair in pieces.windows(2) {
        assert_eq!(pair[0].end, pair[1].start);
        assert_eq!(pair[0].len(), pieces[0].len());
        assert!((1..=pieces[0].len()).contains(&pair[1].len()));
    }
    let filter = &filters[usize::from(frame.link == LinkLayer::Ip)];
    assert_eq!(filter.judge(frame.bytes), u32::MAX, "the filter keeps out what a rule wants");
}
