//! What the service manager is told, by a socket in its place.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mcr_api::control::{Command, WorkerState, WorkerStatus, Workers};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::fixture::SOON;

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite
        .trial("service_manager::is_told_of_every_turn", is_told_of_every_turn)
        .trial("service_manager::a_dead_relay_does_not_feed_the_watchdog", a_dead_relay_is_silent)
}

/// A sign of life is wanted twice as often; at this interval each tick gives one.
const WATCHDOG: Duration = Duration::from_millis(400);

/// The listener, and the daemon that tells it.
struct Told {
    socket: UnixDatagram,
    daemon: Daemon,
    _directory: TempDir,
}

impl Told {
    fn start() -> Result<Self> {
        let directory = TempDir::new()?;
        let path = directory.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path)?;
        let path = path.to_str().context("temporary paths are text")?;
        let interval = WATCHDOG.as_micros().to_string();
        let environment = [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", &*interval)];
        let namespace = Namespace::new("relay")?;
        let arguments = ["--cores", "0"];
        let daemon = Daemon::start_in_environment(&namespace, &arguments, &environment)?;
        Ok(Self { socket, daemon, _directory: directory })
    }

    /// The next message; `None` where none comes in that time.
    fn next(&self, within: Duration) -> Result<Option<String>> {
        let mut message = [0; 1024];
        self.socket.set_read_timeout(Some(within.max(Duration::from_millis(1))))?;
        match self.socket.recv(&mut message) {
            Ok(length) => Ok(Some(String::from_utf8_lossy(&message[..length]).trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The next message that begins so; those before it are passed over.
    fn wait_for(&self, beginning: &str) -> Result<String> {
        let deadline = Instant::now() + SOON;
        while let Some(message) = self.next(deadline.saturating_duration_since(Instant::now()))? {
            if message.starts_with(beginning) {
                return Ok(message);
            }
        }
        bail!("no {beginning}; mcrd's log: {:#?}", self.daemon.log_lines())
    }

    fn worker(&self) -> Result<WorkerStatus> {
        let workers: Workers = self.daemon.ask(&Command::ListWorkers {})?;
        workers.workers.into_iter().next().context("a worker")
    }
}

fn is_told_of_every_turn() -> Result<()> {
    let mut told = Told::start()?;
    ensure!(told.wait_for("READY=")? == "READY=1");
    let status = "STATUS=1 of 1 workers relay; 0 of 0 rules are active";
    ensure!(told.wait_for("STATUS=")? == status);
    told.daemon.mcrctl(&["add", "239.1.1.1:5000@lo", "--to", "127.0.0.1:7000@lo"])?;
    told.daemon.mcrctl(&["add", "239.1.1.1:5000@absent", "--to", "127.0.0.1:7000@lo"])?;
    told.wait_for("STATUS=1 of 1 workers relay; 1 of 2 rules are active")?;
    told.wait_for("WATCHDOG=1")?;
    // The service manager wants to hear of nobody else.
    let pid = told.worker()?.pid.context("the worker runs")?;
    let environment = fs::read(format!("/proc/{pid}/environ"))?;
    let environment = String::from_utf8_lossy(&environment);
    ensure!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"));
    told.daemon.signal(Signal::SIGHUP)?;
    let reloading = told.wait_for("RELOADING=1")?;
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let since: u128 = since.context(reloading.clone())?.parse()?;
    let now = u128::from(mcr_sys::process::monotonic_ns()) / 1_000;
    ensure!((now - SOON.as_micros()..=now).contains(&since), "{since} before {now}");
    told.wait_for("READY=1")?;
    told.daemon.signal(Signal::SIGTERM)?;
    told.wait_for("STOPPING=1")?;
    ensure!(told.daemon.wait_for_exit(SOON)?.success(), "the daemon's end");
    Ok(())
}

/// The only worker dies so often that the next start is held back: the supervisor runs, and still
/// the watchdog hears nothing until a worker relays again.
fn a_dead_relay_is_silent() -> Result<()> {
    let mut told = Told::start()?;
    told.wait_for("WATCHDOG=1")?;
    // The waits before a start: none, then 100, 200, 400, 800 and 1,600 ms.
    for death in 1..=6 {
        wait::until("the worker relays", SOON, || {
            let worker = told.worker()?;
            Ok(worker.state == WorkerState::Running && worker.restarts == death - 1)
        })?;
        let pid = told.worker()?.pid.context("the worker runs")?;
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
    }
    wait::until("the next start is held back", SOON, || {
        Ok(told.worker()?.state == WorkerState::BackingOff)
    })?;
    while told.next(Duration::ZERO)?.is_some() {}
    let silence = Instant::now() + 2 * WATCHDOG;
    while let Some(message) = told.next(silence.saturating_duration_since(Instant::now()))? {
        ensure!(!message.contains("WATCHDOG"), "fed without a worker");
    }
    ensure!(told.worker()?.state == WorkerState::BackingOff, "it was not held back long enough");
    told.wait_for("WATCHDOG=1")?;
    ensure!(told.worker()?.state == WorkerState::Running, "fed before a worker relayed");
    ensure!(told.daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}
