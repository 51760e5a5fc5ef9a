//! Rates, from a few samples of the counters taken every half second.

use std::collections::{HashMap, VecDeque};

use mcr_core::ids::{IngressId, RuleId, WorkerId};

use crate::limits;

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// The last few samples of some counters, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(VecDeque<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    /// Nanoseconds of the monotonic clock.
    at: u64,
    counters: Box<[u64]>,
}

impl Samples {
    /// Takes a sample; the oldest makes room.
    pub(crate) fn push(&mut self, at: u64, counters: Box<[u64]>) {
        if self.0.len() >= limits::SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(Sample { at, counters });
    }

    /// Whether there are as many samples as are kept, each with these counters.
    pub(crate) fn are_all(&self, counters: &[u64]) -> bool {
        self.0.len() == limits::SAMPLES && self.0.iter().all(|s| *s.counters == *counters)
    }

    /// By how much the counter at a place has grown in each second up to now; 0 where it is too new
    /// to say. Until `quiet_until` nothing had grown since the latest sample before it.
    pub(crate) fn per_second(&self, place: usize, now: u64, quiet_until: u64, count: u64) -> f64 {
        let Some((at, before)) = self.since_a_second(now, place) else {
            return 0.0;
        };
        let at = at.max(quiet_until.min(now.saturating_sub(SECOND)));
        let seconds = now.saturating_sub(at) as f64 / 1e9;
        if seconds > 0.0 { count.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }

    /// The latest sample that is a second old, or else the oldest.
    fn since_a_second(&self, now: u64, place: usize) -> Option<(u64, u64)> {
        let is_old = |sample: &&Sample| now.saturating_sub(sample.at) >= SECOND;
        let sample = self.0.iter().rev().find(is_old).or_else(|| self.0.front())?;
        sample.counters.get(place).map(|count| (sample.at, *count))
    }
}

/// The samples of everything that has rates. A round over many rules is taken in slices, so that
/// it holds up nothing.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    pub(crate) totals: Samples,
    pub(crate) cores: HashMap<WorkerId, Samples>,
    pub(crate) rings: HashMap<(IngressId, WorkerId), Samples>,
    pub(crate) rules: HashMap<RuleId, Samples>,
    /// The last round in which the rules were not looked at, because no total had moved for as long
    /// as samples are kept.
    pub(crate) quiet_until: u64,
    is_under_way: bool,
    /// The last rule of the round under way that has been sampled.
    cursor: Option<RuleId>,
}

impl Sampler {
    /// Begins a round.
    pub(crate) fn begin_round(&mut self) {
        self.is_under_way = true;
    }

    /// Ends a round without a look at the rules.
    pub(crate) fn skip_round(&mut self, now: u64) {
        self.quiet_until = now;
        self.is_under_way = false;
    }

    /// Whether there is more of the round to do.
    pub(crate) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// The rule after which the round goes on; `None` at its beginning.
    pub(crate) fn cursor(&self) -> Option<RuleId> {
        self.cursor
    }

    /// The slice is done up to this rule; `None`: there was none left.
    pub(crate) fn advance(&mut self, to: Option<RuleId>) {
        self.cursor = to;
        self.is_under_way = to.is_some();
    }

    /// The rule is not declared any more.
    pub(crate) fn forget(&mut self, id: RuleId) {
        self.rules.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: u64 = 500_000_000;

    #[test]
    fn a_steady_counter_has_a_steady_rate() {
        let mut samples = Samples::default();
        for half_second in 0..20 {
            let now = half_second * HALF;
            samples.push(now, [half_second * 50].into());
            assert!(samples.0.len() <= limits::SAMPLES);
            if half_second > 0 {
                let rate = samples.per_second(0, now + HALF / 2, 0, half_second * 50 + 25);
                assert!((rate - 100.0).abs() < 1e-9, "{rate}");
            }
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let mut samples = Samples::default();
        // A burst that ended a second and a half ago is not in it.
        samples.push(0, [0].into());
        samples.push(HALF, [1000].into());
        samples.push(2 * HALF, [1000].into());
        assert!(samples.per_second(0, 3 * HALF, 0, 1000).abs() < 1e-9);
        assert!((samples.per_second(0, 2 * HALF, 0, 1000) - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_new_or_went_back_has_no_rate() {
        let mut samples = Samples::default();
        assert!(samples.per_second(0, HALF, 0, 10).abs() < 1e-9);
        samples.push(HALF, [10].into());
        assert!(samples.per_second(0, HALF, 0, 10).abs() < 1e-9);
        assert!(samples.per_second(0, 2 * HALF, 0, 4).abs() < 1e-9);
        assert!(samples.per_second(1, 2 * HALF, 0, 4).abs() < 1e-9);
    }

    #[test]
    fn after_a_quiet_time_the_rate_is_that_of_the_last_second() {
        let mut samples = Samples::default();
        for half_second in 0..3 {
            assert!(!samples.are_all(&[7]));
            samples.push(half_second * HALF, [7].into());
        }
        assert!(samples.are_all(&[7]) && !samples.are_all(&[8]));
        // Nothing for a minute; then 100 within the last half second, or within the last three.
        let now = 120 * HALF;
        assert!((samples.per_second(0, now, now - HALF, 107) - 100.0).abs() < 1e-9);
        assert!((samples.per_second(0, now, now - 4 * HALF, 107) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_round_goes_on_where_it_stopped() {
        let mut sampler = Sampler::default();
        assert!(!sampler.is_under_way());
        sampler.begin_round();
        assert_eq!((sampler.is_under_way(), sampler.cursor()), (true, None));
        sampler.advance(Some(RuleId(7)));
        sampler.begin_round();
        assert_eq!(sampler.cursor(), Some(RuleId(7)));
        sampler.advance(None);
        assert!(!sampler.is_under_way());
    }
}
