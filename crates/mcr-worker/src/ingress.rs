//! The rings that frames come in by.

use std::os::fd::AsFd;

use mcr_core::endpoint::InterfaceName;
use mcr_core::forward::{ChecksumStatus, Coalescing, Frame};
use mcr_core::ids::{IfIndex, IngressId};
use mcr_core::interfaces::LinkLayer;
use mcr_core::ledger::{Record, RingCounter};
use mcr_sys::packet::{PacketStatistics, take_statistics};
use mcr_sys::ring::{self, Checksum, RingFrame, RxRing};

use crate::counters::Counters;
use crate::flow::{Finding, Flow};
use crate::limits;

/// One ingress interface's ring.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) id: IngressId,
    pub(crate) interface: InterfaceName,
    pub(crate) origin: Origin,
    pub(crate) ring: RxRing,
    /// The place of its counters.
    pub(crate) record: Record,
    /// The name of its watch.
    pub(crate) token: u32,
    /// Whether the operator has been told of super-frames.
    pub(crate) told_coalesced: bool,
    /// Until when what is left in the ring is read, in nanoseconds of the monotonic clock; `None`:
    /// it is open.
    closes_by: Option<u64>,
    high_water: usize,
    flow: Flow,
}

impl Ingress {
    pub(crate) fn new(opened: Opened, ring: RxRing) -> Self {
        let Opened { id, ifindex, interface, link, place } = opened;
        Self {
            id,
            interface,
            origin: Origin { ifindex, link },
            ring,
            record: Record::ring(place),
            token: 1 + place as u32,
            told_coalesced: false,
            closes_by: None,
            high_water: 0,
            flow: Flow::default(),
        }
    }

    /// Reads no more than what the ring holds: the supervisor lets nothing in any more.
    pub(crate) fn begin_closing(&mut self, now: u64) {
        self.closes_by = Some(now + limits::CLOSING_RING.as_nanos() as u64);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closes_by.is_some()
    }

    /// Whether it may be closed: nothing is left to be read, or its time is up.
    pub(crate) fn is_read_out(&mut self, now: u64) -> bool {
        let Some(closes_by) = self.closes_by else { return false };
        now >= closes_by || self.ring.frame(0).is_none()
    }

    /// The `n`th frame that is held, as its link layer has it; see [`RxRing::frame`].
    pub(crate) fn frame(&mut self, n: usize) -> Option<RingFrame<'_>> {
        let frame = self.ring.frame(n)?;
        Some(match self.origin.link {
            LinkLayer::Ethernet => frame,
            LinkLayer::Ip => frame.without_link_header(),
        })
    }

    /// Frames that one batch may hold.
    pub(crate) fn frames_at_once(&self) -> usize {
        limits::DATAGRAMS_AT_ONCE.min(self.ring.slots() / limits::RING_PART).max(1)
    }

    /// Counts a batch: so many frames read, so many slots in use before it was read.
    pub(crate) fn count_batch(&mut self, frames: usize, in_use: usize, counters: &Counters) {
        self.flow.read(frames);
        counters.add(self.record.of_ring(RingCounter::FramesRead), frames as u64);
        counters.set(self.record.of_ring(RingCounter::InUse), in_use as u64);
        if in_use > self.high_water {
            self.high_water = in_use;
            counters.set(self.record.of_ring(RingCounter::HighWater), in_use as u64);
        }
        if in_use == self.ring.slots() {
            counters.add(self.record.of_ring(RingCounter::Exhausted), 1);
        }
    }

    /// Closes its account: what the kernel has received and nobody will read is dropped with the
    /// ring. By the numbers, because a frame counts before its slot shows it.
    pub(crate) fn count_end(&self, counters: &Counters) {
        self.count_statistics(counters);
        let count = |counter| counters.value(self.record.of_ring(counter));
        let ended = count(RingCounter::FramesRead) + count(RingCounter::KernelDrops);
        let unread = count(RingCounter::Received).saturating_sub(ended);
        counters.add(self.record.of_ring(RingCounter::KernelDrops), unread);
    }

    /// Takes over what the kernel counted since the last time, and holds it against what was read.
    pub(crate) fn look(&mut self, counters: &Counters) -> Finding {
        let counted = self.count_statistics(counters);
        let finding = self.flow.look(counted, || self.ring.is_empty());
        if finding == Finding::Stuck {
            self.tell_stuck(counters);
        }
        finding
    }

    /// It says for ever that it has something to read, and has nothing.
    pub(crate) fn condemn(&mut self, counters: &Counters) {
        if self.flow.condemn() {
            self.tell_stuck(counters);
        }
    }

    /// The supervisor then makes the ring anew.
    fn tell_stuck(&self, counters: &Counters) {
        counters.set(self.record.of_ring(RingCounter::Stuck), 1);
        // Last, with release order: whoever sees it finds the ring.
        counters.ring_stuck();
    }

    fn count_statistics(&self, counters: &Counters) -> PacketStatistics {
        // The only error is that of a closed socket, and this one is open.
        let counted = take_statistics(self.ring.as_fd()).unwrap_or_default();
        counters.add(self.record.of_ring(RingCounter::Received), counted.received);
        counters.add(self.record.of_ring(RingCounter::KernelDrops), counted.dropped);
        counted
    }
}

/// The properties that all frames of a ring share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    ifindex: IfIndex,
    link: LinkLayer,
}

impl Origin {
    /// The input of the decision.
    pub(crate) fn view<'r>(self, frame: &RingFrame<'r>) -> Frame<'r> {
        Frame {
            bytes: frame.bytes,
            original_len: frame.original_len,
            ifindex: self.ifindex,
            link: self.link,
            checksum: match frame.checksum {
                Checksum::Unverified => ChecksumStatus::Unverified,
                Checksum::Valid => ChecksumStatus::Valid,
                Checksum::NotFilledIn { start, .. } => {
                    ChecksumStatus::NotFilledIn { start: start.into() }
                }
            },
            vlan_tagged: frame.vlan_tagged,
            for_other_host: frame.for_other_host,
            coalescing: match frame.coalescing {
                ring::Coalescing::Single => Coalescing::Single,
                ring::Coalescing::Segments(bytes) => Coalescing::Segments(bytes),
                ring::Coalescing::Unknown => Coalescing::Unknown,
            },
        }
    }
}

/// The description of an ingress socket when it is handed over.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: IngressId,
    pub(crate) ifindex: IfIndex,
    pub(crate) interface: InterfaceName,
    pub(crate) link: LinkLayer,
    pub(crate) place: usize,
}
