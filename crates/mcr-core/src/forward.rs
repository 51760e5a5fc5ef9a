//! The decision about one frame: which rule takes it, or why none does.

use crate::ids::IfIndex;
use crate::interfaces::LinkLayer;
use crate::route::RouteKey;
use crate::table::ForwardingTable;
use crate::verdict::{DropReason, Verdict};
use crate::wire::Datagram;

/// A frame as a packet socket shows it: its bytes, and what the kernel says beside them.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What was captured, from the link-layer header on.
    pub bytes: &'a [u8],
    /// Its length on the wire; more than `bytes` when it was captured short. For counters and
    /// traces: what is missing is seen by the lengths in the headers, whoever cut it off.
    pub original_len: u32,
    /// The interface that it came in on.
    pub ifindex: IfIndex,
    /// What its first header is.
    pub link: LinkLayer,
    /// What the kernel knows of its UDP checksum.
    pub checksum: ChecksumStatus,
    /// Whether it bore a VLAN tag that the kernel took off and reports beside it. A priority tag
    /// (VLAN 0, IEEE 802.1Q) is none: it belongs to no VLAN, and the kernel ignores it as well.
    pub vlan_tagged: bool,
    /// Whether it is several datagrams merged into one (GRO, LRO, a local sender's GSO).
    pub coalesced: bool,
}

/// What the kernel knows of a frame's UDP checksum (packet(7), `TP_STATUS_CSUM*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumStatus {
    /// Nothing.
    Unverified,
    /// It was found valid, by the NIC for instance (`TP_STATUS_CSUM_VALID`).
    Valid,
    /// A sender on this host left it to hardware that the frame never met
    /// (`TP_STATUS_CSUMNOTREADY`): what stands in its place means nothing.
    NotFilledIn,
}

/// Decides about a frame. Pure, and without allocation.
///
/// What is looked at, in this order; the first that does not hold names the reason:
/// 1. coalescing: the lengths in such a frame's headers are not those of its datagrams;
/// 2. VLAN tags: the frame belongs to another (virtual) interface;
/// 3. the headers of link, IP and UDP, outermost first;
/// 4. the rules: (S,G) before (\*,G);
/// 5. the source: no socket of ours;
/// 6. the UDP checksum, last, because it alone reads the whole datagram: what no rule wants costs
///    as little as can be. Unverified, a corrupt payload would go out under a new, valid checksum.
#[inline]
pub fn forward(table: &ForwardingTable, frame: &Frame<'_>) -> Verdict {
    decide(table, frame).unwrap_or_else(Verdict::Drop)
}

#[inline]
fn decide(table: &ForwardingTable, frame: &Frame<'_>) -> Result<Verdict, DropReason> {
    if frame.coalesced {
        return Err(DropReason::Coalesced);
    }
    if frame.vlan_tagged {
        return Err(DropReason::WrongVlan);
    }
    let datagram = Datagram::parse(frame.link, frame.bytes)?;
    let key = RouteKey {
        ifindex: frame.ifindex,
        address: datagram.destination,
        port: datagram.udp.destination_port(),
    };
    let rule = table.lookup(&key, datagram.source).ok_or(DropReason::NoRule)?;
    if table.is_own(datagram.source, datagram.udp.source_port()) {
        return Err(DropReason::Own);
    }
    check_checksum(frame.checksum, &datagram)?;
    Ok(Verdict::Forward { rule, payload: datagram.payload })
}

/// A checksum not yet filled in cannot be wrong, nor missing. One that the kernel calls valid may
/// be missing: NICs say so of datagrams without one.
fn check_checksum(status: ChecksumStatus, datagram: &Datagram<'_>) -> Result<(), DropReason> {
    let present = datagram.udp.checksum().is_some();
    match status {
        ChecksumStatus::NotFilledIn => Ok(()),
        _ if !present && datagram.source.is_ipv6() => Err(DropReason::NoChecksum),
        ChecksumStatus::Unverified if present && !datagram.checksum_is_valid() => {
            Err(DropReason::BadChecksum)
        }
        ChecksumStatus::Unverified | ChecksumStatus::Valid => Ok(()),
    }
}

#[cfg(test)]
mod tests;
