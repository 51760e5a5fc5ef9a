//! What must become of a frame, said without the daemon: by the filter's reference machine, by the
//! pure decision over a table of the test's own, and by a parser that is not MCR's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use mcr_core::admission::{Interval, WantedDestinations};
use mcr_core::forward::{ChecksumStatus, Coalescing, Frame, forward};
use mcr_core::ids::{IfIndex, RuleSlot};
use mcr_core::interfaces::LinkLayer;
use mcr_core::route::RouteKey;
use mcr_core::table::ForwardingTable;
use mcr_core::verdict::{DropReason, Verdict};
use mcr_lab::link::MacAddress;
use mcr_lab::sink::Copies;
use mcr_lab::witness::Testimony;
use mcr_sys::filter::{self, LinkHeader, Program};

/// A destination, and the only source that is wanted of it.
type Wanted = (SocketAddr, Option<IpAddr>);

/// What became of the frames so far, or must.
#[derive(Debug, Default)]
pub(super) struct Fates {
    kept_out: u64,
    drops: BTreeMap<&'static str, u64>,
    /// Each payload that is relayed, and how often.
    pub(super) relayed: Copies,
}

impl Fates {
    /// Frames that a rule takes, for nothing that counts is wrong with them.
    pub(super) fn good(&self) -> u64 {
        self.relayed.values().sum()
    }

    /// Frames counted under a reason.
    pub(super) fn dropped(&self, reason: &str) -> u64 {
        self.drops.get(reason).copied().unwrap_or(0)
    }

    /// Frames that the kernel's filter lets in.
    pub(super) fn admitted(&self) -> u64 {
        self.good() + self.drops.values().sum::<u64>()
    }

    /// Every fault that a single frame can have was there, often.
    pub(super) fn check_variety(&self) -> Result<()> {
        use DropReason::{
            BadChecksum, Fragment, Malformed, NoChecksum, NoRule, NotUdp, Truncated, WrongVlan,
        };
        let reasons =
            [Fragment, Truncated, Malformed, BadChecksum, NoChecksum, WrongVlan, NotUdp, NoRule];
        let mut counts = reasons.map(|reason| self.dropped(reason.name())).to_vec();
        counts.extend([self.good(), self.kept_out]);
        ensure!(counts.iter().all(|count| *count > 100), "too mild a storm: {self}");
        Ok(())
    }
}

impl fmt::Display for Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kept out by the filter, {} good", self.kept_out, self.good())?;
        self.drops.iter().try_for_each(|(reason, count)| write!(f, ", {count} {reason}"))
    }
}

/// Says of each frame what must become of it, and keeps count.
#[derive(Debug)]
pub(super) struct Oracle {
    ifindex: IfIndex,
    mac: MacAddress,
    wanted: Vec<Wanted>,
    table: ForwardingTable,
    filter: Program,
    pub(super) fates: Fates,
}

impl Oracle {
    /// Of a relay with rules for these destinations on an interface.
    pub(super) fn new(ifindex: u32, mac: MacAddress, wanted: &[Wanted]) -> Self {
        let ifindex = IfIndex(ifindex);
        let mut table = ForwardingTable::new();
        let mut destinations = WantedDestinations::default();
        for (slot, (destination, source)) in (0..).zip(wanted) {
            let (address, port) = (destination.ip(), destination.port());
            table.insert(RouteKey { ifindex, address, port }, *source, RuleSlot(slot));
            destinations.insert(address, port);
        }
        let admission = destinations.intervals();
        let intervals = |intervals: &[Interval]| {
            let same = |i: &Interval| filter::Interval {
                first: i.first,
                last: i.last,
                ports: i.ports.clone(),
            };
            intervals.iter().map(same).collect()
        };
        let filter = Program::admit(&filter::Admission {
            link: LinkHeader::Ethernet,
            v4: intervals(&admission.v4),
            v6: intervals(&admission.v6),
            strangers: None,
        });
        Self { ifindex, mac, wanted: wanted.to_vec(), table, filter, fates: Fates::default() }
    }

    /// Counts a frame that is about to be sent.
    ///
    /// # Errors
    /// Where the parsers disagree about it.
    pub(super) fn judge(&mut self, sent: &[u8]) -> Result<()> {
        let Some((bytes, vlan_tagged)) = as_received(sent) else {
            self.fates.kept_out += 1;
            return Ok(());
        };
        if self.filter.judge(&bytes) == 0 {
            self.fates.kept_out += 1;
            return Ok(());
        }
        let frame = Frame {
            bytes: &bytes,
            original_len: bytes.len() as u32,
            ifindex: self.ifindex,
            link: LinkLayer::Ethernet,
            checksum: ChecksumStatus::Unverified,
            vlan_tagged,
            for_other_host: self.is_for_other_host(&bytes),
            coalescing: Coalescing::Single,
        };
        match forward(&self.table, &frame) {
            Verdict::Drop(reason) => *self.fates.drops.entry(reason.name()).or_default() += 1,
            Verdict::Forward { payload, .. } => {
                let payload = &bytes[payload];
                bear_witness(&bytes, &self.wanted, payload)
                    .with_context(|| format!("to be relayed, says MCR: {bytes:02x?}"))?;
                *self.fates.relayed.entry(payload.to_vec()).or_default() += 1;
            }
        }
        Ok(())
    }
}

impl Oracle {
    /// As `eth_type_trans` has it (`net/ethernet/eth.c`): neither a group's nor the interface's.
    fn is_for_other_host(&self, frame: &[u8]) -> bool {
        frame.first_chunk().is_some_and(|to: &MacAddress| to[0] & 1 == 0 && *to != self.mac)
    }
}

/// Bytes of an Ethernet header before its type.
const ADDRESSES_BYTES: usize = 12;

/// A frame as a packet socket shows it, and whether it has a VLAN's tag. The kernel takes the
/// outermost tag off before any socket sees the frame, and drops one that ends with its tag
/// (`skb_vlan_untag`, `net/core/skbuff.c`). A tag of VLAN 0 gives a priority only.
fn as_received(sent: &[u8]) -> Option<(Cow<'_, [u8]>, bool)> {
    let (addresses, rest) = sent.split_at_checked(ADDRESSES_BYTES)?;
    let ([0x81, 0x00, tag @ ..] | [0x88, 0xa8, tag @ ..]) = rest else {
        return Some((sent.into(), false));
    };
    let ([high, low], inner) = tag.split_first_chunk()?;
    let follows = 2 + 2;
    (inner.len() >= follows).then(|| {
        ([addresses, inner].concat().into(), u16::from_be_bytes([*high & 0x0f, *low]) != 0)
    })
}

/// An independent parser, too, finds a whole UDP datagram with this payload for one of the rules.
fn bear_witness(frame: &[u8], wanted: &[Wanted], payload: &[u8]) -> Result<()> {
    let read = Testimony::of_ethernet(frame)?;
    let is_wanted = |(destination, only): &Wanted| {
        *destination == read.destination && only.is_none_or(|only| only == read.source.ip())
    };
    ensure!(wanted.iter().any(is_wanted), "nobody wants it: {read:x?}");
    let absent = read.checksum == 0 && read.destination.is_ipv4();
    ensure!(absent || read.checksum == read.right_checksum, "a wrong checksum: {read:x?}");
    ensure!(read.payload == payload, "another payload: {read:x?}");
    Ok(())
}
