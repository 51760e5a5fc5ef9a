//! What MCR should reach, and whether this run says that it does: ratios within the run.

use serde::Serialize;

use super::peers::Peer;
use super::results::{Point, Results};
use super::scenario::{Axis, Path};
use super::search::Limit;

/// One line of the table of targets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Target {
    /// What is compared with what.
    pub(super) name: &'static str,
    /// The bound.
    pub(super) bound: Bound,
    /// This run's figure; `None` where it was not measured.
    pub(super) figure: Option<f64>,
    /// Whether the figure could be better or worse but for the test bed.
    pub(super) uncertain: bool,
    /// What came of it.
    pub(super) state: State,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
}

/// What a run says of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It is kept.
    Reached,
    /// It is not.
    Missed,
    /// The run was of other axes, or a peer is missing.
    NotMeasured,
}

impl State {
    /// What tables call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A figure, and whether the test bed limited what it was made of.
type Figure = Option<(f64, bool)>;

fn target(name: &'static str, bound: Bound, figure: Figure) -> Target {
    let state = match (bound, figure) {
        (_, None) => State::NotMeasured,
        (Bound::AtLeast(least), Some((figure, _))) if figure >= least => State::Reached,
        (Bound::AtMost(most), Some((figure, _))) if figure <= most => State::Reached,
        _ => State::Missed,
    };
    let uncertain = figure.is_some_and(|(_, uncertain)| uncertain);
    Target { name, bound, figure: figure.map(|(figure, _)| figure), uncertain, state }
}

/// Every target, in the order of the table.
pub(super) fn all(results: &Results) -> Vec<Target> {
    use Bound::{AtLeast, AtMost};
    let run = Run(results);
    let mut targets = run.peers();
    targets.extend([
        target(
            "100 flows, to one flow",
            AtLeast(0.8),
            run.on(Axis::Flows, |p| p.scenario.flows == 100),
        ),
        target(
            "fan-out 10, datagrams out, to fan-out 1",
            AtLeast(2.2),
            run.on(Axis::FanOut, fan_out(10)),
        ),
        target("fan-out 50, datagrams out, to fan-out 10", AtLeast(1.0), run.fan_out_50()),
        target("10,000 rules, to one", AtLeast(0.97), run.on(Axis::Rules, one_flow(10_000))),
        target("100,000 rules, to one", AtLeast(0.9), run.on(Axis::Rules, one_flow(100_000))),
        target(
            "two workers, to one",
            AtLeast(1.8),
            run.on(Axis::Workers, |p| p.scenario.workers == 2),
        ),
    ]);
    targets.extend(run.latencies());
    let churn = results.churn.as_ref();
    let idle = results.idle.as_ref();
    targets.extend([
        target(
            "rule changes a second at 80 % load",
            AtLeast(1_000.0 * 0.99),
            churn.map(|c| (c.changes_per_second, false)),
        ),
        target(
            "datagrams of another rule lost meanwhile",
            AtMost(0.0),
            churn.map(|c| (c.lost as f64, c.lost_before > 0)),
        ),
        target(
            "idle, 10,000 rules: % of a core",
            AtMost(0.3),
            idle.map(|i| (i.core_share * 100.0, false)),
        ),
        target(
            "idle, 10,000 rules: MiB of a worker",
            AtMost(40.0),
            idle.map(|i| (i.resident_bytes as f64 / f64::from(1 << 20), false)),
        ),
        target(
            "super-frames, to single frames",
            AtLeast(1.0),
            run.on(Axis::SuperFrames, |p| p.scenario.path == Path::SuperFrames),
        ),
        target(
            "merged by GRO, to not merged, received by a NAPI thread",
            AtLeast(1.0),
            run.merged(),
        ),
        target(
            "two relays, offloads on, to off",
            AtLeast(1.0),
            run.on(Axis::Chain, |p| p.scenario.path == Path::ChainOfRuns),
        ),
        target(
            "statistics, metrics, events and a trace looked at, to nothing",
            AtLeast(0.98),
            run.on(Axis::Watched, |p| p.scenario.watched),
        ),
    ]);
    targets
}

fn fan_out(copies: usize) -> impl Fn(&Point) -> bool {
    move |point| point.scenario.fan_out == copies
}

fn one_flow(rules: usize) -> impl Fn(&Point) -> bool {
    move |point| point.scenario.rules == rules && point.scenario.flows == 1
}

/// The ratios of a run.
struct Run<'a>(&'a Results);

impl Run<'_> {
    fn peers(&self) -> Vec<Target> {
        let against = |peer, other| ratio(self.peer(peer), self.peer(other));
        vec![
            target(
                "clean rate, to the kernel's forwarding",
                Bound::AtLeast(1.3),
                against(Peer::McrUring, Peer::Kernel),
            ),
            target(
                "clean rate with exclusive rules, to the kernel's forwarding",
                Bound::AtLeast(1.3),
                against(Peer::McrExclusive, Peer::Kernel),
            ),
            target(
                "clean rate, to socat",
                Bound::AtLeast(8.0),
                against(Peer::McrUring, Peer::Socat),
            ),
            target(
                "poll, to io_uring",
                Bound::AtLeast(0.85),
                against(Peer::McrPoll, Peer::McrUring),
            ),
        ]
    }

    fn peer(&self, peer: Peer) -> Option<&Point> {
        self.0.on(Axis::Peers).find(|point| point.peer == peer)
    }

    fn mcr(&self, axis: Axis, wanted: impl Fn(&Point) -> bool) -> Option<&Point> {
        self.0.on(axis).find(|point| point.peer == Peer::McrUring && wanted(point))
    }

    /// MCR's point of an axis, to the one that it is compared with.
    fn on(&self, axis: Axis, wanted: impl Fn(&Point) -> bool) -> Figure {
        let point = self.mcr(axis, wanted);
        ratio(point, point.and_then(|point| self.0.base(point)))
    }

    fn fan_out_50(&self) -> Figure {
        let of = |copies| self.mcr(Axis::FanOut, fan_out(copies));
        ratio(of(50), of(10))
    }

    fn merged(&self) -> Figure {
        let of = |path| self.mcr(Axis::SuperFrames, move |p| p.scenario.path == path);
        ratio(of(Path::MergedFrames), of(Path::PolledFrames))
    }

    fn latencies(&self) -> Vec<Target> {
        let at = |peer: Peer, rate: f64, figure: usize| {
            let latencies = &self.peer(peer)?.figures()?.latency;
            let latency = latencies.iter().find(|latency| latency.rate == Some(rate))?;
            Some([latency.p50_us, latency.p99_us][figure])
        };
        let of = |name, rate, figure, most| {
            let own = at(Peer::McrUring, rate, figure);
            let kernel = at(Peer::Kernel, rate, figure);
            let ratio = own.zip(kernel).map(|(own, kernel)| (own / kernel.max(0.001), false));
            target(name, Bound::AtMost(most), ratio)
        };
        vec![
            of("p50 at 10 kpps, to the kernel's", 10_000.0, 0, 1.3),
            of("p99 at 10 kpps, to the kernel's", 10_000.0, 1, 1.5),
            of("p50 at 100 kpps, to the kernel's", 100_000.0, 0, 1.3),
            of("p99 at 100 kpps, to the kernel's", 100_000.0, 1, 1.5),
        ]
    }
}

/// Datagrams out of one point to those of another.
fn ratio(point: Option<&Point>, base: Option<&Point>) -> Figure {
    let (point, base) = (point?, base?);
    let out = base.out_per_second().filter(|out| *out > 0.0)?;
    let limited = |point: &Point| point.figures().is_some_and(|f| f.limit != Limit::Relay);
    Some((point.out_per_second()? / out, limited(point) || limited(base)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_part_of_what_it_allows() {
        let state = |bound, figure| target("", bound, Some((figure, false))).state;
        assert_eq!(state(Bound::AtLeast(1.3), 1.3), State::Reached);
        assert_eq!(state(Bound::AtLeast(1.3), 1.29), State::Missed);
        assert_eq!(state(Bound::AtMost(0.0), 0.0), State::Reached);
        assert_eq!(state(Bound::AtMost(0.0), 1.0), State::Missed);
        assert_eq!(target("", Bound::AtMost(1.0), None).state, State::NotMeasured);
    }
}
