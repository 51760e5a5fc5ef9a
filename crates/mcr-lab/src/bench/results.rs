//! What a run found: medians and spreads over its rounds, in the form of the JSON file.

use serde::Serialize;

use super::churn::Churn;
use super::cores::Cores;
use super::idle::Idle;
use super::machine::Machine;
use super::measure::{Cost, LatencyAt, Method, Round};
use super::peers::Peer;
use super::scenario::{Axis, Scenario};
use super::search::Limit;
use super::targets::Target;

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Results {
    /// Where it ran.
    pub(super) machine: Machine,
    /// Who worked where.
    pub(super) cores: Cores,
    /// How it measured.
    pub(super) method: Method,
    /// The share of the relay's core that others used before the run.
    pub(super) foreign_load: f64,
    /// Datagrams of 64 bytes a second that the generator offers at most.
    pub(super) generator_ceiling: f64,
    /// Every relay at every point.
    pub(super) points: Vec<Point>,
    /// MCR while its rules change.
    pub(super) churn: Option<Churn>,
    /// MCR without traffic.
    pub(super) idle: Option<Idle>,
    /// What all that says of the targets.
    pub(super) targets: Vec<Target>,
    /// How long the whole run took, in seconds.
    pub(super) elapsed_s: f64,
}

/// One relay at one point of an axis.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Point {
    /// The axis.
    pub(super) axis: Axis,
    /// The point's name on it.
    pub(super) label: String,
    /// The relay.
    pub(super) peer: Peer,
    /// What was varied and what was not.
    pub(super) scenario: Scenario,
    /// What was found, or why nothing was measured.
    pub(super) outcome: Outcome,
}

/// What was found at a point.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Why the relay was not measured.
    Unable(String),
    /// The figures.
    Measured(Figures),
}

/// The figures of a point.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// The clean rate: datagrams a second into the relay.
    pub(super) clean_per_second: Spread,
    /// What limits it, in most rounds.
    pub(super) limit: Limit,
    /// The most datagrams a second that arrived, all copies, whatever was lost beside: the median.
    pub(super) goodput_per_second: f64,
    /// The cost for each datagram that arrived, the median of each figure.
    pub(super) cost: Option<Cost>,
    /// Latency by rate, the median of each figure.
    pub(super) latency: Vec<LatencyAt>,
    /// Bytes resident beside receive rings, the most of all rounds.
    pub(super) resident_bytes: Option<u64>,
    /// Datagrams duplicated or out of order, in all rounds.
    pub(super) disorder: u64,
    /// Steps taken anew because the hypervisor had taken a core away, in all rounds.
    pub(super) repeated: u64,
}

/// A figure over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Spread {
    /// The middle one.
    pub(super) median: f64,
    /// The least.
    pub(super) min: f64,
    /// The greatest.
    pub(super) max: f64,
    /// Each round's.
    pub(super) rounds: Vec<f64>,
}

impl Spread {
    /// Of at least one round.
    pub(super) fn of(rounds: Vec<f64>) -> Self {
        let (min, max) = rounds
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(min, max), value| (min.min(*value), max.max(*value)));
        Self { median: median(rounds.iter().copied()), min, max, rounds }
    }
}

impl Figures {
    /// Sums rounds up; `None` without any.
    pub(super) fn of(rounds: &[Round]) -> Option<Self> {
        let limits: Vec<Limit> = rounds.iter().map(|round| round.clean.1).collect();
        Some(Self {
            clean_per_second: Spread::of(rounds.iter().map(|round| round.clean.0).collect()),
            limit: most_frequent(&limits)?,
            goodput_per_second: median(rounds.iter().map(|round| round.goodput)),
            cost: median_cost(rounds),
            latency: median_latencies(rounds),
            resident_bytes: rounds.iter().filter_map(|round| round.resident_bytes).max(),
            disorder: rounds.iter().map(|round| round.disorder).sum(),
            repeated: rounds.iter().map(|round| round.repeated).sum(),
        })
    }
}

impl Point {
    /// The figures, if there are any.
    pub(super) fn figures(&self) -> Option<&Figures> {
        match &self.outcome {
            Outcome::Measured(figures) => Some(figures),
            Outcome::Unable(_) => None,
        }
    }

    /// Datagrams a second out of the relay at its clean rate.
    pub(super) fn out_per_second(&self) -> Option<f64> {
        Some(self.figures()?.clean_per_second.median * self.scenario.fan_out as f64)
    }
}

impl Results {
    /// Rounds that there was time for.
    pub(super) fn rounds(&self) -> usize {
        let figures = self.points.iter().filter_map(Point::figures);
        figures.map(|figures| figures.clean_per_second.rounds.len()).max().unwrap_or(0)
    }

    /// The points of an axis.
    pub(super) fn on(&self, axis: Axis) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(move |point| point.axis == axis)
    }

    /// The point that others of its axis and relay are compared with: the first of the axis, or
    /// where a quick run left that out, the one of `Peers`.
    pub(super) fn base(&self, point: &Point) -> Option<&Point> {
        let simplest = Scenario::points(point.axis, false).into_iter().next()?;
        let axes = [point.axis, Axis::Peers];
        axes.into_iter()
            .find_map(|axis| self.on(axis).find(|p| p.peer == point.peer && p.scenario == simplest))
    }
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

fn most_frequent(limits: &[Limit]) -> Option<Limit> {
    let times = |limit: &Limit| limits.iter().filter(|other| *other == limit).count();
    limits.iter().copied().max_by_key(times)
}

fn median_cost(rounds: &[Round]) -> Option<Cost> {
    let costs: Vec<Cost> = rounds.iter().filter_map(|round| round.cost).collect();
    let first = costs.first()?;
    let over = |figure: fn(&Cost) -> f64| median(costs.iter().map(figure));
    Some(Cost {
        per_second: over(|cost| cost.per_second),
        core_ns: over(|cost| cost.core_ns),
        worker_ns: first.worker_ns.map(|_| over(|cost| cost.worker_ns.unwrap_or(0.0))),
        system_calls: first.system_calls.map(|_| over(|cost| cost.system_calls.unwrap_or(0.0))),
    })
}

/// Rates that were measured in some rounds only, since they are about the clean rate, count too.
fn median_latencies(rounds: &[Round]) -> Vec<LatencyAt> {
    let all = || rounds.iter().flat_map(|round| &round.latency);
    let mut rates: Vec<Option<f64>> = Vec::new();
    for latency in all() {
        if !rates.contains(&latency.rate) {
            rates.push(latency.rate);
        }
    }
    // Half the clean rate comes last.
    rates.sort_by(|a, b| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY)));
    let at = |rate| {
        let over = |figure: fn(&LatencyAt) -> f64| {
            median(all().filter(|latency| latency.rate == rate).map(figure))
        };
        LatencyAt {
            rate,
            p50_us: over(|latency| latency.p50_us),
            p99_us: over(|latency| latency.p99_us),
            p999_us: over(|latency| latency.p999_us),
        }
    };
    rates.into_iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_name_the_middle_and_the_ends() {
        let odd = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert!((Spread::of(vec![1.0, 2.0, 3.0, 9.0]).median - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn latencies_are_summed_up_by_rate() {
        let at = |rate, p50_us| LatencyAt { rate, p50_us, p99_us: 0.0, p999_us: 0.0 };
        let round = |latency| Round {
            clean: (1.0, Limit::Relay),
            goodput: 1.0,
            cost: None,
            latency,
            resident_bytes: None,
            disorder: 0,
            repeated: 0,
        };
        let rounds = [
            round(vec![at(Some(1_000.0), 10.0), at(None, 50.0)]),
            round(vec![at(Some(1_000.0), 20.0), at(Some(10_000.0), 30.0), at(None, 70.0)]),
        ];
        let medians = [at(Some(1_000.0), 15.0), at(Some(10_000.0), 30.0), at(None, 60.0)];
        assert_eq!(median_latencies(&rounds), medians);
    }

    #[test]
    fn the_most_frequent_limit_is_told() {
        let limits = [Limit::Relay, Limit::Sink, Limit::Relay];
        assert_eq!(most_frequent(&limits), Some(Limit::Relay));
    }
}
