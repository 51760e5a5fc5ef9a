//! Interfaces that do not rest.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Mechanism, WorkerState};
use mcr_lab::generator::Generator;
use mcr_lab::harness::{Skip, Suite};
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{identity, link, wait};
use mcr_sys::process::realtime_scheduling_permitted;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::scene;
use super::switch::NIC;
use crate::fixture::{Relay, SOON, delivered, on_core, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let both = Variant::both_families();
    suite = matrix(suite, "network::a_thousand_flaps", &both, a_thousand_flaps);
    let usual = [Variant::usual()];
    suite = matrix(suite, "network::fifty_deletions", &usual, fifty_deletions);
    suite = matrix(
        suite,
        "network::a_flap_leaves_the_steering_in_order",
        &usual,
        steering_stays_in_order,
    );
    let one_worker = [Variant { workers: 1, io: Mechanism::Poll, ..Variant::usual() }];
    let both = [usual, one_worker].concat();
    suite = matrix(suite, "network::short_flaps_leave_workers_idle", &both, idle_after_flaps);
    matrix(suite, "network::short_flaps_leave_realtime_workers_idle", &usual, idle_in_real_time)
}

fn a_thousand_flaps(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let descriptors = open_descriptors(scene.relay)?;
        let begun = Instant::now();
        link::flap(&scene.relay.net.relay, NIC, 1_000)?;
        println!("1,000 flaps, {variant}: {:?}", begun.elapsed());
        let tap = scene.listen()?;
        scene.recovered("a thousand flaps", NIC, Instant::now())?;
        link::flap(&scene.relay.net.relay, NIC, 1)?;
        scene.wait_until_reported(&tap)?;
        descriptors_return(scene.relay, &descriptors)
    })
}

/// Of the same number and of others, in turns.
fn fifty_deletions(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let descriptors = open_descriptors(scene.relay)?;
        for round in 0..50 {
            let index = link::ifindex(&scene.relay.net.relay, NIC)?;
            scene.switch.unplug()?;
            scene.switch.plug(if round % 2 == 0 { index } else { 0 })?;
        }
        let tap = scene.listen()?;
        scene.recovered("fifty deletions", NIC, Instant::now())?;
        link::flap(&scene.relay.net.relay, NIC, 1)?;
        scene.wait_until_reported(&tap)?;
        descriptors_return(scene.relay, &descriptors)
    })
}

/// How many descriptors the supervisor and each worker have.
fn open_descriptors(relay: &Relay) -> Result<Vec<usize>> {
    let workers = relay.workers()?.workers;
    let workers = workers.iter().map(|worker| worker.pid.context("a running worker's pid"));
    let pids = std::iter::once(Ok(relay.daemon.pid())).chain(workers);
    pids.map(|pid| Ok(fs::read_dir(format!("/proc/{}/fd", pid?))?.count())).collect()
}

fn descriptors_return(relay: &Relay, before: &[usize]) -> Result<()> {
    wait::until("no more descriptors than before", SOON, || {
        let now = open_descriptors(relay)?;
        Ok(now.iter().zip(before).all(|(now, before)| now <= before))
    })
    .with_context(|| format!("{before:?} and now {:?}", open_descriptors(relay)))
}

/// Each worker gets what is its own, also after a worker was replaced, whose new sockets are the
/// youngest, and the interface then went down and up without the supervisor seeing it.
fn steering_stays_in_order(variant: Variant) -> Result<()> {
    let mut relay = Relay::start(variant, RelayTopology::builder().build()?, &[])?;
    let output = SocketAddr::new(variant.family.output_group(1), 6000);
    for input in inputs(&relay) {
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
    }
    wait::until("the steering is in order at first", SOON, || is_in_order(&relay))?;
    let first = relay.workers()?.workers[0].pid.context("a running worker's pid")?;
    kill(Pid::from_raw(first as i32), Signal::SIGKILL)?;
    wait::until("the killed worker is replaced", SOON, || {
        let worker = &relay.workers()?.workers[0];
        Ok(worker.restarts == 1 && worker.in_sync && worker.state == WorkerState::Running)
    })?;
    wait::until("the steering is in order with another worker", SOON, || is_in_order(&relay))?;
    relay.daemon.signal(Signal::SIGSTOP)?;
    link::flap(&relay.net.relay, "in0", 1)?;
    relay.daemon.signal(Signal::SIGCONT)?;
    link::wait_until_up(&relay.net.source, "src0")?;
    link::wait_until_up(&relay.net.relay, "in0")?;
    wait::until("the steering is in order again", SOON, || is_in_order(&relay))
        .with_context(|| relay.daemon.log_lines().join("\n"))?;
    relay.settled(0)?;
    ensure!(relay.daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

fn idle_in_real_time(variant: Variant) -> Result<()> {
    if let Err(error) = realtime_scheduling_permitted() {
        return Err(Skip::Forbidden(error.to_string()).into());
    }
    idle_after(variant, &["--scheduling", "realtime"])
}

fn idle_after_flaps(variant: Variant) -> Result<()> {
    idle_after(variant, &[])
}

/// Each flap leaves an error on every packet socket of the interface. Workers that wait go on
/// waiting, and frames longer than a slot find their own slots.
fn idle_after(variant: Variant, arguments: &[&str]) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    Relay::run_on(variant, net, arguments, |relay| {
        let family = variant.family;
        let (input, output) = (family.group(1), family.output_group(1));
        let output = SocketAddr::new(output, 6000);
        let input = *relay.inputs(input).first().context("a worker has a share")?;
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
        for times in [1, 5] {
            for _ in 0..times {
                link::flap(&relay.net.relay, "in0", 1)?;
            }
            wait_until_one_passes(relay, input)?;
            super_frames_arrive(relay, input, output)?;
            let idle = || Ok(wake_ups_a_second(relay)? < IDLE_WAKE_UPS);
            wait::until("the workers are idle", SOON, idle)?;
        }
        Ok(())
    })
}

/// The kernel tells the sender's interface of its carrier late where many links flap, and until
/// then drops what is sent. (Long frames are what a flap's error would mislead, and this is none.)
fn wait_until_one_passes(relay: &Relay, input: SocketAddr) -> Result<()> {
    let matched = || Ok::<_, anyhow::Error>(identity::stats(&relay.daemon)?.totals.matched);
    let before = matched()?;
    wait::until("a datagram passes", SOON, || {
        Generator::new(&relay.net.source, "src0").count(1).flow(0, input).run()?;
        Ok(matched()? > before)
    })?;
    // More than one may have been sent.
    relay.settled(0).map(drop)
}

/// Wake-ups that an idle worker may have in a second.
const IDLE_WAKE_UPS: f64 = 50.0;

/// For each worker, over half a second.
fn wake_ups_a_second(relay: &Relay) -> Result<f64> {
    let count = || Ok::<_, anyhow::Error>(identity::stats(&relay.daemon)?.totals.wake_ups);
    let (begun, before) = (Instant::now(), count()?);
    thread::sleep(Duration::from_millis(500));
    let woken = (count()? - before) as f64 / begun.elapsed().as_secs_f64();
    println!("{woken:.0} wake-ups a second");
    Ok(woken / relay.cores.len() as f64)
}

fn super_frames_arrive(relay: &Relay, input: SocketAddr, output: SocketAddr) -> Result<()> {
    let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
    let runs = || relay.generator().payload_bytes(1_000).count(500).segments_per_send(10);
    let sent = relay.send_by(runs, input)?;
    delivered(sink, sent).map(drop)
}

/// So many that by hash, too, each worker has a share.
fn inputs(relay: &Relay) -> impl Iterator<Item = SocketAddr> {
    let family = relay.variant.family;
    (1..=8).map(move |n| SocketAddr::new(family.group(n), 5000))
}

/// Sends a few to each input from each core, and sees which worker reads them.
fn is_in_order(relay: &Relay) -> Result<bool> {
    const FEW: u64 = 20;
    let matched = || -> Result<Vec<u64>> {
        let stats = identity::stats(&relay.daemon)?;
        Ok(stats.cores.iter().map(|core| core.counters.matched).collect())
    };
    let owners: BTreeSet<Option<usize>> = inputs(relay).map(|input| relay.owner(input)).collect();
    ensure!(owners.contains(&None) || owners.len() == relay.cores.len(), "no test of shares");
    let mut expected = matched()?;
    for (sender, &core) in relay.cores.iter().enumerate() {
        for input in inputs(relay) {
            let generator = Generator::new(&relay.net.source, "src0").count(FEW).flow(0, input);
            on_core(core, || generator.run())?;
            expected[relay.owner(input).unwrap_or(sender)] += FEW;
        }
    }
    // Those of a worker out of order never come.
    Ok(wait::until("the few are relayed", ORDER_WAIT, || Ok(matched()? == expected)).is_ok())
}

/// How long a few datagrams that are not misled may take on a busy machine.
const ORDER_WAIT: Duration = Duration::from_secs(1);
