//! The book of one stream at a sink: what came, what is missing, what came twice or too late.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::histogram::{Histogram, Latency};
use crate::limits;

/// Everything a sink learned about one stream.
#[derive(Debug, Clone, Default)]
pub struct StreamAccount {
    seen: Vec<u64>,
    unique: u64,
    duplicated: u64,
    reordered: u64,
    corrupt: u64,
    beyond_limit: u64,
    next_sequence: u64,
    latency: Histogram,
    origins: BTreeSet<SocketAddr>,
    last_origin: Option<SocketAddr>,
    ttls: BTreeSet<u8>,
}

/// What was seen beside the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Source address and port.
    pub origin: SocketAddr,
    /// TTL or hop limit on arrival.
    pub ttl: Option<u8>,
    /// Time from sending to the kernel's receive timestamp.
    pub latency_ns: Option<u64>,
}

/// The reported figures of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReport {
    /// Intact datagrams, duplicates included.
    pub received: u64,
    /// Intact datagrams, each sequence number counted once.
    pub unique: u64,
    /// Intact datagrams whose sequence number had come before.
    pub duplicated: u64,
    /// First arrivals after one with a higher sequence number.
    pub reordered: u64,
    /// Datagrams with a damaged payload.
    pub corrupt: u64,
    /// Intact datagrams whose sequence number is beyond what the lab can account for.
    pub beyond_limit: u64,
    /// The highest sequence number seen plus one; 0 if nothing came.
    pub next_sequence: u64,
    /// Send-to-receive times.
    pub latency: Latency,
    /// Source addresses and ports seen.
    pub origins: BTreeSet<SocketAddr>,
    /// Where the last intact datagram came from.
    pub last_origin: Option<SocketAddr>,
    /// TTLs or hop limits seen.
    pub ttls: BTreeSet<u8>,
}

impl StreamReport {
    /// Datagrams missing if `sent` were sent (sequence numbers from 0).
    pub fn lost(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.unique)
    }

    /// Datagrams missing below the highest sequence number seen.
    pub fn gaps(&self) -> u64 {
        self.next_sequence - self.unique
    }

    /// Whether exactly `sent` datagrams came: each once, in order, whole.
    pub fn is_perfect(&self, sent: u64) -> bool {
        self.received == sent
            && self.lost(sent) + self.duplicated + self.reordered == 0
            && self.corrupt + self.beyond_limit == 0
    }
}

impl StreamAccount {
    /// Books an intact datagram.
    pub fn intact(&mut self, sequence: u64, arrival: Arrival) {
        self.origins.insert(arrival.origin);
        self.last_origin = Some(arrival.origin);
        self.ttls.extend(arrival.ttl);
        if let Some(latency_ns) = arrival.latency_ns {
            self.latency.record(latency_ns);
        }
        if sequence >= limits::MAX_SEQUENCE {
            self.beyond_limit += 1;
        } else if !self.mark(sequence) {
            self.duplicated += 1;
        } else {
            self.unique += 1;
            self.reordered += u64::from(sequence < self.next_sequence);
            self.next_sequence = self.next_sequence.max(sequence + 1);
        }
    }

    /// Books a datagram with a damaged payload.
    pub fn corrupt(&mut self, arrival: Arrival) {
        self.origins.insert(arrival.origin);
        self.corrupt += 1;
    }

    /// The figures so far.
    pub fn report(&self) -> StreamReport {
        StreamReport {
            received: self.unique + self.duplicated,
            unique: self.unique,
            duplicated: self.duplicated,
            reordered: self.reordered,
            corrupt: self.corrupt,
            beyond_limit: self.beyond_limit,
            next_sequence: self.next_sequence,
            latency: self.latency.latency(),
            origins: self.origins.clone(),
            last_origin: self.last_origin,
            ttls: self.ttls.clone(),
        }
    }

    /// Marks a sequence number as seen; false if it already was.
    fn mark(&mut self, sequence: u64) -> bool {
        let (word, bit) = ((sequence / 64) as usize, 1_u64 << (sequence % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(sequences: &[u64]) -> StreamReport {
        let origin = "192.0.2.1:9".parse().unwrap();
        let arrival = Arrival { origin, ttl: Some(64), latency_ns: Some(10) };
        let mut account = StreamAccount::default();
        for &sequence in sequences {
            account.intact(sequence, arrival);
        }
        account.report()
    }

    #[test]
    fn a_complete_stream_is_perfect() {
        let report = book(&[0, 1, 2, 3]);
        assert!(report.is_perfect(4));
        assert!(!report.is_perfect(5));
        assert!(!report.is_perfect(3));
    }

    #[test]
    fn loss_is_counted_in_the_middle_and_at_the_end() {
        let report = book(&[0, 1, 4]);
        assert_eq!((report.gaps(), report.lost(5), report.lost(10)), (2, 2, 7));
        assert!(!report.is_perfect(5));
    }

    #[test]
    fn a_duplicate_is_not_an_arrival_and_not_a_reordering() {
        let report = book(&[0, 1, 1, 0, 2]);
        assert_eq!((report.received, report.unique, report.duplicated), (5, 3, 2));
        assert_eq!((report.reordered, report.lost(3)), (0, 0));
        assert!(!report.is_perfect(3));
    }

    #[test]
    fn a_late_arrival_is_a_reordering_and_no_loss() {
        let report = book(&[0, 2, 3, 1, 4]);
        assert_eq!((report.reordered, report.lost(5), report.gaps()), (1, 0, 0));
        assert!(!report.is_perfect(5));
    }

    #[test]
    fn a_sequence_beyond_the_limit_is_told_apart() {
        let report = book(&[0, limits::MAX_SEQUENCE]);
        assert_eq!((report.beyond_limit, report.unique), (1, 1));
        assert!(!report.is_perfect(1));
    }
}
