//! From a new process to a running loop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use mcr_api::log::{Area, Level};
use mcr_api::worker::launch::{
    COMMANDS_DESCRIPTOR, Io, LEDGER_DESCRIPTOR, LOG_DESCRIPTOR, Mechanism as MechanismKind,
    Scheduling,
};
use mcr_core::ids::WorkerId;
use mcr_core::ledger::{self, Header};
use mcr_sys::SetupError;
use mcr_sys::ledger::LedgerWriter;
use mcr_sys::poll::Poll;
use mcr_sys::process;
use mcr_sys::uring::Uring;

use crate::commands::Commands;
use crate::counters::Counters;
use crate::data_plane::DataPlane;
use crate::limits;
use crate::log::{About, Log};
use crate::mechanism::Mechanism;
use crate::worker::{End, Worker};

/// What the supervisor tells a worker on its command line.
#[derive(Clone, Copy, Debug)]
pub struct Arguments {
    /// The worker's place.
    pub worker: WorkerId,
    /// The core to run on.
    pub core: usize,
    /// How to send and wait.
    pub io: Io,
    /// How to be scheduled.
    pub scheduling: Scheduling,
    /// How long to look for frames, after the last one, before waiting for them.
    pub busy_poll: Duration,
    /// The supervisor's process id: the worker ends with it.
    pub parent: u32,
}

/// Why a worker could not begin. All but the first has been logged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no pipe to log into.
    #[error("the log pipe: {0} (workers are started by mcrd, not by hand)")]
    NoLog(io::Error),
    /// An inherited descriptor is missing, or is not what it should be.
    #[error("{what}: {cause} (workers are started by mcrd, not by hand)")]
    Inherited {
        /// Which descriptor.
        what: &'static str,
        /// What is wrong with it.
        cause: io::Error,
    },
    /// The process could not be arranged as a worker.
    #[error("{0}")]
    Process(#[from] io::Error),
    /// A core or mechanism could not be had.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// Runs a worker until its supervisor ends it or is gone.
pub fn run(arguments: Arguments) -> Result<(), Error> {
    let pipe = process::adopt_descriptor(LOG_DESCRIPTOR).map_err(Error::NoLog)?;
    let log = Rc::new(Log::new(pipe, arguments.worker));
    work(arguments, Rc::clone(&log)).inspect_err(|error| {
        log.write(Level::Error, Area::Start, About::Worker, || error.to_string());
    })
}

fn work(arguments: Arguments, log: Rc<Log>) -> Result<(), Error> {
    // Ending is the supervisor's to say: a signal to the whole process group must not cut off
    // what is in flight.
    process::ignore_termination_signals()?;
    process::die_with_parent(arguments.parent)?;
    process::pin_to_core(arguments.core)?;
    if arguments.scheduling == Scheduling::Realtime {
        process::set_realtime_scheduling()?;
    }
    let commands = inherit(COMMANDS_DESCRIPTOR, "the command socket")?;
    let memory = inherit(LEDGER_DESCRIPTOR, "the ledger's memory")?;
    log.report_panics()?;
    #[cfg(feature = "faults")]
    crate::faults::at_start(arguments.worker);
    let ledger = LedgerWriter::map(memory.as_fd(), ledger::WORDS)
        .map_err(|cause| Error::Inherited { what: "the ledger's memory", cause })?;
    let begin = Begin {
        counters: Counters::new(ledger),
        commands: Commands::new(commands),
        log,
        busy_poll: arguments.busy_poll,
        rests: arguments.scheduling == Scheduling::Realtime,
    };
    match resolve(arguments.io, &begin.log)? {
        Some(uring) => begin.work(uring, MechanismKind::Uring),
        None => begin.work(Poll::new(), MechanismKind::Poll),
    };
    Ok(())
}

fn inherit(number: i32, what: &'static str) -> Result<OwnedFd, Error> {
    process::adopt_descriptor(number).map_err(|cause| Error::Inherited { what, cause })
}

/// io_uring, or `None` where `poll` is wanted or has to do.
fn resolve(io: Io, log: &Log) -> Result<Option<Uring>, Error> {
    match io {
        Io::Poll => Ok(None),
        Io::Uring => Ok(Some(Uring::new(limits::EGRESS_SOCKETS)?)),
        Io::Auto => Ok(Uring::new(limits::EGRESS_SOCKETS)
            .inspect_err(|error| {
                let message = || format!("{error}: using poll instead");
                log.write(Level::Warn, Area::Start, About::Worker, message);
            })
            .ok()),
    }
}

/// All that a worker begins with but its mechanism.
struct Begin {
    counters: Counters,
    commands: Commands,
    log: Rc<Log>,
    busy_poll: Duration,
    rests: bool,
}

impl Begin {
    fn work(self, mechanism: impl Mechanism, kind: MechanismKind) -> End {
        let Self { counters, commands, log, busy_poll, rests } = self;
        counters.header(Header::Mechanism, kind.code());
        counters.header(Header::Heartbeat, process::monotonic_ns());
        // Last: whoever finds the version finds all the rest.
        counters.header(Header::Version, ledger::VERSION);
        let plane = DataPlane::new(counters);
        Worker { mechanism, plane, commands, log, busy_poll, rests }.run()
    }
}
