//! The end of the daemon, and of a worker: what was begun is finished, and nothing is left.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, Rules, Stats, WorkerState, WorkerStatus};
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::payload::payload;
use mcr_lab::sink::Sink;
use mcr_lab::tap::RawTap;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{hiccup, identity, igmp, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Relay, SOON, Sent, delivered, on_core, rule};
use crate::variant::{Variant, endpoint, matrix};

/// How long the daemon may take to end.
const STOP: Duration = Duration::from_secs(2);

/// Datagrams that wait in each worker's ring when the daemon is told to end: several batches.
const IN_FLIGHT: u64 = 1_000;

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    let suite =
        matrix(suite, "lifecycle::sigterm", &both, |variant| ends(variant, Signal::SIGTERM));
    let suite = matrix(suite, "lifecycle::sigint", &[Variant::usual()], |variant| {
        ends(variant, Signal::SIGINT)
    });
    let killed = a_killed_worker_is_replaced;
    matrix(suite, "lifecycle::a_killed_worker_is_replaced", &[Variant::usual()], killed)
}

/// A relay with one rule, and where its datagrams come from and go to.
fn relaying(variant: Variant) -> Result<(Relay, SocketAddr, SocketAddr)> {
    let relay = Relay::start(variant, RelayTopology::builder().build()?, &[])?;
    let input = SocketAddr::new(variant.family.group(1), 5000);
    let output = SocketAddr::new(variant.family.output_group(1), 6000);
    relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
    Ok((relay, input, output))
}

/// The daemon is told to end while frames wait in the rings.
fn ends(variant: Variant, signal: Signal) -> Result<()> {
    let (mut relay, input, output) = relaying(variant)?;
    let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
    ensure!(is_joined(&relay, input.ip())?, "the group is not joined");
    let workers = relay.workers()?.workers;
    // A client that says nothing holds nothing up.
    let _silent = relay.daemon.connect()?;
    // It must not take the workers, which stand still while their rings fill, for dead.
    relay.daemon.signal(Signal::SIGSTOP)?;
    let sent = fill_rings(&relay, &workers, input)?;
    let begun = Instant::now();
    relay.daemon.signal(signal)?;
    relay.daemon.signal(Signal::SIGCONT)?;
    relay.daemon.wait_for_log("ending", SOON)?;
    each(&workers, Signal::SIGCONT)?;
    let status = relay.daemon.wait_for_exit(SOON)?;
    let log = relay.daemon.log_lines().join("\n");
    hiccup::bound("the end", begun, STOP).with_context(|| log.clone())?;
    ensure!(status.code() == Some(0), "{status}:\n{log}");
    delivered(sink, sent).context("what had come in was not sent on")?;
    ensure!(!relay.daemon.control_path().exists(), "the socket file is still there");
    ensure!(!is_joined(&relay, input.ip())?, "the group was not left");
    let left: Vec<u32> = pids(&workers).filter(|pid| process(*pid).exists()).collect();
    ensure!(left.is_empty(), "workers are left: {left:?}");
    Ok(())
}

/// Has the workers stand still, and sends to each what then waits in its ring.
fn fill_rings(relay: &Relay, workers: &[WorkerStatus], group: SocketAddr) -> Result<Sent> {
    let tap = RawTap::open(&relay.net.relay, "in0")?;
    let generators = (0..).zip(&relay.cores).map(|(stream, &core)| {
        let generator = Generator::new(&relay.net.source, "src0").flow(stream, group);
        (core, stream, generator.rate(50_000).count(IN_FLIGHT))
    });
    each(workers, Signal::SIGSTOP)?;
    for (core, stream, generator) in generators {
        on_core(core, || generator.run())?;
        // Stream and sequence number of the last one.
        let last = payload(stream, IN_FLIGHT - 1, 24)[4..16].to_vec();
        let seen = tap.wait_for(SOON, |frame| frame.bytes.windows(12).any(|part| part == last));
        ensure!(seen.is_some(), "stream {stream} did not arrive");
    }
    Ok(Sent { streams: relay.cores.len() as u32, of_each: IN_FLIGHT })
}

fn is_joined(relay: &Relay, group: IpAddr) -> Result<bool> {
    igmp::is_member(&relay.net.relay, "in0", group)
}

fn pids(workers: &[WorkerStatus]) -> impl Iterator<Item = u32> {
    workers.iter().filter_map(|worker| worker.pid)
}

fn process(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// Signals every worker of this daemon.
fn each(workers: &[WorkerStatus], signal: Signal) -> Result<()> {
    pids(workers).try_for_each(|pid| {
        kill(Pid::from_raw(pid as i32), signal).with_context(|| format!("{signal} to {pid}"))
    })
}

fn a_killed_worker_is_replaced(variant: Variant) -> Result<()> {
    let (mut relay, input, output) = relaying(variant)?;
    let second = SocketAddr::new(variant.family.group(2), 5000);
    relay.add_active(&rule(second, "in0", &[endpoint(output, "out1")]))?;
    let rules: Rules = relay.daemon.ask(&Command::ListRules {})?;
    let before_kill = relay_once(&relay, input, output)?;
    let mut stats = relay.settled(before_kill)?;
    let workers = relay.workers()?.workers;
    each(&workers[..1], Signal::SIGKILL)?;
    wait::until("the killed worker is replaced", SOON, || {
        let now = identity::stats(&relay.daemon)?;
        never_less(&stats, &now)?;
        stats = now;
        let worker = &relay.workers()?.workers[0];
        Ok(worker.restarts == 1 && worker.in_sync && worker.state == WorkerState::Running)
    })
    .with_context(|| relay.daemon.log_lines().join("\n"))?;
    let now = relay.workers()?.workers;
    let rules_before: Vec<u64> = workers.iter().map(|worker| worker.rules).collect();
    let rules_now: Vec<u64> = now.iter().map(|worker| worker.rules).collect();
    ensure!(now[0].pid != workers[0].pid && rules_now == rules_before, "{now:?}");
    ensure!(now[0].last_exit.as_deref() == Some("killed by signal 9"), "{now:?}");
    ensure!((now[1].pid, now[1].restarts) == (workers[1].pid, 0), "{now:?}");
    let after_kill = relay_once(&relay, input, output)?;
    never_less(&stats, &relay.settled(before_kill + after_kill)?)?;
    ensure!(relay.daemon.ask::<Rules>(&Command::ListRules {})? == rules, "the rules changed");
    ensure!(relay.daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

/// Relays what each core sends; all of it arrives.
fn relay_once(relay: &Relay, input: SocketAddr, output: SocketAddr) -> Result<u64> {
    let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
    let sent = relay.send(input)?;
    delivered(sink, sent)?;
    Ok(sent.total())
}

/// Every counter of `after` is what it was in `before`, or more.
fn never_less(before: &Stats, after: &Stats) -> Result<()> {
    let counters = |stats: &Stats| -> Vec<u64> {
        let totals = &stats.totals;
        let mut all = vec![totals.received, totals.kernel_drops, totals.frames_read];
        all.extend([totals.bytes_read, totals.matched, totals.copies, totals.sent]);
        all.extend([totals.sent_bytes, totals.batches, totals.sends, totals.commands]);
        all.extend(totals.drops.values().chain(totals.errors.values()));
        for rule in &stats.rules {
            all.extend([rule.packets, rule.bytes]);
            all.extend(rule.outputs.iter().flat_map(|output| [output.sent, output.bytes]));
        }
        all
    };
    let (old, new) = (counters(before), counters(after));
    let grown = old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| old <= new);
    ensure!(grown, "a counter went back: {before:#?}\n{after:#?}");
    Ok(())
}
