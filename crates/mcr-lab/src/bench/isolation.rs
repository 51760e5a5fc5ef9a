//! Checks by measurement that the relay's cost falls on the relay's core, and warns of neighbours.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::awake::AwakeCores;
use super::backlog::Backlog;
use super::bed::Bed;
use super::peers::{Other, Peer};
use super::scenario::Scenario;
use super::step::{self, Times};
use crate::limits;

/// How long the relay's core is watched before anything runs.
const WATCH: Duration = Duration::from_millis(500);

/// The probe: 2,000 datagrams by the kernel's forwarding, which has no process that could be
/// pinned and so goes where the soft interrupts go.
const PROBE_PER_SECOND: f64 = 10_000.0;
const PROBE: Times = Times { warm_up: Duration::ZERO, measured: Duration::from_millis(200) };

/// More than any generator offers: there is always a frame due.
const UNLIMITED: f64 = 1e9;

/// How long the generator shows what it can.
const CEILING: Duration = Duration::from_millis(500);

/// Refuses, with the reason, where frames are not received on the cores that they should be.
pub(super) fn verify(awake: &AwakeCores) -> Result<()> {
    let cores = awake.division;
    let mut bed = Bed::build(&Scenario::default(), awake)?;
    let _relay = Peer::Kernel.start(&bed, Other::default())?;
    let before = [Backlog::now(cores.relay)?, Backlog::now(cores.traffic)?];
    let report = step::run(&mut bed, 1, PROBE_PER_SECOND, PROBE)?;
    let after = [Backlog::now(cores.relay)?, Backlog::now(cores.traffic)?];
    let sent = report.offered.sent;
    ensure!(
        report.lost() * 100 <= sent,
        "the kernel's own forwarding loses {} of {sent} datagrams at a low rate: the test bed \
         does not work here",
        report.lost(),
    );
    let places = [("relay", "relay's", cores.relay), ("sink", "traffic's", cores.traffic)];
    for ((what, whose, core), (before, after)) in
        places.into_iter().zip(before.into_iter().zip(after))
    {
        let received = after.processed - before.processed;
        ensure!(
            received * 100 >= sent * 95,
            "of {sent} frames to the {what} only {received} were received on the {whose} core \
             {core}: receive packet steering has no effect here, so the relay's cost could not be \
             told from the generator's",
        );
    }
    Ok(())
}

/// How many small datagrams a second the generator offers at most, to a relay that takes none:
/// higher rates cannot be measured here.
pub(super) fn generator_ceiling(awake: &AwakeCores) -> Result<f64> {
    let small = Scenario { payload: limits::SMALLEST_BENCH_PAYLOAD, ..Scenario::default() };
    let mut bed = Bed::build(&small, awake)?;
    Ok(bed.traffic.send(1, UNLIMITED, CEILING)?.per_second())
}

/// The share of the relay's core that others use while nothing is measured.
pub(super) fn foreign_load(awake: &AwakeCores) -> Result<f64> {
    let stopwatch = awake.stopwatch(awake.division.relay)?;
    thread::sleep(WATCH);
    Ok((stopwatch.busy_seconds()? / WATCH.as_secs_f64()).min(1.0))
}
