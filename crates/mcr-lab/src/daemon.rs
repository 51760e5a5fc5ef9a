//! Runs the real daemon in a namespace, watches its log and speaks to it.

mod log;
mod unprivileged;

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mcr_api::control::{self, Request, Response};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::{limits, program, wait};
pub use log::HeldLog;
use log::Log;
pub use unprivileged::Grant;

/// What orders faults (`mcr_worker::faults`), in the daemon's working directory.
const FAULTS: &str = "faults";
/// Its bytes, all written at once.
const FAULTS_BYTES: usize = 256;

/// A running `mcrd` with a control socket in a directory of its own. Dropped: killed.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Log,
    control_path: PathBuf,
    // Removed when the daemon is dropped; `None` where the path is the test's own.
    directory: Option<TempDir>,
}

impl Daemon {
    /// Starts the daemon with `arguments` beside `--control`, and waits until it is ready.
    pub fn start(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        Self::start_within(namespace, arguments, limits::DAEMON_READY)
    }

    /// Like [`Daemon::start`], for a daemon that may take so long until it is ready.
    pub fn start_within(
        namespace: &Namespace,
        arguments: &[&str],
        ready: Duration,
    ) -> Result<Self> {
        Self::start_build(&program::mcrd()?, namespace, arguments, ready)
    }

    /// Like [`Daemon::start_within`], of another build of the daemon.
    pub fn start_build(
        program: &Path,
        namespace: &Namespace,
        arguments: &[&str],
        ready: Duration,
    ) -> Result<Self> {
        let directory = TempDir::with_prefix("mcr-lab-")?;
        let control_path = directory.path().join("control.sock");
        let command = Command::new(program);
        let mut daemon = Self::spawn(command, namespace, &control_path, arguments)?;
        daemon.directory = Some(directory);
        daemon.wait_until_ready(ready)?;
        Ok(daemon)
    }

    /// Like [`Daemon::start`], with these variables in its environment.
    pub fn start_in_environment(
        namespace: &Namespace,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let directory = TempDir::with_prefix("mcr-lab-")?;
        let mut command = Command::new(program::mcrd()?);
        command.envs(environment.iter().copied());
        let control_path = directory.path().join("control.sock");
        let mut daemon = Self::spawn(command, namespace, &control_path, arguments)?;
        daemon.directory = Some(directory);
        daemon.wait_until_ready(limits::DAEMON_READY)?;
        Ok(daemon)
    }

    /// Like [`Daemon::start`], with a control path of the test's choice.
    pub fn start_at(
        namespace: &Namespace,
        control_path: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let command = Command::new(program::mcrd()?);
        let mut daemon = Self::spawn(command, namespace, control_path, arguments)?;
        daemon.wait_until_ready(limits::DAEMON_READY)?;
        Ok(daemon)
    }

    /// Like [`Daemon::start`], of the build whose workers fail as [`Daemon::order_faults`] says.
    pub fn start_fallible(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        let directory = TempDir::with_prefix("mcr-lab-")?;
        let control_path = directory.path().join("control.sock");
        fs::write(directory.path().join(FAULTS), [b' '; FAULTS_BYTES])?;
        let mut command = Command::new(program::mcrd_faults()?);
        command.current_dir(directory.path());
        let mut daemon = Self::spawn(command, namespace, &control_path, arguments)?;
        daemon.directory = Some(directory);
        daemon.wait_until_ready(limits::DAEMON_READY)?;
        Ok(daemon)
    }

    /// Has workers fail from now on: a line for each, such as `0 drop 3`; none ends it. What can be
    /// ordered stands in `faults.rs` of mcr-worker.
    ///
    /// # Errors
    /// For a daemon that was not started by [`Daemon::start_fallible`].
    pub fn order_faults(&self, faults: &str) -> Result<()> {
        let directory = self.directory.as_ref().context("a daemon of the product's build")?.path();
        let file = fs::OpenOptions::new().write(true).open(directory.join(FAULTS))?;
        // In one step and in place: a worker has it open and may read it at any moment.
        let lines = format!("{faults}\n");
        ensure!(lines.len() <= FAULTS_BYTES, "{} bytes of faults", lines.len());
        Ok(file.write_all_at(format!("{lines:<FAULTS_BYTES$}").as_bytes(), 0)?)
    }

    fn spawn(
        command: Command,
        namespace: &Namespace,
        control_path: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        Self::spawn_by(command, |command| namespace.spawn(command), control_path, arguments)
    }

    fn spawn_by(
        mut command: Command,
        launch: impl FnOnce(Command) -> io::Result<Child>,
        control_path: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        command.arg("--control").arg(control_path).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = launch(command).context("starting mcrd")?;
        let log = Log::follow(child.stderr.take().context("mcrd's standard error is piped")?)?;
        let control_path = control_path.to_owned();
        Ok(Self { child, log, control_path, directory: None })
    }

    /// Process id of the supervisor.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Path of the control socket.
    pub fn control_path(&self) -> &Path {
        &self.control_path
    }

    /// Does not read the daemon's log until the answer is dropped.
    #[must_use]
    pub fn hold_log(&self) -> HeldLog<'_> {
        self.log.hold()
    }

    /// The lines logged so far.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Whether a line logged so far contains `text`.
    pub fn log_contains(&self, text: &str) -> bool {
        self.log.contains(text)
    }

    /// Waits until a logged line contains `text`.
    pub fn wait_for_log(&self, text: &str, timeout: Duration) -> Result<()> {
        ensure!(self.log.wait_for(text, timeout), "no \"{text}\" in the log:\n{}", self.log);
        Ok(())
    }

    /// Opens a connection to the control socket, for a test that misbehaves on it.
    pub fn connect(&self) -> Result<UnixStream> {
        let stream = UnixStream::connect(&self.control_path)
            .with_context(|| format!("connecting to {}", self.control_path.display()))?;
        stream.set_read_timeout(Some(limits::CONTROL_ANSWER))?;
        stream.set_write_timeout(Some(limits::CONTROL_ANSWER))?;
        Ok(stream)
    }

    /// Sends one request, a JSON object, and returns the answer, `ok` or `error`.
    pub fn control(&self, request: &str) -> Result<Value> {
        let mut stream = self.connect()?;
        // One line per request: a request written over several lines becomes one.
        let request: Value = serde_json::from_str(request).context("the request is not JSON")?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).context("reading the answer")?;
        serde_json::from_str(&answer).with_context(|| format!("the answer {answer:?}"))
    }

    /// Sends a command and returns its answer; what the daemon refuses is an error.
    pub fn ask<A: DeserializeOwned>(&self, command: &control::Command) -> Result<A> {
        let request = Request { id: 1, command: command.clone() };
        let answer = self.control(&serde_json::to_string(&request)?)?;
        let response: Response<A> = serde_json::from_value(answer)?;
        Ok(response.result?)
    }

    /// Runs `mcrctl` against this daemon.
    pub fn mcrctl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(program::mcrctl()?);
        command.arg("--control").arg(&self.control_path).args(arguments);
        command.stdin(Stdio::null()).output().context("running mcrctl")
    }

    /// Asks the daemon to stop (SIGTERM) and waits until it has.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_for_exit(limits::DAEMON_STOP)
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), signal).context("signalling mcrd")
    }

    /// Waits until the daemon has ended.
    pub fn wait_for_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let mut status = None;
        wait::until("mcrd ends", timeout, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })
        .with_context(|| format!("its log:\n{}", self.log))?;
        status.context("the wait ends with a status")
    }

    fn wait_until_ready(&mut self, deadline: Duration) -> Result<()> {
        if self.log.wait_for("ready", deadline) {
            return Ok(());
        }
        match self.child.try_wait()? {
            Some(status) => bail!("mcrd ended with {status}; its log:\n{}", self.log),
            None => bail!("mcrd is not ready within {deadline:?}; its log:\n{}", self.log),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // By its own id, and only while it has not been waited for; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
