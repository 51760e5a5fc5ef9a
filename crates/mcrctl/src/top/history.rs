//! Rates of the past, which the daemon does not keep.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use mcr_api::control::Stats;

use super::flows::Flow;
use crate::limits;

/// The last rates of everything that has a sparkline.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Frames received, all together.
    pub(super) received: Trail,
    /// Copies sent, all together.
    pub(super) sent: Trail,
    /// Datagrams of each rule, by its id.
    pub(super) rules_in: Trails<u64>,
    /// Copies sent of each rule.
    pub(super) rules_out: Trails<u64>,
    /// Busy shares, by the worker's number.
    pub(super) cores: Trails<u32>,
    /// Frames received by each ring, by worker and interface.
    pub(super) rings: Trails<(u32, String)>,
}

impl History {
    /// Takes in what is new, and lets go of what is no more.
    pub(super) fn record(&mut self, stats: &Stats, flows: &[Flow]) {
        self.received.push(stats.rates.received_per_s);
        self.sent.push(stats.rates.sent_per_s);
        let rules = || stats.rules.iter().zip(flows);
        self.rules_in.record(rules().map(|(rule, _)| (rule.id, rule.packets_per_s)));
        self.rules_out.record(rules().map(|(rule, flow)| (rule.id, flow.out_per_s)));
        self.cores.record(stats.cores.iter().map(|core| (core.worker, core.rates.busy_share)));
        let rings = stats.rings.iter();
        self.rings
            .record(rings.map(|ring| ((ring.worker, ring.interface.clone()), ring.received_per_s)));
    }
}

/// The trails of things that come and go.
#[derive(Debug)]
pub(super) struct Trails<K> {
    of: HashMap<K, (u64, Trail)>,
    round: u64,
}

impl<K> Default for Trails<K> {
    fn default() -> Self {
        Self { of: HashMap::new(), round: 0 }
    }
}

impl<K: Eq + Hash> Trails<K> {
    /// Takes in a rate of everything that there is.
    fn record(&mut self, rates: impl Iterator<Item = (K, f64)>) {
        self.round += 1;
        for (key, rate) in rates {
            let (round, trail) = self.of.entry(key).or_default();
            *round = self.round;
            trail.push(rate);
        }
        self.of.retain(|_, (round, _)| *round == self.round);
    }

    /// Its last rates as a line of so many bars.
    pub(super) fn bars(&self, key: &K, width: usize) -> String {
        self.of.get(key).map_or_else(String::new, |(_, trail)| trail.bars(width))
    }
}

/// The last rates of one thing, the newest last.
#[derive(Debug, Default)]
pub(super) struct Trail(VecDeque<f32>);

impl Trail {
    fn push(&mut self, rate: f64) {
        if self.0.len() == limits::HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(rate as f32);
    }

    /// The newest rates as a line of so many bars, each as high as it is to the highest of them;
    /// nothing where there was nothing.
    pub(super) fn bars(&self, width: usize) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let newest = self.0.iter().skip(self.0.len().saturating_sub(width));
        let highest = newest.clone().copied().fold(0.0, f32::max);
        let bars = newest.map(|rate| {
            if *rate <= 0.0 {
                return ' ';
            }
            let eighths = (rate / highest * BARS.len() as f32).ceil() as usize;
            BARS[eighths.clamp(1, BARS.len()) - 1]
        });
        let bars: String = bars.collect();
        format!("{bars:>width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(rates: &[f64]) -> Trail {
        let mut trail = Trail::default();
        for rate in rates {
            trail.push(*rate);
        }
        trail
    }

    #[test]
    fn bars_are_relative_to_the_highest_that_is_seen() {
        assert_eq!(trail(&[800.0, 0.0, 1.0, 4.0, 8.0]).bars(4), " ▁▄█");
        assert_eq!(trail(&[5.0]).bars(4), "   █");
        assert_eq!(trail(&[0.0, 0.0]).bars(4), "    ");
    }

    #[test]
    fn history_is_bounded() {
        let rates: Vec<f64> = (0..10 * limits::HISTORY).map(|rate| rate as f64).collect();
        let trail = trail(&rates);
        assert_eq!(trail.0.len(), limits::HISTORY);
        assert_eq!(trail.0.back().copied(), rates.last().map(|rate| *rate as f32));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut trails = Trails::default();
        trails.record([(1, 1.0), (2, 1.0)].into_iter());
        trails.record([(2, 2.0)].into_iter());
        assert_eq!(trails.bars(&1, 3), "");
        assert_eq!(trails.bars(&2, 3), " ▄█");
    }
}
