//! A worker dies under load: how long its share is gone, and that the other cores' is not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::WorkerState;
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{hiccup, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Relay, SOON, on_core, rule};
use crate::variant::{Variant, endpoint, matrix};

/// What a kill may cost in the median, and at worst.
const OUTAGE: Duration = Duration::from_millis(50);
const WORST: Duration = Duration::from_millis(100);

/// Relays whose workers are killed, each once: a second death of the same one would be put off.
const RELAYS: usize = 3;

/// Datagrams a second of each core's flow: an outage is measured to a fifth of a millisecond.
const RATE: u64 = 5_000;

/// The same on a core that is busy with sending and receiving them, beside the worker.
const BUSY: u64 = 20_000;

/// Seconds after which a flow ends: the workers have been killed long before.
const ENDLESS: u64 = 120;

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let usual = Variant::usual();
    suite = matrix(suite, "outage::a_kill_costs_50_ms_in_the_median", &[usual], |variant| {
        kills(variant, RELAYS, RATE)
    });
    suite.trial("outage::a_kill_on_a_busy_core", move || {
        kills(Variant { workers: 1, ..usual }, 2 * RELAYS, BUSY)
    })
}

fn kills(variant: Variant, relays: usize, rate: u64) -> Result<()> {
    let begun = Instant::now();
    let mut outages = Vec::new();
    for _ in 0..relays {
        let mut relay = Relay::start_alone(variant, RelayTopology::builder().build()?)?;
        outages
            .extend(kill_each(&relay, rate).with_context(|| relay.daemon.log_lines().join("\n"))?);
        ensure!(relay.daemon.terminate()?.success(), "the daemon's end");
    }
    outages.sort_unstable();
    let median = outages[outages.len() / 2];
    println!("outages after kills: {outages:?}, median {median:?}");
    ensure!(median <= OUTAGE, "the median of {outages:?} is above {OUTAGE:?}");
    let stood_still = hiccup::stood_still(begun);
    let worst = outages.last().copied().unwrap_or_default();
    ensure!(worst <= WORST + stood_still, "{worst:?}, machine stood still {stood_still:?}");
    Ok(())
}

/// Kills one worker after the other while a flow goes through each. Returns what each of them did
/// not relay, as a time.
fn kill_each(relay: &Relay, rate: u64) -> Result<Vec<Duration>> {
    let (family, net) = (relay.variant.family, &relay.net);
    let output = (family.output_group(1), 6000).into();
    // Each worker has a flow, by its core or by its destination.
    let inputs = relay.inputs(family.group(1));
    for input in BTreeSet::from_iter(&inputs) {
        relay.add_active(&rule(*input, "in0", &[endpoint(output, "out0")]))?;
    }
    let sink = Sink::multicast(&net.sinks[0], "sink0", output)?;
    let generator = || relay.generator().rate(rate).count(ENDLESS * rate);
    let mut generators = Vec::new();
    for ((stream, &core), &input) in (0..).zip(&relay.cores).zip(&inputs) {
        generators.push(on_core(core, || generator().flow(stream, input).start())?);
    }
    flows(relay, &sink, rate)?;
    let mut outages = Vec::new();
    for (stream, worker) in (0..).zip(relay.workers()?.workers) {
        let before = sink.report()?.stream(stream).gaps();
        let pid = worker.pid.context("it has no process")?;
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
        wait::until("the killed worker is replaced", SOON, || {
            let now = &relay.workers()?.workers[stream as usize];
            Ok(now.restarts == 1 && now.in_sync && now.state == WorkerState::Running)
        })?;
        flows(relay, &sink, rate)?;
        let lost = sink.report()?.stream(stream).gaps() - before;
        outages.push(Duration::from_secs(lost) / rate as u32);
    }
    let mut sent = Vec::new();
    for generator in generators {
        sent.push(generator.stop()?.total());
    }
    // Each flow lost what its own worker's death took, and nothing by the other's.
    let lost = outages.iter().map(|outage| (outage.as_secs_f64() * rate as f64).round() as u64);
    let due: Vec<u64> = sent.iter().zip(lost).map(|(sent, lost)| sent - lost).collect();
    sink.wait_for(due.iter().sum(), SOON)?;
    relay.settled(sent.iter().sum())?;
    let report = sink.finish()?;
    for (stream, due) in (0..).zip(due) {
        let flow = report.stream(stream);
        ensure!((flow.unique, flow.received, flow.reordered) == (due, due, 0), "{report:#?}");
    }
    Ok(outages)
}

/// Waits until more of every flow has come: of a tenth of a second.
fn flows(relay: &Relay, sink: &Sink, rate: u64) -> Result<()> {
    let streams = relay.cores.len() as u32;
    let before = sink.report()?;
    wait::until("every flow goes through", SOON, || {
        let now = sink.report()?;
        let more = |stream| now.stream(stream).unique - before.stream(stream).unique;
        Ok((0..streams).all(|stream| more(stream) >= rate / 10))
    })
}
