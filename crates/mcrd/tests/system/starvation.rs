//! A worker whose core others keep is not at fault, and is left alone.

use std::hint;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mcr_api::control::Steering;
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_sys::process::{pin_to_core, set_idle_scheduling};

use crate::fixture::{Relay, SOON, on_core, rule};
use crate::variant::{Variant, endpoint};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite.trial("starvation::who_waits_for_its_core_is_not_replaced", waits)
}

/// Datagrams a second: so few that the ring holds them for as long as the worker waits.
const RATE: u64 = 100;

/// How long the worker goes on to starve when that has been told.
const FURTHER: Duration = Duration::from_secs(3);

/// Threads that want the worker's core, each of some 300 times its weight.
const RIVALS: usize = 4;

fn waits() -> Result<()> {
    // By hash: what arrives at another core is the starving worker's, too.
    let variant = Variant { steering: Steering::Hash, ..Variant::usual() };
    let mut relay = Relay::start_alone(variant, RelayTopology::builder().build()?)?;
    relay.try_out(|relay| {
        let input = relay.inputs(variant.family.group(1))[0];
        let output = SocketAddr::new(variant.family.output_group(1), 6000);
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        let pid = relay.workers()?.workers[0].pid.context("the worker runs")?;
        let generator = relay.generator().rate(RATE).count(u64::MAX).flow(0, input);
        let flow = on_core(relay.cores[1], || generator.start())?;
        set_idle_scheduling(pid)?;
        with_rivals(relay.cores[0], || {
            relay.daemon.wait_for_log("worker 0 has waited ", SOON)?;
            // Long enough for some more waits.
            thread::sleep(FURTHER);
            Ok(())
        })?;
        let sent = flow.stop()?.total();
        ensure!(sent > 0, "nothing was sent");
        // That no worker was replaced is looked at behind every trial.
        relay.settled(sent)?;
        sink.wait_for(sent, SOON)?;
        let report = sink.report()?;
        ensure!(report.stream(0).is_perfect(sent), "of {sent}: {report:#?}");
        Ok(())
    })?;
    relay.stop().map(drop)
}

/// Does something while threads take all that they get of a core.
fn with_rivals<T>(core: usize, during: impl FnOnce() -> Result<T>) -> Result<T> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..RIVALS {
            scope.spawn(|| {
                // One that cannot be pinned takes its time elsewhere; the log then says nothing.
                _ = pin_to_core(core);
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        let done = during();
        over.store(true, Ordering::Relaxed);
        done
    })
}
