//! What the benchmark writes into each payload, in the form of the lab's test payload.

use crate::payload::Header;

/// Numbers below this are of one step: 2^40 datagrams, more than are sent in any.
const NUMBER_BITS: u32 = 40;

/// Which datagram this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The step that it belongs to; what comes late from another is ignored.
    pub(super) step: u32,
    /// Its flow.
    pub(super) flow: u32,
    /// Its place among the datagrams of all flows in the step, from 0.
    pub(super) number: u64,
}

impl Stamp {
    /// The payload's header.
    pub(super) fn header(self, sent_at_ns: u64) -> Header {
        let sequence = u64::from(self.step) << NUMBER_BITS | self.number;
        Header { stream: self.flow, sequence, sent_at_ns }
    }

    /// What stands in a header.
    pub(super) fn of(header: &Header) -> Self {
        Self {
            step: (header.sequence >> NUMBER_BITS) as u32,
            flow: header.stream,
            number: header.sequence & ((1 << NUMBER_BITS) - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_written() {
        let stamp = Stamp { step: 1_234, flow: 99_999, number: (1 << NUMBER_BITS) - 1 };
        assert_eq!(Stamp::of(&stamp.header(7)), stamp);
    }
}
