//! The end of the supervisor, whether it is asked to or not, under load; and its log when nobody
//! reads it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, Rules, WorkerState};
use mcr_lab::daemon::Daemon;
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{hiccup, igmp, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Relay, SOON, delivered, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    let usual = [Variant::usual()];
    let suite = matrix(suite, "ending::sigterm_under_load", &usual, sigterm_under_load);
    let suite = matrix(suite, "ending::a_killed_supervisor", &both, a_killed_supervisor);
    let suite = suite.trial("ending::a_stopped_worker_ends_too", a_stopped_worker_ends_too);
    matrix(suite, "ending::a_log_that_nobody_reads", &usual, a_log_that_nobody_reads)
}

/// How long the daemon may take to end, and workers to follow a supervisor that was killed.
const END: Duration = Duration::from_secs(2);
const FOLLOW: Duration = Duration::from_secs(1);

/// Many more datagrams than any trial takes, at a rate that keeps every worker busy.
fn endless(relay: &Relay) -> Generator {
    relay.generator().rate(20_000).count(20_000 * 60)
}

fn worker_processes(relay: &Relay) -> Result<Vec<PathBuf>> {
    let workers = relay.workers()?.workers;
    let pids = workers.iter().filter_map(|worker| worker.pid);
    Ok(pids.map(|pid| PathBuf::from(format!("/proc/{pid}/status"))).collect())
}

/// Whether a process holds nothing any more. An orphan stays in the list until the machine's first
/// process takes note of its end.
fn has_ended(status: &Path) -> bool {
    let state = std::fs::read_to_string(status).unwrap_or_default();
    state.lines().find(|line| line.starts_with("State:")).is_none_or(|line| line.contains('Z'))
}

/// Datagrams flow, a thousand rules are held, one client is silent and one asks without end.
fn sigterm_under_load(variant: Variant) -> Result<()> {
    let mut relay = Relay::start(variant, RelayTopology::builder().build()?, &[])?;
    let group = |n: u16| SocketAddr::new(variant.family.group(n as u8), 5_000 + n / 200);
    let output = SocketAddr::new(variant.family.output_group(1), 6_000);
    for n in 0..1_000 {
        let outputs = [endpoint(output, "out0")];
        let input = SocketAddr::new(group(n % 200).ip(), 5_000 + n / 200);
        let added = relay.daemon.ask::<mcr_api::control::Added>(&Command::AddRule {
            rule: rule(input, "in0", &outputs),
        })?;
        ensure!(added.created, "{added:?}");
    }
    relay.wait_in_sync()?;
    let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
    let traffic = relay.start_sending(|| endless(&relay), group(1))?;
    let _silent = relay.daemon.connect()?;
    sink.wait_for(10_000, SOON)?;
    let processes = worker_processes(&relay)?;
    let begun = Instant::now();
    relay.daemon.signal(Signal::SIGTERM)?;
    let status = relay.daemon.wait_for_exit(SOON)?;
    hiccup::bound("the end", begun, END)?;
    ensure!(status.success(), "{status}");
    ensure!(processes.iter().all(|process| has_ended(process)), "a worker is left");
    ensure!(!igmp::is_member(&relay.net.relay, "in0", group(1).ip())?, "the group was not left");
    traffic.stop()?;
    let report = sink.finish()?;
    let once = (0..relay.cores.len() as u32).all(|stream| report.stream(stream).duplicated == 0);
    ensure!(once, "duplicates: {report:#?}");
    Ok(())
}

/// Killed, the supervisor cannot tell anybody: its workers end by themselves, the groups are left,
/// and the next daemon takes over where the last one's socket file still lies, with what its file
/// says, while datagrams come all the time. None is relayed twice.
fn a_killed_supervisor(variant: Variant) -> Result<()> {
    let input = SocketAddr::new(variant.family.group(1), 5_000);
    let output = SocketAddr::new(variant.family.output_group(1), 6_000);
    let directory = tempfile::TempDir::new()?;
    let config = directory.path().join("mcr.toml");
    let [from, to] = [endpoint(input, "in0"), endpoint(output, "out0")];
    std::fs::write(&config, format!("[[rule]]\ninput = \"{from}\"\noutputs = [\"{to}\"]\n"))?;
    let config = config.to_str().context("temporary paths are text")?;
    let net = RelayTopology::builder().build()?;
    let mut relay = Relay::start(variant, net, &["--config", config])?;
    let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
    let traffic = relay.start_sending(|| endless(&relay), input)?;
    sink.wait_for(1_000, SOON)?;
    let processes = worker_processes(&relay)?;
    let begun = Instant::now();
    relay.daemon.signal(Signal::SIGKILL)?;
    relay.daemon.wait_for_exit(SOON)?;
    println!("supervisor gone after {:?}", begun.elapsed());
    wait::until("every worker has ended", SOON, || {
        Ok(processes.iter().all(|process| has_ended(process)))
    })?;
    let workers_ended = begun.elapsed();
    let is_joined = |group: IpAddr| igmp::is_member(&relay.net.relay, "in0", group);
    wait::until("the group is left", SOON, || Ok(!is_joined(input.ip())?))?;
    let took = hiccup::bound("the end after the supervisor", begun, FOLLOW)?;
    println!("workers gone {workers_ended:?} after their supervisor, groups {took:?}");
    let before = sink.received();
    // The trial's own path: a socket that nobody listens to lies there.
    let path = relay.daemon.control_path().to_owned();
    ensure!(path.exists(), "the socket file is gone, and there is nothing to take over");
    let cores: Vec<String> = relay.cores.iter().map(ToString::to_string).collect();
    let steering = variant.steering.to_string();
    let arguments = ["--cores", &cores.join(","), "--config", config, "--steering", &steering];
    let mut second = Daemon::start_at(&relay.net.relay, &path, &arguments)?;
    sink.wait_for(before + 1_000, SOON)?;
    let rules: Rules = second.ask(&Command::ListRules {})?;
    ensure!(rules.rules.len() == 1, "{rules:?}");
    traffic.stop()?;
    ensure!(second.terminate()?.success(), "the second daemon's end");
    let report = sink.finish()?;
    let once = (0..relay.cores.len() as u32).all(|stream| report.stream(stream).duplicated == 0);
    ensure!(once, "duplicates: {report:#?}");
    Ok(())
}

/// Workers that stand still do not see that the supervisor was killed: the kernel ends them.
fn a_stopped_worker_ends_too() -> Result<()> {
    let net = RelayTopology::builder().build()?;
    let mut relay = Relay::start(Variant::usual(), net, &[])?;
    for worker in relay.workers()?.workers {
        let pid = worker.pid.context("a worker has no process")?;
        kill(Pid::from_raw(pid as i32), Signal::SIGSTOP)?;
    }
    let processes = worker_processes(&relay)?;
    let begun = Instant::now();
    relay.daemon.signal(Signal::SIGKILL)?;
    relay.daemon.wait_for_exit(SOON)?;
    wait::until("every worker has ended", SOON, || {
        Ok(processes.iter().all(|process| has_ended(process)))
    })?;
    hiccup::bound("the end after the supervisor", begun, FOLLOW).map(drop)
}

/// Lines that fill a pipe of 64 KiB several times over.
const NOISE: u32 = 3_000;

/// The reader of the daemon's log stands still, its pipe is full: rules are still added, workers
/// still replaced, datagrams still relayed; and when it reads on, it is told what is missing.
fn a_log_that_nobody_reads(variant: Variant) -> Result<()> {
    let relay = Relay::start(variant, RelayTopology::builder().build()?, &[])?;
    let input = SocketAddr::new(variant.family.group(1), 5_000);
    let output = SocketAddr::new(variant.family.output_group(1), 6_000);
    let made = rule(input, "in0", &[endpoint(output, "out0")]);
    // It keeps the interface's rings open, so that the lines come fast.
    let beside = SocketAddr::new(variant.family.group(2), 5_000);
    relay.add_active(&rule(beside, "in0", &[endpoint(output, "out0")]))?;
    let held = relay.daemon.hold_log();
    for _ in 0..NOISE / 2 {
        let added: mcr_api::control::Added =
            relay.daemon.ask(&Command::AddRule { rule: made.clone() })?;
        let rule = mcr_api::control::RuleReference::Id(added.rule);
        let _: mcr_api::control::Removed = relay.daemon.ask(&Command::RemoveRule { rule })?;
    }
    relay.add_active(&made)?;
    let workers = relay.workers()?.workers;
    let pid = workers[0].pid.context("the worker runs")?;
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
    wait::until("the worker is replaced", SOON, || {
        let worker = &relay.workers()?.workers[0];
        Ok(worker.restarts == 1 && worker.in_sync && worker.state == WorkerState::Running)
    })?;
    let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
    let sent = relay.send(input)?;
    delivered(sink, sent)?;
    drop(held);
    relay.daemon.wait_for_log("lines of this log were not printed", SOON)?;
    relay.stop().map(drop)
}
