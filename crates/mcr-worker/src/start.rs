//! From a new process to a running loop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use mcr_api::log::{Area, Level};
use mcr_api::worker::launch::{
    COMMANDS_DESCRIPTOR, Io, LEDGER_DESCRIPTOR, LOG_DESCRIPTOR, Mechanism as MechanismKind,
    SIGHTINGS_DESCRIPTOR, Sandbox, Scheduling,
};
use mcr_api::worker::{Confinement, Lack};
use mcr_core::circle;
use mcr_core::ids::WorkerId;
use mcr_core::ledger::{self, Header};
use mcr_sys::SetupError;
use mcr_sys::ledger::LedgerWriter;
use mcr_sys::poll::Poll;
use mcr_sys::process;
use mcr_sys::sandbox::{self, Calls, Lacks, Sends, User};
use mcr_sys::uring::Uring;

use crate::circles::Circles;
use crate::commands::Commands;
use crate::counters::Counters;
use crate::data_plane::DataPlane;
use crate::limits;
use crate::log::{About, Log};
use crate::mechanism::Mechanism;
use crate::worker::{End, Worker};

/// The supervisor's arguments to a worker on its command line.
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
    /// Whether to give up what relaying does not need.
    pub sandbox: Sandbox,
    /// The user of the process from then on.
    pub user: User,
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
        /// The descriptor.
        what: &'static str,
        /// The cause.
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
    let ledger = map(LEDGER_DESCRIPTOR, ledger::WORDS, "the ledger's memory")?;
    let sightings = map(SIGHTINGS_DESCRIPTOR, circle::WORDS, "the memory of sightings")?;
    process::close_inherited_from(SIGHTINGS_DESCRIPTOR + 1)?;
    log.report_panics();
    #[cfg(feature = "faults")]
    crate::faults::at_start(arguments.worker);
    let (counters, commands) = (Counters::new(ledger), Commands::new(commands));
    let circles = Circles::new(sightings);
    let begin = Begin { arguments, counters, circles, commands, log };
    match resolve(arguments.io, &begin.log)? {
        Some(uring) => begin.work(uring, MechanismKind::Uring),
        None => begin.work(Poll::new(), MechanismKind::Poll),
    }?;
    Ok(())
}

/// The descriptor is not needed once the memory is mapped.
fn map(descriptor: i32, words: usize, what: &'static str) -> Result<LedgerWriter, Error> {
    let memory = inherit(descriptor, what)?;
    LedgerWriter::map(memory.as_fd(), words).map_err(|cause| Error::Inherited { what, cause })
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

/// Gives up all that this worker has no use for from now on, and says what could not be.
fn confine(arguments: &Arguments, kind: MechanismKind) -> Result<Confinement, SetupError> {
    let Arguments { sandbox, user, parent, .. } = *arguments;
    if sandbox == Sandbox::Off {
        return Ok(Confinement { sandbox, lacks: Vec::new() });
    }
    let calls = Calls {
        sends: match kind {
            MechanismKind::Uring => Sends::Uring,
            MechanismKind::Poll => Sends::Sendmmsg,
        },
        rests: arguments.scheduling == Scheduling::Realtime,
        commands: COMMANDS_DESCRIPTOR,
        log: LOG_DESCRIPTOR,
        #[cfg(feature = "faults")]
        faults: crate::faults::descriptor(),
    };
    let descriptors = limits::DESCRIPTORS;
    let lacks = sandbox::confine(&sandbox::Confinement { user, descriptors, parent, calls })?;
    let Lacks { own_user, bounding_set, landlock } = lacks;
    let lacks = [
        own_user.then_some(Lack::OwnUser),
        bounding_set.then_some(Lack::BoundingSet),
        landlock.then_some(Lack::Landlock),
    ];
    Ok(Confinement { sandbox, lacks: lacks.into_iter().flatten().collect() })
}

/// All that a worker begins with but its mechanism.
struct Begin {
    arguments: Arguments,
    counters: Counters,
    circles: Circles,
    commands: Commands,
    log: Rc<Log>,
}

impl Begin {
    fn work(self, mechanism: impl Mechanism, kind: MechanismKind) -> Result<End, SetupError> {
        let Self { arguments, counters, circles, commands, log } = self;
        let confinement = confine(&arguments, kind)?;
        if let Some(trouble) = confinement.trouble() {
            log.write(Level::Info, Area::Start, About::Worker, || trouble);
        }
        counters.header(Header::Mechanism, kind.code());
        counters.header(Header::Confinement, confinement.code());
        counters.header(Header::Heartbeat, process::monotonic_ns());
        // Last: whoever finds the version finds all the rest.
        counters.header(Header::Version, ledger::VERSION);
        let plane = DataPlane::new(counters, circles);
        let busy_poll = arguments.busy_poll;
        let rests = arguments.scheduling == Scheduling::Realtime;
        Ok(Worker { mechanism, plane, commands, log, busy_poll, rests }.run())
    }
}
