//! One step: a rate offered for a while, and all that came of it.

use std::time::Duration;

use anyhow::Result;

use super::backlog::Backlog;
use super::bed::Bed;
use super::book::Received;
use super::search::Step as Verdict;
use super::traffic::Offered;
use crate::limits;

/// How long a step lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// Traffic before the measured part, without a pause between: queues and caches are then as
    /// under lasting load, and a ring that fills up hides no loss.
    pub(super) warm_up: Duration,
    /// The measured part.
    pub(super) measured: Duration,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) struct StepReport {
    /// What the generator sent in the measured part.
    pub(super) offered: Offered,
    /// Datagrams that should have arrived.
    pub(super) expected: u64,
    /// What did arrive.
    pub(super) received: Received,
    /// Frames lost by the test bed itself, warm-up included.
    pub(super) bed_drops: u64,
    /// Frames that the receive queue of the relay's core had no room for, warm-up included.
    pub(super) backlog_drops: u64,
    /// Seconds that the relay's core was busy, all work included.
    pub(super) busy: f64,
    /// Seconds that the hypervisor took from either core, the greater.
    pub(super) stolen: f64,
}

/// Offers `per_second` datagrams, over all flows, to whatever relays in the bed.
pub(super) fn run(bed: &mut Bed, number: u32, per_second: f64, times: Times) -> Result<StepReport> {
    let drops = bed.drops()?;
    let backlog = Backlog::now(bed.awake.division.relay)?;
    // Even numbers are warm-ups, which the sink does not enter.
    let (warm_up, measured) = (2 * number, 2 * number + 1);
    let scenario = bed.scenario;
    bed.sink.begin(measured, &scenario);
    bed.traffic.send(warm_up, per_second, times.warm_up)?;
    let stopwatch = bed.awake.stopwatch(bed.awake.division.relay)?;
    let other = bed.awake.stopwatch(bed.awake.division.traffic)?;
    let offered = bed.traffic.send(measured, per_second, times.measured)?;
    let busy = stopwatch.busy_seconds()?;
    let stolen = stopwatch.stolen_seconds()?.max(other.stolen_seconds()?);
    let received = bed.sink.finish()?;
    Ok(StepReport {
        offered,
        expected: offered.sent * bed.scenario.fan_out as u64,
        received,
        bed_drops: bed.drops()?.since(&drops),
        backlog_drops: Backlog::now(bed.awake.division.relay)?.dropped - backlog.dropped,
        busy,
        stolen,
    })
}

impl StepReport {
    /// Datagrams that did not arrive.
    pub(super) fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received.unique)
    }

    /// Judges the step, where `asked` datagrams a second were asked for and a frame on the relay's
    /// egress may hold `run` datagrams.
    pub(super) fn verdict(&self, asked: f64, run: u64) -> Verdict {
        let clean = self.lost() as f64 <= self.expected as f64 * limits::CLEAN_LOSS;
        let slow = self.offered.per_second() < asked * limits::GENERATOR_SHORTFALL;
        match (clean, slow) {
            (true, false) => Verdict::Clean,
            (true, true) => Verdict::GeneratorSlow,
            (false, _) if self.bed_drops * run * 2 >= self.lost() => Verdict::SinkLost,
            (false, _) => Verdict::Lossy,
        }
    }

    /// Seconds of the relay's core for each datagram that arrived.
    pub(super) fn cpu_per_datagram(&self) -> f64 {
        self.busy / self.received.unique.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sent: u64, received: u64, bed_drops: u64) -> StepReport {
        StepReport {
            offered: Offered { sent, elapsed: Duration::from_secs(1) },
            expected: sent,
            received: Received { unique: received, ..Received::default() },
            bed_drops,
            backlog_drops: 0,
            busy: 0.5,
            stolen: 0.0,
        }
    }

    #[test]
    fn half_a_per_cent_is_clean() {
        assert_eq!(report(10_000, 9_950, 0).verdict(10_000.0, 1), Verdict::Clean);
        assert_eq!(report(10_000, 9_949, 0).verdict(10_000.0, 1), Verdict::Lossy);
    }

    #[test]
    fn the_beds_own_loss_is_told_apart() {
        assert_eq!(report(10_000, 9_000, 900).verdict(10_000.0, 1), Verdict::SinkLost);
        assert_eq!(report(10_000, 9_000, 20).verdict(10_000.0, 1), Verdict::Lossy);
        // Twenty super-frames of 50 datagrams are a thousand.
        assert_eq!(report(10_000, 9_000, 20).verdict(10_000.0, 50), Verdict::SinkLost);
    }

    #[test]
    fn a_generator_that_falls_short_is_noticed() {
        assert_eq!(report(9_000, 9_000, 0).verdict(10_000.0, 1), Verdict::GeneratorSlow);
        assert_eq!(report(9_000, 5_000, 0).verdict(10_000.0, 1), Verdict::Lossy);
    }
}
