//! The course of a run: rounds outside, points and relays inside, so that whatever changes on the
//! machine in the meantime meets all of them alike.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::awake::AwakeCores;
use super::bed::Bed;
use super::measure::{Known, Meter, Method, Round};
use super::peers::{Other, Peer};
use super::progress::Progress;
use super::results::{Figures, Outcome, Point};
use super::scenario::{Axis, Scenario};

/// How long a later round takes, to the first: its searches are shorter.
const LATER_ROUND: f64 = 0.7;

/// What is measured in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Task {
    pub(super) axis: Axis,
    pub(super) scenario: Scenario,
    pub(super) peer: Peer,
}

/// Everything that a run of these axes measures, in its order.
pub(super) fn tasks(axes: &[Axis], quick: bool) -> Vec<Task> {
    let of_axis = |axis: Axis| {
        let peers = relays_on(axis, quick);
        Scenario::points(axis, quick).into_iter().flat_map(move |scenario| {
            peers.iter().map(move |peer| Task { axis, scenario, peer: *peer })
        })
    };
    axes.iter().copied().flat_map(of_axis).collect()
}

/// Who is measured on an axis.
fn relays_on(axis: Axis, quick: bool) -> &'static [Peer] {
    match axis {
        Axis::Peers => &Peer::ALL,
        _ if quick => &[Peer::McrUring],
        Axis::Payload | Axis::Flows | Axis::SuperFrames => &[Peer::McrUring, Peer::Kernel],
        Axis::FanOut => &[Peer::McrUring, Peer::McrPoll],
        Axis::Rules | Axis::Workers | Axis::Chain | Axis::Watched => &[Peer::McrUring],
    }
}

/// Measures all tasks.
pub(super) fn run(
    tasks: &[Task],
    awake: &AwakeCores,
    method: Method,
    progress: &mut Progress,
) -> Result<Vec<Point>> {
    let mut rounds: BTreeMap<Task, Vec<Round>> = BTreeMap::new();
    let mut related: BTreeMap<Peer, f64> = BTreeMap::new();
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    for round in 0..method.rounds {
        let begun = start.elapsed();
        // The first is the longest: the others begin their searches at what it found.
        if round > 0 && begun + longest > method.budget {
            break;
        }
        for (place, task) in tasks.iter().enumerate() {
            if task.peer.unable(&task.scenario).is_some() {
                continue;
            }
            progress.begin(round, place, task);
            let found = rounds.entry(*task).or_default();
            let fan_out = task.scenario.fan_out as f64;
            let before = found.last().map(|round| round.clean.0).filter(|rate| *rate > 0.0);
            let about = related.get(&task.peer).map(|out| Known::About(out / fan_out));
            let known = before.map_or(about.unwrap_or(Known::Nothing), Known::Before);
            let measured = measure(task, awake, method, (known, round), progress)
                .with_context(|| format!("{} with {:?}", task.peer.name(), task.scenario))?;
            if measured.clean.0 > 0.0 {
                related.insert(task.peer, measured.clean.0 * fan_out);
            }
            found.push(measured);
        }
        longest = longest.max(start.elapsed().saturating_sub(begun).mul_f64(LATER_ROUND));
    }
    Ok(tasks.iter().map(|task| point(task, &rounds)).collect())
}

fn measure(
    task: &Task,
    awake: &AwakeCores,
    method: Method,
    (known, round): (Known, usize),
    progress: &mut Progress,
) -> Result<Round> {
    let mut bed = Bed::build(&task.scenario, awake)?;
    let relay = task.peer.start(&bed, Other::default())?;
    let latency = task.axis == Axis::Peers && round < method.latency_rounds;
    Meter::new(&mut bed, task.peer, &relay, method)
        .round(known, latency, |rate| progress.rate(rate))
}

fn point(task: &Task, rounds: &BTreeMap<Task, Vec<Round>>) -> Point {
    let figures = rounds.get(task).and_then(|rounds| Figures::of(rounds));
    let why_not = || task.peer.unable(&task.scenario).unwrap_or("no round").to_owned();
    Point {
        axis: task.axis,
        label: task.scenario.label(task.axis),
        peer: task.peer,
        scenario: task.scenario,
        outcome: figures.map_or_else(|| Outcome::Unable(why_not()), Outcome::Measured),
    }
}
