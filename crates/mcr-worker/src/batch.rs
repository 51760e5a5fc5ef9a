//! The frames of one batch, sorted into runs: datagrams of one rule that follow each other with
//! equal sizes, so that each output can send a run in one piece.
//!
//! Two passes, both without allocation: frames are taken in order of arrival, each joining the
//! newest run of its rule or opening another; then every payload's place in the list for the kernel
//! is known, and runs are contiguous in it.

use std::ops::Range;

use mcr_core::ids::RuleSlot;

use crate::limits;

/// Datagrams of one rule with equal payload sizes, but for the last, which may be shorter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) rule: RuleSlot,
    /// Bytes of each payload but the last.
    pub(crate) segment_bytes: u32,
    /// Bytes of all payloads.
    pub(crate) bytes: u32,
    pub(crate) count: u32,
    /// The frame of its last datagram, counted as in [`mcr_sys::ring::RxRing::frame`].
    pub(crate) last_frame: u32,
    /// The rule's run before it in the batch.
    before: Option<u32>,
    /// The beginning of its payloads in the batch's list; set by [`Batch::arrange`].
    first: u32,
    /// A shorter datagram was the last.
    ended: bool,
}

impl Run {
    fn opened_by(taken: &Matched, before: Option<u32>) -> Self {
        let bytes = taken.payload.len() as u32;
        Self {
            rule: taken.rule,
            segment_bytes: bytes,
            bytes,
            count: 1,
            last_frame: taken.frame,
            before,
            first: 0,
            // A datagram without payload cannot be a segment.
            ended: bytes == 0,
        }
    }

    fn takes(&self, bytes: u32) -> bool {
        !self.ended
            && bytes != 0
            && bytes <= self.segment_bytes
            && self.count < limits::DATAGRAMS_IN_A_RUN
            && self.bytes + bytes <= limits::BYTES_IN_A_RUN
    }

    fn take(&mut self, bytes: u32, frame: u32) {
        self.ended = bytes < self.segment_bytes;
        self.bytes += bytes;
        self.count += 1;
        self.last_frame = frame;
    }

    /// The places of its payloads.
    pub(crate) fn payloads(&self) -> Range<usize> {
        self.first as usize..(self.first + self.count) as usize
    }
}

/// A datagram that a rule matched.
#[derive(Clone, Debug)]
pub(crate) struct Matched {
    pub(crate) rule: RuleSlot,
    /// The place of its payload in the ring.
    pub(crate) payload: Range<usize>,
    /// The frame that it came in, counted from the oldest that is held.
    pub(crate) frame: u32,
}

/// A payload of the batch.
#[derive(Clone, Debug)]
struct Taken {
    run: u32,
    payload: Range<usize>,
}

/// One batch. Made once and used again.
#[derive(Debug)]
pub(crate) struct Batch {
    taken: Vec<Taken>,
    runs: Vec<Run>,
    copies: usize,
    /// Copies that it may make, but for those of its first frame.
    copies_at_once: usize,
    /// By rule slot, the rule's newest run. An entry holds only if that run is of that rule, so
    /// nothing has to be cleared between batches.
    newest: Vec<u32>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            taken: Vec::with_capacity(limits::DATAGRAMS_AT_ONCE),
            runs: Vec::with_capacity(limits::DATAGRAMS_AT_ONCE),
            copies: 0,
            copies_at_once: 0,
            newest: vec![0; mcr_core::limits::RULES],
        }
    }

    /// Empties it for a batch of so many copies.
    pub(crate) fn begin(&mut self, copies_at_once: usize) {
        self.taken.clear();
        self.runs.clear();
        self.copies = 0;
        self.copies_at_once = copies_at_once;
    }

    /// Whether so many more datagrams of a rule with that fan-out fit. An empty batch has room for
    /// any frame.
    pub(crate) fn has_room_for(&self, datagrams: usize, fan_out: usize) -> bool {
        self.taken.is_empty()
            || (self.taken.len() + datagrams <= limits::DATAGRAMS_AT_ONCE
                && self.copies + datagrams * fan_out <= self.copies_at_once)
    }

    /// Takes a datagram of a rule with that many outputs.
    pub(crate) fn push(&mut self, matched: Matched, fan_out: usize) {
        let (rule, bytes) = (matched.rule, matched.payload.len() as u32);
        let newest = &mut self.newest[rule.0 as usize];
        let newest_run = self.runs.get_mut(*newest as usize).filter(|run| run.rule == rule);
        match newest_run {
            Some(run) if run.takes(bytes) => run.take(bytes, matched.frame),
            other => {
                let before = other.map(|_| *newest);
                *newest = self.runs.len() as u32;
                self.runs.push(Run::opened_by(&matched, before));
            }
        }
        self.taken.push(Taken { run: *newest, payload: matched.payload });
        self.copies += fan_out;
    }

    /// Gives each run its stretch of the list and tells every payload's place in it.
    pub(crate) fn arrange(&mut self, mut place: impl FnMut(usize, Range<usize>)) {
        let mut first = 0;
        for run in &mut self.runs {
            // Until the end of this function `first` is where the run's next payload goes.
            run.first = first;
            first += run.count;
        }
        for taken in &self.taken {
            let run = &mut self.runs[taken.run as usize];
            place(run.first as usize, taken.payload.clone());
            run.first += 1;
        }
        for run in &mut self.runs {
            run.first -= run.count;
        }
    }

    /// Whether a path may take this run that refuses an earlier one of its rule, from `first` on.
    /// A refused run is sent again after all sends of its chunk, so this one has to wait.
    pub(crate) fn may_overtake(&self, run: &Run, first: usize) -> bool {
        let before = run.before.map(|before| before as usize).filter(|before| *before >= first);
        before.map(|before| &self.runs[before]).is_some_and(|before| {
            before.count > 1 && (run.count == 1 || run.segment_bytes < before.segment_bytes)
        })
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Payloads taken.
    pub(crate) fn len(&self) -> usize {
        self.taken.len()
    }

    /// Copies that the rules want of them.
    pub(crate) fn copies(&self) -> usize {
        self.copies
    }
}

#[cfg(test)]
mod tests;
