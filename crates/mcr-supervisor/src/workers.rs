//! The worker processes: started, told, compared with what is desired, and replaced.

mod backoff;
mod drift;
mod levels;
#[cfg(test)]
mod model;
mod overload;
mod process;
mod starvation;
mod sync;
pub(crate) mod user;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcr_api::control::{Confinement, EventKind, Mechanism, WorkerState, WorkerStatus};
use mcr_api::log::Levels;
use mcr_api::worker::WorkerCommand;
use mcr_core::ids::WorkerId;
use mcr_core::ledger::{CoreCounter, Header, RingCounter, core, header};
use mcr_sys::ledger::LedgerReader;
use mcr_sys::sandbox::User;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::event::Event;
use crate::holdings::{Change, Holdings};
use crate::limits;
use crate::news::{self, News};
use crate::settings::Settings;
use crate::stats::reading;
use crate::traces::{Source, Traces};
use drift::Why;
use levels::LogLevels;
use overload::Load;
use process::{Launcher, Process};
use worker::{Found, Link, Live, Worker};

/// All workers, one a core.
#[derive(Debug)]
pub(crate) struct Workers {
    places: Vec<Worker>,
    launcher: Launcher,
    log_levels: LogLevels,
    news: News,
    /// The desired generation at the last tick.
    desired_before: u64,
    last_tick: Instant,
    /// Whether a worker that is due waits for sockets: an event tells when they are there.
    waits_for_sockets: bool,
    stopping: bool,
}

impl Workers {
    /// Places without processes yet.
    pub(crate) fn new(
        settings: &Settings,
        user: User,
        levels: &Levels,
        events: mpsc::Sender<Event>,
        news: News,
    ) -> Self {
        let place = |(id, core): (u32, &usize)| Worker::new(WorkerId(id), *core);
        Self {
            places: (0..).zip(&settings.cores).map(place).collect(),
            launcher: Launcher::new(settings, user, events),
            log_levels: LogLevels::new(levels.clone()),
            news,
            desired_before: 0,
            last_tick: Instant::now(),
            waits_for_sockets: false,
            stopping: false,
        }
    }

    /// Tells every worker of a change that was just made.
    pub(crate) fn announce(&mut self, change: Change, holdings: &Holdings) {
        let Some(command) = holdings.command(change) else {
            return;
        };
        let owner = holdings.owner(change);
        let message = holdings.encode(command);
        // The others count changes, too, by which a lost one is noticed.
        let passed = owner.map(|_| holdings.encode(WorkerCommand::Pass));
        for worker in &mut self.places {
            let concerned = owner.is_none_or(|owner| owner == worker.id);
            let message = passed.as_ref().filter(|_| !concerned).unwrap_or(&message);
            if let Some(live) = &mut worker.live {
                live.announce(worker.id, change, message, holdings);
            }
        }
    }

    /// Starts what is to be started.
    ///
    /// Where sockets have to be replaced, it is one worker at a time: see
    /// [`crate::resources::ingress`].
    pub(crate) fn start_due(&mut self, holdings: &mut Holdings) {
        if self.stopping {
            return;
        }
        self.waits_for_sockets = false;
        for place in 0..self.places.len() {
            let one_is_starting =
                self.places.iter().any(|w| w.live.as_ref().is_some_and(|live| !live.serving));
            let first_start = self.places[place].last_exit.is_none();
            let worker = &mut self.places[place];
            if !worker.is_due() || (one_is_starting && !first_start) {
                continue;
            }
            if holdings.ingresses.is_replacing() && !first_start {
                self.waits_for_sockets = true;
                continue;
            }
            if let Err(refusal) = holdings.ingresses.prepare_replacement(worker.id) {
                put_off(worker, refusal.to_string(), &self.news);
                continue;
            }
            if !holdings.ingresses.is_prepared(worker.id) {
                self.waits_for_sockets = true;
                continue;
            }
            match self.launcher.launch(worker.id, worker.core) {
                Ok(process) => {
                    begin(worker, process, first_start, holdings, &self.log_levels);
                    self.news.tell(
                        EventKind::WorkerStarted,
                        news::worker(worker.id),
                        format_args!("worker {} starts on core {}", worker.id, worker.core),
                    );
                }
                Err(error) => put_off(worker, error.to_string(), &self.news),
            }
        }
    }

    /// A process ended: returns its ledger, if it was one of ours that we had not replaced.
    pub(crate) fn exited(
        &mut self,
        worker: WorkerId,
        incarnation: u64,
        how: &str,
        holdings: &mut Holdings,
    ) -> Option<Arc<LedgerReader>> {
        let worker = self.places.get_mut(worker.0 as usize)?;
        if self.stopping {
            let live = worker.live.take_if(|live| live.process.incarnation == incarnation);
            return live.map(|live| live.process.ledger);
        }
        let live = worker.ended(incarnation, how)?;
        tell_exit(worker, &self.news);
        holdings.ingresses.abandon_replacement(worker.id);
        Some(live.process.ledger)
    }

    /// There is room in a worker's socket.
    pub(crate) fn writable(&mut self, worker: WorkerId, incarnation: u64, holdings: &Holdings) {
        let live = self.places.get_mut(worker.0 as usize).and_then(|w| w.live.as_mut());
        if let Some(live) = live.filter(|live| live.process.incarnation == incarnation) {
            live.writable(worker, holdings);
        }
    }

    /// Whether a worker is on its way to its place.
    pub(crate) fn any_starting(&self) -> bool {
        self.places.iter().any(|w| w.live.as_ref().is_some_and(|live| !live.serving))
    }

    /// Puts starting workers that hold everything into their places. Returns which those are.
    pub(crate) fn promote(&mut self, holdings: &mut Holdings) -> Vec<WorkerId> {
        let mut promoted = Vec::new();
        for worker in &mut self.places {
            let Some(live) = &mut worker.live else {
                continue;
            };
            if !live.serving && live.is_in_sync(worker.id, holdings) {
                live.take_place();
                promoted.push(worker.id);
                holdings.ingresses.complete_replacement(worker.id);
                let (id, core) = (worker.id, worker.core);
                let took = live.process.started.elapsed().as_millis();
                if worker.restarts > 0 {
                    info!(worker = id.0, "worker {id} on core {core} took over in {took} ms");
                }
                let message = format_args!("worker {id} relays on core {core} after {took} ms");
                self.news.tell(EventKind::WorkerReady, news::worker(id), message);
            }
        }
        promoted
    }

    /// Compares every ledger with what is desired, and heals.
    pub(crate) fn tick(&mut self, holdings: &mut Holdings) {
        let since_last = self.last_tick.elapsed();
        let late = since_last > limits::LATE_TICK;
        self.last_tick = Instant::now();
        // Where we were not running ourselves, no worker can be blamed.
        if !late && !self.stopping {
            for worker in &mut self.places {
                if let Some(live) = &mut worker.live {
                    let found = live.tick(worker.id, self.desired_before, holdings);
                    tell_found(worker.id, found, holdings, &self.news);
                    let load = load(&live.process.ledger, holdings);
                    let change = live.overload.look(load, since_last);
                    tell_load(worker.id, worker.core, change, &self.news);
                    live.tell_log_levels(&self.log_levels, holdings);
                }
            }
        }
        self.desired_before = holdings.generation();
        self.start_due(holdings);
    }

    /// Has every worker log by these levels.
    pub(crate) fn set_log_levels(&mut self, levels: Levels, holdings: &Holdings) {
        self.log_levels.set(levels);
        for live in self.places.iter().filter_map(|worker| worker.live.as_ref()) {
            live.tell_log_levels(&self.log_levels, holdings);
        }
    }

    /// The ledgers of the workers that have taken their places.
    pub(crate) fn serving(&self) -> impl Iterator<Item = &Arc<LedgerReader>> {
        let live = self.places.iter().filter_map(|w| w.live.as_ref());
        live.filter(|live| live.serving).map(|live| &live.process.ledger)
    }

    /// Whether a worker that has taken its place shows signs of life.
    pub(crate) fn any_alive(&self) -> bool {
        let mut live = self.places.iter().filter_map(|w| w.live.as_ref());
        live.any(|live| {
            let age = live.process.heartbeat_age();
            live.serving && age.is_some_and(|age| age <= limits::HEARTBEAT_STALL)
        })
    }

    /// A generation that every worker has had the time to reach: what was desired at the last tick.
    pub(crate) fn settled_generation(&self) -> u64 {
        self.desired_before
    }

    /// How many there should be.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Every place, with its core and its process's ledger.
    pub(crate) fn ledgers(&self) -> impl Iterator<Item = (WorkerId, usize, Option<&LedgerReader>)> {
        self.places.iter().map(|worker| {
            let ledger = worker.live.as_ref().map(|live| &*live.process.ledger);
            (worker.id, worker.core, ledger)
        })
    }

    /// Has the workers trace as they are to, those that do not yet.
    pub(crate) fn set_traces(&self, traces: &Traces, holdings: &Holdings) {
        let processes = self.places.iter().filter_map(|w| Some(&w.live.as_ref()?.process));
        for process in processes {
            if process.is_up() && !traces.are_in_force(&process.ledger) {
                // Full: at the next tick.
                _ = process.send(&holdings.encode(traces.command()), None);
            }
        }
    }

    /// Every process, for its trace events.
    pub(crate) fn trace_sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.places.iter().filter_map(|worker| {
            let Process { incarnation, ledger, .. } = &worker.live.as_ref()?.process;
            Some(Source { worker: worker.id, incarnation: *incarnation, ledger })
        })
    }

    /// Every process's ledger, and the generation that it says to hold.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (WorkerId, &LedgerReader, u64)> {
        self.places.iter().filter_map(|worker| {
            let process = &worker.live.as_ref()?.process;
            Some((worker.id, &*process.ledger, process.position().generation))
        })
    }

    /// When the next process is to be started, if none has to be waited for before that.
    pub(crate) fn next_start(&self) -> Option<Instant> {
        let absent = self.places.iter().filter(|worker| worker.live.is_none());
        let blocked = self.stopping || self.waits_for_sockets || self.any_starting();
        absent.map(|worker| worker.start_at).min().filter(|_| !blocked)
    }

    /// How the first start stands: all in place, some have failed, or neither.
    pub(crate) fn start_progress(&self) -> StartProgress {
        let serving = self.serving().count();
        let exits = || self.places.iter().filter_map(|w| w.last_exit.clone());
        if serving == self.places.len() {
            StartProgress::Complete
        } else if serving == 0 && exits().count() == self.places.len() {
            StartProgress::Failed(exits().next().unwrap_or_default())
        } else {
            StartProgress::UnderWay
        }
    }

    /// Asks every worker to end. Those whose socket is full must be asked again.
    pub(crate) fn stop(&mut self, holdings: &Holdings) {
        self.stopping = true;
        let message = holdings.encode(WorkerCommand::Stop);
        for live in self.places.iter().filter_map(|w| w.live.as_ref()) {
            // Full: asked again. Gone: its end is on its way.
            _ = live.process.send(&message, None);
        }
    }

    /// Kills what has not ended.
    pub(crate) fn kill(&mut self) {
        self.places.iter_mut().filter_map(|w| w.live.as_mut()).for_each(|l| l.process.kill());
    }

    /// Whether no process is left.
    pub(crate) fn all_ended(&self) -> bool {
        self.places.iter().all(|worker| worker.live.is_none())
    }

    /// How every worker is, for `ListWorkers`.
    pub(crate) fn statuses(&self, holdings: &Holdings) -> Vec<WorkerStatus> {
        self.places.iter().map(|worker| self.status(worker, holdings)).collect()
    }

    fn status(&self, worker: &Worker, holdings: &Holdings) -> WorkerStatus {
        let process = worker.live.as_ref().map(|live| &live.process);
        let age = process.and_then(Link::heartbeat_age);
        let state = match &worker.live {
            _ if self.stopping => WorkerState::Stopping,
            None if worker.is_due() => WorkerState::Starting,
            None => WorkerState::BackingOff,
            Some(live) if !live.serving => WorkerState::Starting,
            Some(live) if live.sync.is_some() => WorkerState::Resyncing,
            Some(_) => WorkerState::Running,
        };
        WorkerStatus {
            worker: worker.id.0,
            core: worker.core as u32,
            pid: process.and_then(|process| process.pid),
            state,
            io: process.and_then(|process| mechanism(&process.ledger)),
            confinement: process.and_then(|process| confinement(&process.ledger)),
            generation: process.map_or(0, |process| process.position().generation),
            in_sync: worker.live.as_ref().is_some_and(|live| live.is_in_sync(worker.id, holdings)),
            rules: process.map_or(0, |process| process.ledger.load(header(Header::Routes))),
            heartbeat_age_ms: age.map(|age| age.as_millis() as u64),
            overloaded: worker.live.as_ref().is_some_and(|live| live.overload.lasts()),
            longest_turn_us: process.map_or(0, Process::longest_turn_us),
            restarts: worker.restarts,
            backoff_left_ms: worker.backoff_left().map(|left| left.as_millis() as u64),
            commands_lost: worker.trouble().commands_lost,
            repairs: worker.trouble().repairs,
            last_exit: worker.last_exit.clone(),
        }
    }
}

/// Gives a new process its place's sockets, and everything else to be told.
fn begin(
    worker: &mut Worker,
    process: Process,
    first_start: bool,
    holdings: &Holdings,
    levels: &LogLevels,
) {
    worker.restarts += u64::from(!first_start);
    let mut live = Live::new(process);
    // Before all else, so that the log has what comes of the rest.
    live.tell_log_levels(levels, holdings);
    live.pump(worker.id, holdings);
    worker.live = Some(live);
}

fn put_off(worker: &mut Worker, why: String, news: &News) {
    let (id, wait) = (worker.id, worker.put_off(Duration::ZERO).as_millis());
    let message = format!("worker {id} cannot start, again in {wait} ms: {why}");
    warn!(worker = id.0, "{message}");
    news.tell(EventKind::WorkerBackingOff, news::worker(id), message);
    worker.last_exit = Some(why);
}

fn tell_exit(worker: &Worker, news: &News) {
    let (id, core) = (worker.id, worker.core);
    let how = worker.last_exit.as_deref().unwrap_or_default();
    let message = format_args!("worker {id} on core {core} ended: {how}");
    news.tell(EventKind::WorkerExited, news::worker(id), message);
    if let Some(left) = worker.backoff_left() {
        let message = format_args!("worker {id} starts again in {} ms", left.as_millis());
        news.tell(EventKind::WorkerBackingOff, news::worker(id), message);
    }
}

fn tell_found(id: WorkerId, found: Found, holdings: &Holdings, news: &News) {
    let (kind, message) = match found {
        Found::Nothing => return,
        Found::Behind(at) => {
            let desired = holdings.position(id).generation;
            let at = at.generation;
            let message =
                format!("worker {id} holds generation {at} of {desired}: sent everything");
            (EventKind::WorkerBehind, message)
        }
        Found::Repaired(after) => {
            let after = after.as_millis();
            let message = format!("worker {id} holds what it should again, after {after} ms");
            (EventKind::WorkerRepaired, message)
        }
        Found::Lost(why) => {
            let kind = match why {
                Why::StoodStill => EventKind::WorkerStalled,
                Why::TookNoCommands | Why::NotRepaired => EventKind::WorkerReplaced,
            };
            (kind, format!("worker {id} is replaced, because {why}"))
        }
    };
    news.tell(kind, news::worker(id), message);
}

/// A worker's load by its ledger.
fn load(ledger: &LedgerReader, holdings: &Holdings) -> Load {
    let rings = holdings.ingresses.rings().filter_map(|ring| reading::ring(ledger, ring));
    Load {
        busy_ns: ledger.load(core(CoreCounter::BusyNs)),
        kernel_drops: rings.map(|tally| tally.of(RingCounter::KernelDrops)).sum(),
    }
}

fn tell_load(id: WorkerId, core: usize, change: Option<overload::Change>, news: &News) {
    let (kind, message) = match change {
        None => return,
        Some(overload::Change::Begins(dropped)) => {
            let message = format!(
                "worker {id} on core {core} is overloaded: it never rests, and its rings dropped \
                 {dropped} frames in a second; give the relay more cores (--cores) or fewer outputs"
            );
            warn!(worker = id.0, "{message}");
            (EventKind::WorkerOverloaded, message)
        }
        Some(overload::Change::Ends(dropped)) => {
            let message = format!("worker {id} keeps up again; its rings had dropped {dropped}");
            info!(worker = id.0, "{message}");
            (EventKind::WorkerRelieved, message)
        }
    };
    news.tell(kind, news::worker(id), message);
}

/// How the first start stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartProgress {
    UnderWay,
    Complete,
    /// None works, and each has ended at least once; so one of them ended.
    Failed(String),
}

/// How far a worker is confined, as its ledger says.
fn confinement(ledger: &LedgerReader) -> Option<Confinement> {
    Confinement::from_code(ledger.load(header(Header::Confinement)))
}

/// How a worker reaches the kernel, as its ledger says.
pub(crate) fn mechanism(ledger: &LedgerReader) -> Option<Mechanism> {
    Mechanism::from_code(ledger.load(header(Header::Mechanism)))
}
