//! Numbers from a bounded range, handed out lowest first: the counter slots of rules and outputs.
//!
//! Lowest first keeps the numbers in use together, and with them the pages of every ledger that
//! take memory.

use std::collections::BTreeMap;
use std::ops::Range;

/// Hands out runs of adjoining numbers; a single number is a run of one.
///
/// Taking one costs the logarithm of the number of gaps, taking more also a step for each gap that
/// is too short. Giving back costs the logarithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Free runs, first number to the one past the last; no two of them touch.
    free: BTreeMap<u32, u32>,
    free_count: u32,
}

impl Slots {
    /// The numbers from 0 to below `limit`, all free.
    pub fn new(limit: u32) -> Self {
        let free = (limit > 0).then_some((0, limit)).into_iter().collect();
        Self { free, free_count: limit }
    }

    /// How many numbers are free, in however many runs.
    pub fn free_count(&self) -> u32 {
        self.free_count
    }

    /// Whether `count` adjoining numbers are free.
    pub fn fits(&self, count: u32) -> bool {
        self.first_fit(count).is_some()
    }

    /// The lowest free run of `count` numbers; nothing when there is none or `count` is 0.
    pub fn take(&mut self, count: u32) -> Option<Range<u32>> {
        let free = self.first_fit(count)?;
        let taken = free.start..free.start + count;
        self.free.remove(&free.start);
        if taken.end < free.end {
            self.free.insert(taken.end, free.end);
        }
        self.free_count -= count;
        Some(taken)
    }

    /// Gives back a run that [`take`](Self::take) handed out, whole or in part.
    pub fn give_back(&mut self, run: Range<u32>) {
        if run.is_empty() {
            return;
        }
        let below = self.free.range(..run.end).next_back();
        let below = below.map(|(&start, &end)| start..end);
        debug_assert!(
            below.as_ref().is_none_or(|below| below.end <= run.start),
            "{run:?} was not taken, or given back twice"
        );
        self.free_count += run.end - run.start;
        let start = match below {
            Some(below) if below.end == run.start => below.start,
            _ => run.start,
        };
        let end = self.free.remove(&run.end).unwrap_or(run.end);
        self.free.insert(start, end);
    }

    fn first_fit(&self, count: u32) -> Option<Range<u32>> {
        let mut runs = self.free.iter().map(|(&start, &end)| start..end);
        runs.find(|run| count > 0 && run.end - run.start >= count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lowest_run_that_fits_is_taken() {
        let mut slots = Slots::new(10);
        assert_eq!(slots.take(2), Some(0..2));
        assert_eq!(slots.take(1), Some(2..3));
        assert_eq!(slots.take(3), Some(3..6));
        slots.give_back(0..2);
        assert_eq!(slots.take(3), Some(6..9), "the gap of two is too short");
        assert_eq!(slots.take(1), Some(0..1));
        assert_eq!(slots.take(1), Some(1..2));
        assert_eq!(slots.take(1), Some(9..10));
        assert_eq!(slots.take(1), None);
        assert_eq!(slots.free_count(), 0);
    }

    #[test]
    fn gaps_grow_together_again() {
        let mut slots = Slots::new(6);
        let runs: Vec<_> = (0..3).filter_map(|_| slots.take(2)).collect();
        slots.give_back(runs[0].clone());
        slots.give_back(runs[2].clone());
        assert_eq!(slots.free_count(), 4);
        assert!(!slots.fits(3), "four are free, but not adjoining");
        slots.give_back(runs[1].clone());
        assert_eq!(slots.take(6), Some(0..6));
    }

    #[test]
    fn nothing_is_no_run() {
        assert_eq!(Slots::new(0).take(1), None);
        assert_eq!(Slots::new(1).take(0), None);
        let mut slots = Slots::new(1);
        slots.give_back(0..0);
        assert_eq!(slots, Slots::new(1));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u32),
        GiveBack(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..9_u32).prop_map(Step::Take),
            2 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
        ]
    }

    /// The lowest free run as a scan of every number finds it.
    fn naive(taken: &[Range<u32>], limit: u32, count: u32) -> Option<Range<u32>> {
        (0..=limit.checked_sub(count)?)
            .map(|start| start..start + count)
            .find(|run| taken.iter().all(|t| t.end <= run.start || run.end <= t.start))
    }

    proptest! {
        #[test]
        fn it_is_a_scan_for_the_lowest_run(steps in prop::collection::vec(step(), 1..200)) {
            const LIMIT: u32 = 64;
            let mut slots = Slots::new(LIMIT);
            let mut taken: Vec<Range<u32>> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(count) => {
                        let expected = naive(&taken, LIMIT, count);
                        prop_assert_eq!(slots.fits(count), expected.is_some());
                        prop_assert_eq!(slots.take(count), expected.clone());
                        taken.extend(expected);
                    }
                    Step::GiveBack(_) if taken.is_empty() => {}
                    Step::GiveBack(which) => {
                        slots.give_back(taken.swap_remove(which.index(taken.len())));
                    }
                }
                let in_use: u32 = taken.iter().map(|t| t.end - t.start).sum();
                prop_assert_eq!(slots.free_count(), LIMIT - in_use);
            }
            for run in taken {
                slots.give_back(run);
            }
            prop_assert_eq!(slots, Slots::new(LIMIT));
        }
    }
}
