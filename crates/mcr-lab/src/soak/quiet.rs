//! The quiet points: traffic stands still, all that was sent is judged, and the accounts and the
//! belongings of the relay are looked at.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use mcr_api::control::Stats;

use super::faults::Scene;
use super::flows::Flow;
use super::judgement::{Finding, Record, judge};
use super::summary::Summary;
use super::traffic::{HeldUp, Pause, Sent, Traffic};
use super::usage::Usage;
use super::window::{Concern, Window, held_back};
use crate::{identity, limits, wait};

/// The judge, with what must be remembered from one quiet point to the next.
#[derive(Debug)]
pub(super) struct Judge {
    /// When the soak began, in nanoseconds of the monotonic clock.
    pub(super) start_ns: u64,
    /// What the relay held when it had warmed up.
    warm: Option<Usage>,
    /// What it held last.
    usage: Option<Usage>,
    /// What the daemon says to have sent for each flow, and in which of its lives.
    counted: (usize, BTreeMap<usize, u64>),
}

impl Judge {
    /// Begins.
    pub(super) fn new(start_ns: u64) -> Self {
        Self { start_ns, warm: None, usage: None, counted: (1, BTreeMap::new()) }
    }

    /// Judges what has happened since the last quiet point, and forgets the windows.
    pub(super) fn judge(
        &mut self,
        scene: &mut Scene,
        traffic: &mut Traffic,
        windows: &mut Vec<Window>,
        summary: &mut Summary,
    ) -> Result<()> {
        traffic.check()?;
        let mut pause = traffic.pause();
        let settled = identity::wait_until_settled(&scene.relay.daemon, 0);
        let stats = settled.or_else(|error| {
            summary.findings.push(format!("at a quiet point: {error:#}"));
            identity::stats(&scene.relay.daemon)
        })?;
        wait_for_witnesses(scene)?;
        let held_up = pause.take_held_up();
        summary.held_up += held_up.len();
        windows.extend(held_up.iter().map(|held_up| window_of(held_up, scene.deaths)));
        windows.sort_by_key(|window| window.begin_ns);
        let sent = self.judge_flows(scene, &mut pause, windows, summary);
        summary.findings.extend(self.compare_counts(scene, &stats, &sent, windows));
        self.compare_usage(scene, summary)?;
        let spinning = scene.relay.spinning()?.into_iter();
        summary.findings.extend(spinning.map(|busy| format!("without traffic {busy}")));
        check_restarts(scene, held_up.len() as u64, summary)?;
        windows.clear();
        Ok(())
    }

    /// What the relay held at the last quiet point.
    pub(super) fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Returns what was sent of each rule.
    fn judge_flows(
        &self,
        scene: &Scene,
        pause: &mut Pause<'_>,
        windows: &[Window],
        summary: &mut Summary,
    ) -> BTreeMap<usize, Sent> {
        let mut sent: BTreeMap<usize, Sent> = BTreeMap::new();
        let mut outages: Vec<Option<Duration>> = vec![None; windows.len()];
        for (number, flow) in scene.flows.iter().enumerate() {
            let sent = sent.entry(flow.rule).or_insert_with(|| pause.rule(flow.rule).take());
            let seen = scene.witnesses.take(number);
            let record =
                Record { flow, first: sent.first, sent_ns: &sent.sent_ns, arrived: &seen.arrived };
            let judged = judge(&record, windows);
            summary.offered += sent.sent_ns.len() as u64;
            summary.excused += judged.excused;
            let findings = judged.findings.iter().map(|finding| self.tell(finding, windows));
            summary.findings.extend(findings);
            if seen.strange > 0 {
                let strange = seen.strange;
                summary.findings.push(format!("{flow}: {strange} came that are not the flow's"));
            }
            for (window, outage) in judged.outages {
                outages[window] = outages[window].max(Some(outage));
            }
        }
        for (window, outage) in windows.iter().zip(outages) {
            if let (Some(kind), Some(outage)) = (window.kind, outage) {
                summary.note_outage(kind, outage);
            }
        }
        sent
    }

    /// A finding with its time, and the last fault that had begun by then.
    fn tell(&self, finding: &Finding, windows: &[Window]) -> String {
        let Finding { flow, defect, sent_ns: (from, to) } = finding;
        let seconds = |ns: u64| ns.saturating_sub(self.start_ns) as f64 / 1e9;
        let begun = windows.iter().rev().find(|window| window.opens_ns() <= *from);
        let after = begun.map_or("before any fault of this epoch".to_owned(), |window| {
            format!("after {}, which began at {:.3} s", window.fault, seconds(window.begin_ns))
        });
        format!(
            "{flow}: {defect}, sent from {:.3} to {:.3} s, {after}",
            seconds(*from),
            seconds(*to)
        )
    }

    /// The daemon's own count of what it sent for a flow that nothing concerned is what was sent
    /// to it.
    fn compare_counts(
        &mut self,
        scene: &Scene,
        stats: &Stats,
        sent: &BTreeMap<usize, Sent>,
        windows: &[Window],
    ) -> Vec<String> {
        let now: BTreeMap<usize, u64> = (0..)
            .zip(&scene.flows)
            .filter_map(|(place, flow)| Some((place, count_of(stats, flow)?)))
            .collect();
        let (life, before) = std::mem::replace(&mut self.counted, (scene.relay.life, now));
        let now = &self.counted.1;
        let mut findings = Vec::new();
        for (place, flow) in scene.flows.iter().enumerate() {
            let concerned = windows.iter().any(|window| window.concern.covers(flow));
            if concerned || life != scene.relay.life {
                continue;
            }
            let offered = sent[&flow.rule].sent_ns.len() as u64;
            let base = before.get(&place).copied().unwrap_or(0);
            let counted = now.get(&place).map(|count| count - base);
            if counted != Some(offered) {
                findings.push(format!(
                    "{flow}: the daemon says to have sent {counted:?} of {offered} that came to it"
                ));
            }
        }
        findings
    }

    fn compare_usage(&mut self, scene: &Scene, summary: &mut Summary) -> Result<()> {
        let read = || Usage::read(&scene.relay, &scene.bed.net.relay);
        let mut now = read()?;
        let warm = self.warm.get_or_insert_with(|| now.clone());
        let came_back = wait::until("the belongings come back", limits::soak::USAGE, || {
            now = read()?;
            Ok(now.beyond(warm).is_empty())
        });
        if came_back.is_err() {
            summary.findings.extend(now.beyond(warm));
        }
        self.usage = Some(now);
        Ok(())
    }
}

/// What the daemon says to have sent for a flow.
fn count_of(stats: &Stats, flow: &Flow) -> Option<u64> {
    let to = format!("{}@out{}", flow.destination, flow.egress);
    // The lab's rules have one output of that name, and keep their order.
    stats.rules.iter().flat_map(|rule| &rule.outputs).find(|o| o.to == to).map(|o| o.sent)
}

/// The machine's own fault: a worker that it did not let run may have been taken for a silent one.
fn window_of(held_up: &HeldUp, deaths: u64) -> Window {
    let HeldUp { worker, from_ns, to_ns } = *held_up;
    let millis = (to_ns - from_ns) / 1_000_000;
    Window {
        fault: format!("the machine held the core of worker {worker} up for {millis} ms"),
        kind: None,
        concern: Concern::Worker(worker),
        begin_ns: from_ns,
        over_ns: to_ns,
        limit: limits::soak::STALL + limits::soak::REPLACEMENT + held_back(deaths),
    }
}

/// No worker may have been replaced but for the faults that asked for it, or because the machine
/// did not let it run.
fn check_restarts(scene: &mut Scene, held_up: u64, summary: &mut Summary) -> Result<()> {
    let workers = scene.relay.workers()?;
    let restarts: u64 = workers.iter().map(|worker| worker.restarts).sum();
    if !(scene.deaths..=scene.deaths + held_up).contains(&restarts) {
        let exits: Vec<_> = workers.iter().map(|worker| worker.last_exit.as_deref()).collect();
        let meant = scene.deaths;
        summary.findings.push(format!(
            "{restarts} workers were replaced, and {meant} were meant to be; last ends: {exits:?}"
        ));
    }
    scene.deaths = restarts;
    Ok(())
}

/// The relay has nothing left to send; the witnesses may have some left to read.
fn wait_for_witnesses(scene: &Scene) -> Result<()> {
    let (mut count, mut since) = (scene.witnesses.count(), Instant::now());
    wait::until("the witnesses have read all", limits::SETTLE, || {
        let now = scene.witnesses.count();
        if now != count {
            (count, since) = (now, Instant::now());
        }
        Ok(since.elapsed() >= limits::soak::QUIET)
    })
}
