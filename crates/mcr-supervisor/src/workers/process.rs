//! One worker process: how it is started, spoken to, listened to and ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use mcr_api::worker::launch::{
    COMMANDS_DESCRIPTOR, Io, LEDGER_DESCRIPTOR, LOG_DESCRIPTOR, SIGHTINGS_DESCRIPTOR, Sandbox,
    Scheduling,
};
use mcr_core::circle;
use mcr_core::ids::WorkerId;
use mcr_core::ledger::{self, Header, VERSION, WORDS, header};
use mcr_core::route::Position;
use mcr_sys::activity::{Activity, ActivityWatch};
use mcr_sys::ledger::{LedgerMemory, LedgerReader};
use mcr_sys::sandbox::User;
use mcr_sys::{process, seqpacket};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

use super::worker::Link;
use crate::event::Event;
use crate::settings::Settings;
use crate::{limits, log, privileged, readiness};

/// The running program, also when its file has been replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Starts workers.
#[derive(Debug)]
pub(crate) struct Launcher {
    io: Io,
    scheduling: Scheduling,
    busy_poll_us: u32,
    sandbox: Sandbox,
    user: User,
    events: mpsc::Sender<Event>,
    launched: u64,
    /// The datagrams that all workers saw lately, for as long as the daemon runs.
    sightings: Option<OwnedFd>,
}

/// A process that was started and has not been seen to end.
#[derive(Debug)]
pub(crate) struct Process {
    /// Tells it from the same worker's earlier processes.
    pub(crate) incarnation: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) ledger: Arc<LedgerReader>,
    pub(crate) started: Instant,
    activity: Option<ActivityWatch>,
    worker: WorkerId,
    commands: Arc<AsyncFd<OwnedFd>>,
    kill: Option<oneshot::Sender<()>>,
    events: mpsc::Sender<Event>,
}

impl Launcher {
    pub(crate) fn new(settings: &Settings, user: User, events: mpsc::Sender<Event>) -> Self {
        let Settings { io, scheduling, busy_poll_us, sandbox, .. } = *settings;
        Self { io, scheduling, busy_poll_us, sandbox, user, events, launched: 0, sightings: None }
    }

    /// Starts a worker. Its end comes as [`Event::WorkerExited`].
    ///
    /// To be called on the daemon's first thread: the kernel ends workers with the thread that
    /// started them.
    pub(crate) fn launch(&mut self, worker: WorkerId, core: usize) -> io::Result<Process> {
        let (ours, theirs) = seqpacket::pair()?;
        let memory = LedgerMemory::create(&format!("mcr-ledger-{worker}"), WORDS)?;
        let ledger = Arc::new(LedgerReader::map(memory.as_fd(), WORDS)?);
        let (log_reader, log_writer) = io::pipe()?;
        process::set_nonblocking(&log_writer)?;
        let inherited = [
            (theirs, COMMANDS_DESCRIPTOR),
            (memory, LEDGER_DESCRIPTOR),
            (log_writer.into(), LOG_DESCRIPTOR),
            (self.sightings()?, SIGHTINGS_DESCRIPTOR),
        ];
        let mut command = self.command(worker, core, inherited)?;
        let child = privileged::spawn(&mut command, self.scheduling, self.sandbox)?;
        let activity = child.id().map(privileged::watch_activity).transpose();
        let activity = activity.unwrap_or_else(|error| {
            debug!(
                worker = worker.0,
                "worker {worker}: whether it has its core cannot be seen: {error}"
            );
            None
        });
        let log_reader = pipe::Receiver::from_owned_fd(log_reader.into())?;
        let last_words = tokio::spawn(log::relay(worker, log_reader));
        self.launched += 1;
        let (kill, killed) = oneshot::channel();
        let process = Process {
            incarnation: self.launched,
            pid: child.id(),
            ledger,
            started: Instant::now(),
            activity,
            worker,
            commands: Arc::new(readiness::watch(ours)?),
            kill: Some(kill),
            events: self.events.clone(),
        };
        let exited = watch(child, killed);
        let (events, incarnation) = (self.events.clone(), process.incarnation);
        tokio::spawn(async move {
            let how = exited.await;
            // Why it ended stands in the log before that it did, and also where we end with it.
            _ = timeout(limits::LAST_WORDS, last_words).await;
            // Without a supervisor there is nobody to be told.
            _ = events.send(Event::WorkerExited { worker, incarnation, how }).await;
        });
        Ok(process)
    }

    fn sightings(&mut self) -> io::Result<OwnedFd> {
        let memory = match self.sightings.take() {
            Some(memory) => memory,
            None => LedgerMemory::create("mcr-sightings", circle::WORDS)?,
        };
        self.sightings.insert(memory).try_clone()
    }

    fn command(
        &self,
        worker: WorkerId,
        core: usize,
        inherited: [(OwnedFd, i32); 4],
    ) -> io::Result<Command> {
        let mut command = std::process::Command::new(OWN_PROGRAM);
        command.arg("worker");
        command.args(["--worker", &worker.to_string(), "--core", &core.to_string()]);
        command.args(["--io", &self.io.to_string()]);
        command.args(["--scheduling", &self.scheduling.to_string()]);
        command.args(["--busy-poll-us", &self.busy_poll_us.to_string()]);
        command.args(["--parent", &std::process::id().to_string()]);
        command.args(["--sandbox", &self.sandbox.to_string()]);
        let User { uid, gid } = self.user;
        command.args(["--uid", &uid.to_string(), "--gid", &gid.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // The service manager listens to the supervisor alone.
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        let mapping = |(parent_fd, child_fd)| FdMapping { parent_fd, child_fd };
        command
            .fd_mappings(inherited.into_iter().map(mapping).collect())
            .map_err(io::Error::other)?;
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        Ok(command)
    }
}

impl Process {
    /// Microseconds of the longest turn that its loop has taken.
    pub(crate) fn longest_turn_us(&self) -> u64 {
        self.ledger.load(header(Header::LongestTurn)) / 1_000
    }
}

/// Waits for the end of a child, and brings it about when asked to.
async fn watch(mut child: Child, killed: oneshot::Receiver<()>) -> String {
    let status = tokio::select! {
        status = child.wait() => status,
        Ok(()) = killed => {
            // It fails only where the process has ended by itself.
            _ = child.start_kill();
            child.wait().await
        }
    };
    status.map_or_else(|error| error.to_string(), describe)
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

/// How long before `now`, which was read later, a loop turned; `None` where it does not say. Both
/// are of this host's one monotonic clock, so what lies ahead is not when it turned: taken for now,
/// it would make a loop look alive that stands still for ever.
fn heartbeat_age(then: u64, now: u64) -> Option<Duration> {
    let ahead = Duration::from_nanos(then.saturating_sub(now));
    let says_when = then > 0 && ahead <= limits::TICK;
    says_when.then(|| Duration::from_nanos(now.saturating_sub(then)))
}

impl Link for Process {
    fn is_up(&self) -> bool {
        self.ledger.load_acquire(header(Header::Version)) == VERSION
    }

    fn position(&self) -> Position {
        ledger::position(|word| self.ledger.load_acquire(word))
    }

    fn log_levels(&self) -> u64 {
        self.ledger.load(header(Header::LogLevels))
    }

    fn heartbeat_age(&self) -> Option<Duration> {
        let then = self.ledger.load(header(Header::Heartbeat));
        heartbeat_age(then, process::monotonic_ns())
    }

    fn age(&self) -> Duration {
        self.started.elapsed()
    }

    fn activity(&self) -> Option<Activity> {
        self.activity.as_ref()?.look().ok()
    }

    fn send(&self, message: &[u8], descriptor: Option<BorrowedFd>) -> io::Result<()> {
        seqpacket::send(self.commands.get_ref().as_fd(), message, descriptor.as_slice())
    }

    fn notify_writable(&self) {
        let (commands, events) = (Arc::clone(&self.commands), self.events.clone());
        let (worker, incarnation) = (self.worker, self.incarnation);
        tokio::spawn(async move {
            if let Ok(mut ready) = commands.writable().await {
                // This may be the memory of earlier room. Then the next send is refused again, and
                // the next wait is for room that comes after that.
                ready.clear_ready();
            }
            _ = events.send(Event::WorkerWritable { worker, incarnation }).await;
        });
    }

    fn notify_later(&self) {
        let events = self.events.clone();
        let (worker, incarnation) = (self.worker, self.incarnation);
        tokio::spawn(async move {
            _ = events.send(Event::WorkerWritable { worker, incarnation }).await;
        });
    }

    fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            // The receiver is gone only where the process has ended.
            _ = kill.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_that_is_still_to_come_is_no_sign_of_life() {
        let now = 10_000_000_000;
        let tick = limits::TICK.as_nanos() as u64;
        assert_eq!(heartbeat_age(now - 3_000_000, now), Some(Duration::from_millis(3)));
        assert_eq!(heartbeat_age(now + tick, now), Some(Duration::ZERO));
        for then in [0, now + tick + 1, u64::MAX] {
            assert_eq!(heartbeat_age(then, now), None, "{then}");
        }
    }
}
