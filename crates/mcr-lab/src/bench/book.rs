//! The sink's book of one step: what came, what came twice, what came out of order, and how late.

use crate::histogram::Histogram;
use crate::payload::Header;

use super::stamp::Stamp;

/// Everything that arrived of one step.
#[derive(Debug, Default)]
pub(super) struct Book {
    step: u32,
    copies: Vec<CopyBook>,
    latency: Histogram,
}

/// One copy of every datagram: what one output of the rules should deliver.
#[derive(Debug, Default)]
struct CopyBook {
    seen: Vec<u64>,
    /// For each flow the highest number seen, plus one.
    next: Vec<u64>,
    unique: u64,
    duplicated: u64,
    reordered: u64,
}

/// The figures of a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Received {
    /// Datagrams, each copy of each number counted once.
    pub(super) unique: u64,
    /// Datagrams that had come before.
    pub(super) duplicated: u64,
    /// First arrivals behind a later one of the same flow and copy.
    pub(super) reordered: u64,
    /// From the generator's clock to the kernel's receive timestamp.
    pub(super) latency: Histogram,
}

impl Book {
    /// The book of a step of so many copies and flows.
    pub(super) fn new(step: u32, copies: usize, flows: usize) -> Self {
        let copy = || CopyBook { next: vec![0; flows], ..CopyBook::default() };
        Self {
            step,
            copies: std::iter::repeat_with(copy).take(copies).collect(),
            latency: Histogram::default(),
        }
    }

    /// Enters a datagram; returns whether it belongs to this step.
    pub(super) fn add(&mut self, copy: usize, header: &Header, received_at_ns: u64) -> bool {
        let stamp = Stamp::of(header);
        if stamp.step != self.step {
            return false;
        }
        if let Some(copy) = self.copies.get_mut(copy) {
            copy.add(stamp);
            self.latency.record(received_at_ns.saturating_sub(header.sent_at_ns));
        }
        true
    }

    /// The figures.
    pub(super) fn close(self) -> Received {
        let sum = |part: fn(&CopyBook) -> u64| self.copies.iter().map(part).sum();
        Received {
            unique: sum(|copy| copy.unique),
            duplicated: sum(|copy| copy.duplicated),
            reordered: sum(|copy| copy.reordered),
            latency: self.latency,
        }
    }
}

impl CopyBook {
    fn add(&mut self, stamp: Stamp) {
        let (word, bit) = ((stamp.number / 64) as usize, 1_u64 << (stamp.number % 64));
        if word >= self.seen.len() {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicated += 1;
            return;
        }
        self.seen[word] |= bit;
        self.unique += 1;
        // A flow that was never sent would be a stray; it is no reason to end.
        if let Some(next) = self.next.get_mut(stamp.flow as usize) {
            if stamp.number < *next {
                self.reordered += 1;
            } else {
                *next = stamp.number + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(numbers: &[(u32, u64)]) -> Received {
        let mut book = Book::new(3, 1, 2);
        for (flow, number) in numbers {
            assert!(book.add(0, &Stamp { step: 3, flow: *flow, number: *number }.header(0), 100));
        }
        book.close()
    }

    #[test]
    fn each_number_counts_once() {
        let received = arrivals(&[(0, 0), (0, 1), (0, 1), (0, 200)]);
        assert_eq!((received.unique, received.duplicated, received.reordered), (3, 1, 0));
        assert_eq!(received.latency.latency().samples, 4);
    }

    #[test]
    fn order_is_within_a_flow() {
        assert_eq!(arrivals(&[(0, 5), (1, 2), (1, 3), (0, 6)]).reordered, 0);
        assert_eq!(arrivals(&[(0, 5), (0, 2), (0, 6)]).reordered, 1);
    }

    #[test]
    fn another_step_is_not_entered() {
        let mut book = Book::new(3, 1, 1);
        assert!(!book.add(0, &Stamp { step: 2, flow: 0, number: 0 }.header(0), 1));
        assert_eq!(book.close().unique, 0);
    }

    #[test]
    fn copies_are_apart() {
        let mut book = Book::new(0, 2, 1);
        for copy in [0, 1, 1] {
            book.add(copy, &Stamp { step: 0, flow: 0, number: 9 }.header(0), 1);
        }
        let received = book.close();
        assert_eq!((received.unique, received.duplicated), (2, 1));
    }
}
