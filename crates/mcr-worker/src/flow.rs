//! Whether a ring still carries what comes in: the kernel's count of a ring held against the
//! reader's.
//!
//! A frame that the kernel cannot describe in the `virtio_net_hdr` (UFO, and before Linux 6.2 every
//! UDP super-frame) leaves its slot marked as being written (`rx_owner_map` in `tpacket_rcv`,
//! `net/packet/af_packet.c`). From then on the kernel drops every frame for want of that slot, and
//! nothing but its counters tells.

use mcr_sys::packet::PacketStatistics;

use crate::limits;

/// The account of one ring between two looks.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Frames read since the last look.
    read: u64,
    /// Frames that were received and neither read nor dropped yet.
    owed: u64,
    /// Looks in a row that found some of those, and none of them in the ring.
    looks_owed: u32,
    stuck: bool,
}

/// The finding of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// What came in was read or is in the ring.
    Well,
    /// Frames were dropped, though the ring has room now: to be looked at again soon.
    Doubtful,
    /// Nothing that comes in gets through. Found once.
    Stuck,
}

impl Flow {
    /// So many frames were read.
    pub(crate) fn read(&mut self, frames: usize) {
        self.read += frames as u64;
    }

    /// Something else shows that it is stuck. Says whether that is news.
    pub(crate) fn condemn(&mut self) -> bool {
        !std::mem::replace(&mut self.stuck, true)
    }

    /// Takes in what the kernel counted since the last look. `is_empty`: no slot holds a frame.
    ///
    /// A drop finds every slot in use. So whoever then finds every slot free has read frames since;
    /// if none was read, the kernel dropped them in spite of free slots.
    pub(crate) fn look(
        &mut self,
        counted: PacketStatistics,
        is_empty: impl FnOnce() -> bool,
    ) -> Finding {
        let read = std::mem::take(&mut self.read);
        let queued = (self.owed + counted.received).saturating_sub(counted.dropped);
        self.owed = queued.saturating_sub(read);
        if self.stuck || (counted.dropped == 0 && self.owed == 0) || !is_empty() {
            self.looks_owed = 0;
            return Finding::Well;
        }
        self.looks_owed = if self.owed > 0 && read == 0 { self.looks_owed + 1 } else { 0 };
        if read > 0 {
            return Finding::Doubtful;
        }
        if counted.dropped > 0 || self.looks_owed >= limits::LOOKS_OWED {
            self.stuck = true;
            return Finding::Stuck;
        }
        Finding::Well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(flow: &mut Flow, [received, dropped, read]: [u64; 3], is_empty: bool) -> Finding {
        flow.read(read as usize);
        flow.look(PacketStatistics { received, dropped }, || is_empty)
    }

    #[test]
    fn drops_of_a_full_ring_are_no_sign() {
        let mut flow = Flow::default();
        assert_eq!(look(&mut flow, [10, 0, 10], true), Finding::Well);
        assert_eq!(look(&mut flow, [90, 20, 30], false), Finding::Well);
        assert_eq!(look(&mut flow, [0, 0, 40], true), Finding::Well);
        assert_eq!(look(&mut flow, [90, 20, 70], true), Finding::Doubtful);
        assert_eq!(look(&mut flow, [5, 0, 5], true), Finding::Well);
    }

    #[test]
    fn drops_of_an_empty_ring_that_nobody_read_are_found_once() {
        let mut flow = Flow::default();
        assert_eq!(look(&mut flow, [10, 1, 9], true), Finding::Doubtful);
        assert_eq!(look(&mut flow, [0, 0, 0], true), Finding::Well);
        assert_eq!(look(&mut flow, [1, 1, 0], true), Finding::Stuck);
        assert_eq!(look(&mut flow, [1, 1, 0], true), Finding::Well);
    }

    #[test]
    fn frames_that_never_show_are_found_after_some_looks() {
        let mut flow = Flow::default();
        assert_eq!(look(&mut flow, [1, 0, 0], true), Finding::Well);
        assert_eq!(look(&mut flow, [1, 0, 2], true), Finding::Well);
        let found: Vec<_> =
            [3, 0, 0].map(|received| look(&mut flow, [received, 0, 0], true)).into();
        assert_eq!(found, [Finding::Well, Finding::Well, Finding::Stuck]);
    }
}
