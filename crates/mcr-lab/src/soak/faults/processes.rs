//! Faults of the relay's processes.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mcr_sys::process::monotonic_ns;
use nix::sys::signal::Signal;

use super::{Outcome, Scene, Span};
use crate::soak::relay::{signal, wait_for_end};
use crate::soak::schedule::Fault;
use crate::soak::window::Concern;
use crate::{limits, wait};

/// SIGKILL: seen at once.
pub(super) fn kill_worker(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
    lose_worker(scene, fault, outcome, Signal::SIGKILL)
}

/// SIGSTOP: seen when its heartbeat is too old.
pub(super) fn stop_worker(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
    lose_worker(scene, fault, outcome, Signal::SIGSTOP)
}

fn lose_worker(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome, how: Signal) -> Result<()> {
    let mut worker = scene.relay.worker(fault.worker)?;
    wait::until("the worker has a process", limits::soak::RECOVERY, || {
        worker = scene.relay.worker(fault.worker)?;
        Ok(worker.pid.is_some())
    })?;
    let pid = worker.pid.context("it has been waited for")?;
    let begin_ns = monotonic_ns();
    signal(pid, how)?;
    let span = Span::of_replacement(begin_ns, &worker, how == Signal::SIGSTOP);
    outcome.announce(fault, Concern::Worker(fault.worker), span);
    scene.deaths += 1;
    wait::until("another process takes the worker's place", limits::soak::RECOVERY, || {
        Ok(scene.relay.worker(fault.worker)?.pid.is_some_and(|now| now != pid))
    })
}

/// SIGKILL: its workers end with it, and another can begin at once.
pub(super) fn kill_supervisor(
    scene: &mut Scene,
    fault: &Fault,
    outcome: &mut Outcome,
) -> Result<()> {
    let pids = scene.relay.pids()?;
    let begin_ns = monotonic_ns();
    scene.relay.daemon.signal(Signal::SIGKILL)?;
    scene.relay.daemon.wait_for_exit(limits::DAEMON_STOP)?;
    let orphans = wait_for_end(&pids, limits::soak::ORPHANS);
    if let Err(error) = orphans {
        outcome.findings.push(format!("{fault}: {error:#}"));
    }
    begin_again(scene, fault, outcome, begin_ns)
}

/// SIGTERM under load.
pub(super) fn end_supervisor(
    scene: &mut Scene,
    fault: &Fault,
    outcome: &mut Outcome,
) -> Result<()> {
    let pids = scene.relay.pids()?;
    let (begin_ns, begun) = (monotonic_ns(), Instant::now());
    let status = scene.relay.daemon.terminate()?;
    let took = begun.elapsed();
    if !status.success() || took > limits::soak::STOP {
        outcome.findings.push(format!("{fault}: it ended with {status} after {took:?}"));
    }
    wait_for_end(&pids, limits::soak::ORPHANS).context("after the daemon's own end")?;
    begin_again(scene, fault, outcome, begin_ns)
}

fn begin_again(
    scene: &mut Scene,
    fault: &Fault,
    outcome: &mut Outcome,
    begin_ns: u64,
) -> Result<()> {
    scene.relay.start_again()?;
    scene.deaths = 0;
    let span = Span::until_now(begin_ns, limits::soak::START);
    outcome.announce(fault, Concern::Everybody, span);
    Ok(())
}

/// SIGHUP: one more rule, then a file that is none, then the first file again. Nobody may notice.
pub(super) fn reload(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
    let path = scene.relay.configuration();
    let text = fs::read_to_string(&path)?;
    let before = scene.relay.rules()?;
    let more = "[[rule]]\nname = \"reloaded\"\ninput = \"239.8.0.1:8000@in0\"\n\
                outputs = [\"239.8.1.1:8000@out0\"]\n";
    fs::write(&path, format!("{text}{more}"))?;
    scene.relay.daemon.signal(Signal::SIGHUP)?;
    let count = before.len();
    wait::until("the added rule is there", limits::soak::RECOVERY, || {
        Ok(scene.relay.rules()?.len() == count + 1)
    })?;
    let with_more = scene.relay.rules()?;
    fs::write(&path, format!("{text}this is no TOML"))?;
    let lines = scene.relay.daemon.log_lines().len();
    scene.relay.daemon.signal(Signal::SIGHUP)?;
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    wait::until("the daemon says what is wrong with the file", limits::soak::RECOVERY, || {
        Ok(scene.relay.daemon.log_lines()[lines..].iter().any(|line| line.contains(file)))
    })?;
    if scene.relay.rules()? != with_more {
        outcome.findings.push(format!("{fault}: a bad file changed the rules"));
    }
    fs::write(&path, text)?;
    scene.relay.daemon.signal(Signal::SIGHUP)?;
    wait::until("the added rule is gone", limits::soak::RECOVERY, || {
        Ok(scene.relay.rules()?.len() == count)
    })?;
    ensure!(scene.relay.rules()? == before, "the first file led to other rules");
    Ok(())
}
