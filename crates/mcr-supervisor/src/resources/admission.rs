//! One ingress interface's admission filter: what it lets in, and when it is made anew.
//!
//! To make a filter takes a millisecond or two when it is full, so with thousands of rules it must
//! not be made for each change. What is wanted is let in at once; what is not wanted any more is
//! kept out at the next tick, for the workers drop it in between.

use std::net::IpAddr;
use std::num::NonZeroU32;

use mcr_core::admission::{Admission, Interval, WantedDestinations};
use mcr_core::interfaces::LinkLayer;
use mcr_sys::filter;

use super::link_header;
use crate::limits;

/// The wanted destinations of an interface, and those that its filter lets in.
#[derive(Debug, Default)]
pub(crate) struct InterfaceAdmission {
    wanted: WantedDestinations,
    admitted: Admission,
    /// Whether `admitted` differs from what `wanted` asks for.
    stale: bool,
    /// Whether a filter was made since the last tick.
    made_lately: bool,
    /// For a trace of what no rule wants: one in so many of it.
    strangers: Option<NonZeroU32>,
}

impl InterfaceAdmission {
    /// Lets in one in so many of the UDP datagrams that no rule wants. Returns whether the filter
    /// must be set anew.
    pub(crate) fn let_strangers_in(&mut self, one_in: Option<NonZeroU32>) -> bool {
        std::mem::replace(&mut self.strangers, one_in) != one_in
    }

    /// A rule wants this. Returns whether the filter must be set anew, now.
    pub(crate) fn want(&mut self, address: IpAddr, port: u16) -> bool {
        if !self.wanted.insert(address, port) || self.admitted.admits(address, port) {
            return false;
        }
        if self.made_lately {
            // Destinations come fast: make room for those that will probably follow.
            self.admitted = widened(&self.admitted, address);
            self.stale = true;
        } else {
            self.make();
        }
        true
    }

    /// A rule no longer wants this.
    pub(crate) fn unwant(&mut self, address: IpAddr, port: u16) {
        self.stale |= self.wanted.remove(address, port);
    }

    /// At each tick. Returns whether the filter must be set anew.
    pub(crate) fn refresh(&mut self) -> bool {
        self.made_lately = false;
        if !self.stale {
            return false;
        }
        let before = self.admitted.clone();
        self.make();
        self.made_lately = false;
        self.admitted != before
    }

    /// Whether nothing is wanted and nothing let in.
    pub(crate) fn is_idle(&self) -> bool {
        let nothing = |admission: &Admission| admission.v4.is_empty() && admission.v6.is_empty();
        !self.stale && self.strangers.is_none() && nothing(&self.admitted)
    }

    /// The destinations that the filter is to let in.
    pub(crate) fn wanted_by_filter(&self, link: LinkLayer) -> filter::Admission {
        let interval = |interval: &Interval| filter::Interval {
            first: interval.first,
            last: interval.last,
            ports: interval.ports.clone(),
        };
        filter::Admission {
            link: link_header(link),
            v4: self.admitted.v4.iter().map(interval).collect(),
            v6: self.admitted.v6.iter().map(interval).collect(),
            strangers: self.strangers,
        }
    }

    fn make(&mut self) {
        self.admitted = self.wanted.intervals();
        self.stale = false;
        self.made_lately = true;
    }
}

/// The admission with the block of addresses around one let in too, on all ports.
fn widened(admission: &Admission, address: IpAddr) -> Admission {
    let mut admission = admission.clone();
    let (key, intervals) = match address {
        IpAddr::V4(v4) => (v4.to_bits(), &mut admission.v4),
        IpAddr::V6(v6) => (v6.to_bits() as u32, &mut admission.v6),
    };
    let first = key - key % limits::FILTER_BLOCK;
    let mut block = Interval { first, last: first + (limits::FILTER_BLOCK - 1), ports: Vec::new() };
    let overlapping = |i: &Interval| i.last >= block.first && i.first <= block.last;
    let from = intervals.partition_point(|i| i.last < block.first);
    let count = intervals[from..].iter().take_while(|i| overlapping(i)).count();
    if let [lowest, ..] = &intervals[from..from + count] {
        block.first = block.first.min(lowest.first);
    }
    if let [.., highest] = &intervals[from..from + count] {
        block.last = block.last.max(highest.last);
    }
    intervals.splice(from..from + count, [block]);
    admission
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0xef01_0000 + number).into()
    }

    #[test]
    fn what_is_wanted_is_always_admitted() {
        let mut admission = InterfaceAdmission::default();
        let made = (0..10_000).filter(|&n| admission.want(group(n * 3), 5000)).count();
        assert!(made <= 1 + 30_000 / 256 + 1, "{made} filters for 10,000 rules");
        assert!((0..10_000).all(|n| admission.admitted.admits(group(n * 3), 5000)));
        assert!(admission.admitted.admits(group(1), 5000), "the block is let in");
        admission.refresh();
        assert!((0..10_000).all(|n| admission.admitted.admits(group(n * 3), 5000)));
        assert!(!admission.refresh());
    }

    #[test]
    fn a_single_addition_is_exact() {
        let mut admission = InterfaceAdmission::default();
        assert!(admission.want(group(1), 5000));
        assert!(!admission.admitted.admits(group(2), 5000));
        assert!(!admission.admitted.admits(group(1), 5001));
        assert!(!admission.want(group(1), 5000), "a second rule for the same");
    }

    #[test]
    fn what_nobody_wants_is_kept_out_at_the_tick() {
        let mut admission = InterfaceAdmission::default();
        admission.want(group(1), 5000);
        admission.want(group(1), 5000);
        admission.unwant(group(1), 5000);
        assert!(!admission.refresh(), "one rule still wants it");
        admission.unwant(group(1), 5000);
        assert!(admission.admitted.admits(group(1), 5000));
        assert!(admission.refresh());
        assert!(!admission.admitted.admits(group(1), 5000));
    }

    #[test]
    fn a_block_swallows_what_it_meets() {
        let interval = |first, last| Interval { first, last, ports: vec![7] };
        let v4 = vec![interval(10, 10), interval(250, 300), interval(511, 600), interval(900, 901)];
        let admission = Admission { v4, v6: Vec::new() };
        let wide = widened(&admission, std::net::Ipv4Addr::from_bits(400).into());
        let bounds: Vec<_> = wide.v4.iter().map(|i| (i.first, i.last)).collect();
        assert_eq!(bounds, [(10, 10), (250, 600), (900, 901)]);
    }
}
