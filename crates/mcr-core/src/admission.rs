//! What the socket filter of an ingress interface lets in: the wanted destinations, coarsened to
//! what a classic BPF program can hold.
//!
//! The filter saves work, no more. It may let in what no rule wants, since
//! [`forward`](crate::forward::forward) decides again and exactly; it must never keep out what one
//! does.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use crate::limits;

/// The destinations that the rules want from one ingress interface.
#[derive(Clone, Debug, Default)]
pub struct WantedDestinations {
    v4: Counts,
    v6: Counts,
}

/// How many rules want a destination: several may, each from another source. The order is that in
/// which the filter reads: by key, then port.
type Counts = BTreeMap<(u32, u16, IpAddr), usize>;

impl WantedDestinations {
    /// A rule wants this destination. Returns whether it is the first to.
    pub fn insert(&mut self, address: IpAddr, port: u16) -> bool {
        let counts = self.family_mut(address);
        let rules = counts.entry((key(address), port, address)).or_default();
        *rules += 1;
        *rules == 1
    }

    /// A rule no longer wants this destination. Returns whether it was the last to.
    pub fn remove(&mut self, address: IpAddr, port: u16) -> bool {
        let counts = self.family_mut(address);
        let Entry::Occupied(mut rules) = counts.entry((key(address), port, address)) else {
            return false;
        };
        *rules.get_mut() -= 1;
        let last = *rules.get() == 0;
        if last {
            rules.remove();
        }
        last
    }

    /// The smallest admission that a filter can hold and that lets all of them in.
    pub fn intervals(&self) -> Admission {
        Admission { v4: merge(&single_keys(&self.v4)), v6: merge(&single_keys(&self.v6)) }
    }

    fn family_mut(&mut self, address: IpAddr) -> &mut Counts {
        if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

/// What a filter can compare at once: the IPv4 address, or the low 32 bits of the IPv6 address,
/// where groups differ from each other (their group ID: RFC 3306, RFC 3307). In host order.
fn key(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => v6.to_bits() as u32,
    }
}

/// The destinations that a filter lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Of IPv4, by the destination address in host order; sorted and disjoint.
    pub v4: Vec<Interval>,
    /// Of IPv6, by the low 32 bits of the destination address in host order; sorted and disjoint.
    pub v6: Vec<Interval>,
}

/// Consecutive keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The first key.
    pub first: u32,
    /// The last key, included.
    pub last: u32,
    /// The destination ports let in, sorted; empty for all.
    pub ports: Vec<u16>,
}

impl Admission {
    /// Whether the filter lets in a datagram to this destination.
    pub fn admits(&self, address: IpAddr, port: u16) -> bool {
        let intervals = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let key = key(address);
        let before = intervals.partition_point(|interval| interval.last < key);
        intervals.get(before).is_some_and(|interval| {
            interval.first <= key && (interval.ports.is_empty() || interval.ports.contains(&port))
        })
    }
}

/// One interval for each key, with its ports where they are few.
fn single_keys(wanted: &Counts) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = Vec::new();
    for &(key, port, _) in wanted.keys() {
        match intervals.last_mut() {
            // Two IPv6 addresses may share key and port.
            Some(interval) if interval.first == key => {
                if interval.ports.last() != Some(&port) {
                    interval.ports.push(port);
                }
            }
            _ => intervals.push(Interval { first: key, last: key, ports: vec![port] }),
        }
    }
    for interval in &mut intervals {
        if interval.ports.len() > limits::FILTER_PORTS {
            interval.ports = Vec::new();
        }
    }
    intervals
}

/// Closes the smallest gaps until no more than [`limits::FILTER_INTERVALS`] are left: the widest
/// gaps stay, and with them most of what nobody wants stays out.
fn merge(singles: &[Interval]) -> Vec<Interval> {
    let gap_before = |place: &usize| singles[*place].first - singles[*place - 1].last;
    let mut starts: Vec<usize> = (1..singles.len()).collect();
    let kept = limits::FILTER_INTERVALS - 1;
    if starts.len() > kept {
        starts.select_nth_unstable_by_key(kept, |place| Reverse(gap_before(place)));
        starts.truncate(kept);
        starts.sort_unstable();
    }
    let mut rest = singles;
    let mut merged = Vec::with_capacity(starts.len() + 1);
    for start in starts.iter().rev() {
        let (before, run) = rest.split_at(*start);
        merged.extend(hull(run));
        rest = before;
    }
    merged.extend(hull(rest));
    merged.reverse();
    merged
}

/// The interval over a run of them; ports are told apart only for a single key.
fn hull(run: &[Interval]) -> Option<Interval> {
    match run {
        [] => None,
        [single] => Some(single.clone()),
        [first, .., last] => {
            Some(Interval { first: first.first, last: last.last, ports: Vec::new() })
        }
    }
}

#[cfg(test)]
mod tests;
