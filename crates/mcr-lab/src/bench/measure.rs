//! One round of one relay in one scenario: its clean rate, its cost, its latency.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::bed::Bed;
use super::peers::{Peer, Running};
use super::search::{Limit, Search};
use super::step::{self, StepReport, Times};
use crate::histogram::Histogram;
use crate::limits;

/// How a run measures.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Method {
    /// Warm-up of a step, in milliseconds.
    pub(super) warm_up_ms: u64,
    /// The measured part of a step, in milliseconds.
    pub(super) measured_ms: u64,
    /// The measured part of a step for latency, in milliseconds.
    pub(super) latency_ms: u64,
    /// A search ends when it knows the clean rate to this share of it.
    pub(super) precision: f64,
    /// How often each relay is measured at each point, all of them in turns.
    pub(super) rounds: usize,
    /// In how many of these latency is measured too.
    pub(super) latency_rounds: usize,
    /// No round begins that would likely end after this.
    pub(super) budget: Duration,
}

/// What is known of a clean rate before it is searched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Known {
    /// Nothing.
    Nothing,
    /// It is somewhere about that of a related scenario.
    About(f64),
    /// It was this in an earlier round.
    Before(f64),
}

/// What a round found.
#[derive(Debug, Clone)]
pub(super) struct Round {
    /// Datagrams a second into the relay, and what limits it.
    pub(super) clean: (f64, Limit),
    /// Datagrams a second, all copies, that arrived in the best step, whatever was lost beside.
    pub(super) goodput: f64,
    /// The cost at a moderate rate.
    pub(super) cost: Option<Cost>,
    /// Latency at several rates, where it was asked for.
    pub(super) latency: Vec<LatencyAt>,
    /// Bytes resident in a relaying process beside its rings.
    pub(super) resident_bytes: Option<u64>,
    /// Datagrams that arrived twice or behind a later one, in all steps.
    pub(super) disorder: u64,
    /// Steps taken anew because the hypervisor had taken a core away.
    pub(super) repeated: u64,
}

/// The cost of relaying at a moderate rate, for each datagram that arrived.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Cost {
    /// Datagrams a second that arrived, all copies.
    pub(super) per_second: f64,
    /// Nanoseconds of the relay's core, all that it did.
    pub(super) core_ns: f64,
    /// Nanoseconds that MCR's workers did not wait.
    pub(super) worker_ns: Option<f64>,
    /// System calls of MCR's workers.
    pub(super) system_calls: Option<f64>,
}

/// Latency at one rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct LatencyAt {
    /// Datagrams a second; `None` for half the clean rate.
    pub(super) rate: Option<f64>,
    /// Median, in microseconds.
    pub(super) p50_us: f64,
    /// 99 of 100 datagrams.
    pub(super) p99_us: f64,
    /// 999 of 1,000 datagrams.
    pub(super) p999_us: f64,
}

/// Measures one relay that is at work in a bed.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    bed: &'a mut Bed,
    relay: &'a Running,
    peer: Peer,
    method: Method,
    steps: u32,
    disorder: u64,
    repeated: u64,
    goodput: f64,
}

impl<'a> Meter<'a> {
    /// For a relay that `peer` started in `bed`.
    pub(super) fn new(bed: &'a mut Bed, peer: Peer, relay: &'a Running, method: Method) -> Self {
        Self { bed, relay, peer, method, steps: 0, disorder: 0, repeated: 0, goodput: 0.0 }
    }

    /// The whole round.
    pub(super) fn round(
        mut self,
        known: Known,
        latency: bool,
        mut progress: impl FnMut(f64),
    ) -> Result<Round> {
        let clean = self.clean_rate(known, &mut progress)?;
        progress(clean.0);
        let cost = if clean.0 > 0.0 { Some(self.cost(clean.0)?) } else { None };
        let latency = if latency && clean.0 > 0.0 { self.latencies(clean.0)? } else { Vec::new() };
        let resident_bytes = self.relay.resident_bytes()?;
        let (disorder, repeated) = (self.disorder, self.repeated);
        let goodput = self.goodput;
        Ok(Round { clean, goodput, cost, latency, resident_bytes, disorder, repeated })
    }

    fn clean_rate(&mut self, known: Known, progress: &mut impl FnMut(f64)) -> Result<(f64, Limit)> {
        let run = self.peer.largest_run(&self.bed.scenario);
        let precision = self.method.precision;
        let mut search = match known {
            Known::Nothing => {
                let first = limits::FIRST_RATE / self.bed.scenario.fan_out as f64;
                Search::new(first, precision)
            }
            Known::About(rate) => Search::new(rate, precision),
            Known::Before(rate) => Search::near(rate, precision),
        };
        let mut silent = 0;
        while let Some(rate) = search.rate() {
            progress(rate);
            let report = self.step(rate, self.method.measured_ms)?;
            silent = if report.received.unique == 0 { silent + 1 } else { 0 };
            if silent > 1 {
                // It takes none of this traffic, at whatever rate.
                return Ok((0.0, Limit::Relay));
            }
            search.judge(report.offered.per_second(), report.verdict(rate, run));
        }
        Ok(search.found())
    }

    fn cost(&mut self, clean: f64) -> Result<Cost> {
        let moderate = limits::COST_RATE / self.bed.scenario.fan_out as f64;
        let before = self.relay.work()?;
        let report = self.step(moderate.min(clean / 2.0), self.method.latency_ms)?;
        let work = match (before, self.relay.work()?) {
            (Some(before), Some(after)) => Some(after.since(&before)),
            _ => None,
        };
        let per_copy = |count: u64, sent: u64| count as f64 / sent.max(1) as f64;
        Ok(Cost {
            per_second: report.received.unique as f64 / report.offered.elapsed.as_secs_f64(),
            core_ns: report.cpu_per_datagram() * 1e9,
            worker_ns: work.map(|work| per_copy(work.busy_ns, work.sent)),
            system_calls: work.map(|work| per_copy(work.system_calls, work.sent)),
        })
    }

    /// At the fixed rates that it carries, and at half its clean rate.
    fn latencies(&mut self, clean: f64) -> Result<Vec<LatencyAt>> {
        let carried = limits::LATENCY_RATES.into_iter().filter(|rate| *rate <= clean);
        let mut latencies = Vec::new();
        for rate in carried.map(Some).chain([None]) {
            let report = self.step(rate.unwrap_or(clean / 2.0), self.method.latency_ms)?;
            latencies.push(LatencyAt::of(rate, &report.received.latency));
        }
        Ok(latencies)
    }

    fn step(&mut self, rate: f64, measured_ms: u64) -> Result<StepReport> {
        let times = Times {
            warm_up: Duration::from_millis(self.method.warm_up_ms),
            measured: Duration::from_millis(measured_ms),
        };
        let mut retries = 0..limits::STOLEN_RETRIES;
        loop {
            self.steps += 1;
            let report = step::run(self.bed, self.steps, rate, times)?;
            self.disorder += report.received.duplicated + report.received.reordered;
            // What a core missed says nothing of the relay.
            if report.stolen < limits::STOLEN_TOO_MUCH || retries.next().is_none() {
                let seconds = report.offered.elapsed.as_secs_f64();
                self.goodput = self.goodput.max(report.received.unique as f64 / seconds);
                return Ok(report);
            }
            self.repeated += 1;
        }
    }
}

impl LatencyAt {
    fn of(rate: Option<f64>, latency: &Histogram) -> Self {
        let micros = |per_mille| latency.per_mille(per_mille) as f64 / 1_000.0;
        Self { rate, p50_us: micros(500), p99_us: micros(990), p999_us: micros(999) }
    }
}
