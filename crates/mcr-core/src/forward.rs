//! The decision about one frame: which rule takes it, or why none does.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::ops::Range;

use crate::ids::{IfIndex, RuleSlot};
use crate::interfaces::LinkLayer;
use crate::limits;
use crate::route::RouteKey;
use crate::table::{Arrival, ForwardingTable};
use crate::verdict::{DropReason, Verdict};
use crate::wire::Datagram;
use crate::wire::ethernet::EthernetFrame;

/// A frame as a packet socket shows it: its bytes, and what the kernel says beside them.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The captured bytes, from the link-layer header on.
    pub bytes: &'a [u8],
    /// Its length on the wire; more than `bytes` when it was captured short. For counters and
    /// traces: what is missing is seen by the lengths in the headers, whoever cut it off.
    pub original_len: u32,
    /// The interface that it came in on.
    pub ifindex: IfIndex,
    /// The kind of its first header.
    pub link: LinkLayer,
    /// The kernel's knowledge of its UDP checksum.
    pub checksum: ChecksumStatus,
    /// Whether it bore a VLAN tag that the kernel took off and reports beside it. A priority tag
    /// (VLAN 0, IEEE 802.1Q) is none: it belongs to no VLAN, and the kernel ignores it as well.
    pub vlan_tagged: bool,
    /// Whether its link-layer destination is another host (packet(7), `PACKET_OTHERHOST`). The
    /// kernel takes no such frame, and sees it on promiscuous links only.
    pub for_other_host: bool,
    /// Whether it is one datagram or several.
    pub coalescing: Coalescing,
}

/// How many datagrams a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coalescing {
    /// One.
    Single,
    /// A super-frame (GRO, LRO, a local sender's GSO): under one set of headers the payloads of
    /// several, each of so many bytes but the last, which may be shorter.
    Segments(NonZeroU16),
    /// Several, in a form that the kernel does not describe.
    Unknown,
}

impl Coalescing {
    /// How many datagrams a frame with so many bytes of payload is.
    #[inline]
    pub fn datagrams(self, payload_bytes: usize) -> usize {
        match self {
            Self::Segments(bytes) => payload_bytes.div_ceil(usize::from(bytes.get())).max(1),
            Self::Single | Self::Unknown => 1,
        }
    }

    /// The place of each datagram's payload, given that of the frame's payload.
    #[inline]
    pub fn payloads(self, payload: Range<usize>) -> impl DoubleEndedIterator<Item = Range<usize>> {
        let each = match self {
            Self::Segments(bytes) => usize::from(bytes.get()),
            Self::Single | Self::Unknown => payload.len(),
        };
        (0..self.datagrams(payload.len())).map(move |n| {
            let first = payload.start + n * each;
            first..payload.end.min(first + each)
        })
    }
}

impl Frame<'_> {
    /// The source of its datagram; `None` where it holds none.
    #[inline]
    pub fn source(&self) -> Option<SocketAddr> {
        self.ends().map(|[source, _]| source)
    }

    /// The source of its datagrams, and the place of the last one's payload.
    #[inline]
    pub fn last(&self) -> Option<(SocketAddr, Range<usize>)> {
        let datagram = Datagram::parse(self.link, self.bytes).ok()?;
        let source = SocketAddr::new(datagram.source, datagram.udp.source_port());
        Some((source, self.coalescing.payloads(datagram.payload).next_back()?))
    }

    /// The source and destination of its datagram; `None` where it holds none.
    #[inline]
    pub fn ends(&self) -> Option<[SocketAddr; 2]> {
        let datagram = Datagram::parse(self.link, self.bytes).ok()?;
        let (source, destination) = (datagram.source, datagram.destination);
        Some([
            SocketAddr::new(source, datagram.udp.source_port()),
            SocketAddr::new(destination, datagram.udp.destination_port()),
        ])
    }

    /// By which interface it came, and from whom on the link.
    pub fn arrival(&self) -> Arrival {
        let sender = || EthernetFrame::parse(self.bytes).ok().map(|frame| frame.source());
        Arrival {
            ifindex: self.ifindex,
            sender: if self.link == LinkLayer::Ethernet { sender() } else { None },
        }
    }

    /// How many datagrams are lost when this frame is dropped. Not for the frames that go well:
    /// it reads the headers again.
    #[cold]
    pub fn datagrams(&self) -> usize {
        if !matches!(self.coalescing, Coalescing::Segments(_)) {
            return 1;
        }
        let parsed = Datagram::parse(self.link, self.bytes);
        let headers = parsed.map_or(LEAST_HEADER_BYTES, |datagram| datagram.payload.start);
        self.coalescing.datagrams((self.original_len as usize).saturating_sub(headers))
    }
}

/// Bytes before the payload where the headers cannot be read: Ethernet's, IPv4's and UDP's.
const LEAST_HEADER_BYTES: usize = 14 + 20 + 8;

/// The kernel's knowledge of a frame's UDP checksum (`struct virtio_net_hdr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumStatus {
    /// Nothing.
    Unverified,
    /// It was found valid, by the NIC for instance (`VIRTIO_NET_HDR_F_DATA_VALID`).
    Valid,
    /// A sender on this host left it to hardware that the frame never met
    /// (`VIRTIO_NET_HDR_F_NEEDS_CSUM`): what stands in its place means nothing.
    NotFilledIn {
        /// Where the header with that checksum begins in the frame: that of UDP, or one within the
        /// payload, where the sender is a tunnel's end.
        start: usize,
    },
}

/// Decides about a frame. Pure, and without allocation.
///
/// What is looked at, in this order; the first that does not hold names the reason:
/// 1. coalescing: a super-frame must be one that can be taken apart;
/// 2. VLAN tags: the frame belongs to another (virtual) interface; its link-layer destination;
/// 3. the headers of link, IP and UDP, outermost first;
/// 4. the rules: (S,G) before (\*,G);
/// 5. the source: no egress socket of ours, on this interface or on this link;
/// 6. the UDP checksum, last, because it alone reads the whole datagram: what no rule wants costs
///    as little as can be. Unverified, a corrupt payload would go out under a new, valid checksum.
#[inline]
pub fn forward(table: &ForwardingTable, frame: &Frame<'_>) -> Verdict {
    decide(table, frame).unwrap_or_else(Verdict::Drop)
}

#[inline]
fn decide(table: &ForwardingTable, frame: &Frame<'_>) -> Result<Verdict, DropReason> {
    if !is_separable(frame) {
        return Err(DropReason::Coalesced);
    }
    if frame.vlan_tagged {
        return Err(DropReason::WrongVlan);
    }
    if frame.for_other_host {
        return Err(DropReason::OtherHost);
    }
    let datagram = Datagram::parse(frame.link, frame.bytes)?;
    let rule = table.lookup(&key(frame, &datagram), datagram.source).ok_or(DropReason::NoRule)?;
    if table.is_own(datagram.source, datagram.udp.source_port(), frame.arrival()) {
        return Err(DropReason::Own);
    }
    check_checksum(frame, &datagram)?;
    if frame.coalescing.datagrams(datagram.payload.len()) > limits::DATAGRAMS_IN_A_FRAME {
        return Err(DropReason::Coalesced);
    }
    Ok(Verdict::Forward { rule, payload: datagram.payload })
}

/// Whose a frame is that is not forwarded: the rule that wants its destination and source, whatever
/// else is wrong with it; `None` where no rule does, or where it names none. For traces.
#[cold]
pub fn claimant(table: &ForwardingTable, frame: &Frame<'_>) -> Option<RuleSlot> {
    let datagram = Datagram::parse(frame.link, frame.bytes).ok()?;
    table.lookup(&key(frame, &datagram), datagram.source)
}

#[inline]
fn key(frame: &Frame<'_>, datagram: &Datagram<'_>) -> RouteKey {
    RouteKey {
        ifindex: frame.ifindex,
        address: datagram.destination,
        port: datagram.udp.destination_port(),
    }
}

/// A super-frame has the checksum field of one datagram for all of its own: whoever merged them
/// has verified each, or made them and left all unfilled. Where the kernel says neither, nobody can
/// verify them any more.
fn is_separable(frame: &Frame<'_>) -> bool {
    match frame.coalescing {
        Coalescing::Single => true,
        Coalescing::Segments(_) => frame.checksum != ChecksumStatus::Unverified,
        Coalescing::Unknown => false,
    }
}

/// A checksum not yet filled in cannot be wrong, nor missing. One that the kernel calls valid may
/// be missing: NICs say so of datagrams without one.
fn check_checksum(frame: &Frame<'_>, datagram: &Datagram<'_>) -> Result<(), DropReason> {
    let present = datagram.udp.checksum().is_some();
    match frame.checksum {
        ChecksumStatus::NotFilledIn { start } if start == datagram.udp_header() => Ok(()),
        ChecksumStatus::NotFilledIn { .. } if frame.coalescing == Coalescing::Single => {
            Err(DropReason::Unfilled)
        }
        // Its segments are those of the inner datagram.
        ChecksumStatus::NotFilledIn { .. } => Err(DropReason::Coalesced),
        _ if !present && datagram.source.is_ipv6() => Err(DropReason::NoChecksum),
        ChecksumStatus::Unverified if present && !datagram.checksum_is_valid() => {
            Err(DropReason::BadChecksum)
        }
        ChecksumStatus::Unverified | ChecksumStatus::Valid => Ok(()),
    }
}

#[cfg(test)]
mod tests;
