//! The one loop that owns the state: events in, one after the other, so that nothing needs a lock.

use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use mcr_api::log::Levels;
use mcr_sys::process::monotonic_ns;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{info, warn};

use crate::audit::Audit;
use crate::configuration::Configuration;
use crate::control::{self, Asker, Clients, Slices, Waiting};
use crate::event::Event;
use crate::limits;
use crate::log::Log;
use crate::metrics;
use crate::notify::ServiceManager;
use crate::settings::StartError;
use crate::state::State;
use crate::stats::rates;
use crate::stats::sampler::Sampler;
use crate::traces::Traces;
use crate::turns::Turns;
use crate::workers::{StartProgress, Workers};

/// The state, the workers, and what comes in.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) state: State,
    pub(crate) workers: Workers,
    pub(crate) sampler: Sampler,
    pub(crate) traces: Traces,
    /// When the daemon started, in nanoseconds of the monotonic clock.
    pub(crate) started: u64,
    pub(crate) log: Log,
    pub(crate) configuration: Configuration,
    pub(crate) audit: Audit,
    pub(crate) clients: Arc<Clients>,
    pub(crate) service_manager: ServiceManager,
    pub(crate) turns: Turns,
    /// Answers that take more than one turn.
    pub(crate) slices: Slices,
    /// Clients that wait for the kernel.
    pub(crate) waiting: Waiting,
    /// Ticks since the service manager was told how it stands.
    status_ticks: u32,
    inbox: mpsc::Receiver<Event>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

impl Supervisor {
    pub(crate) fn new(
        state: State,
        workers: Workers,
        log: Log,
        configuration: Configuration,
        inbox: mpsc::Receiver<Event>,
    ) -> Self {
        Self {
            state,
            workers,
            sampler: Sampler::default(),
            traces: Traces::default(),
            started: monotonic_ns(),
            log,
            configuration,
            audit: Audit::default(),
            clients: Arc::default(),
            service_manager: ServiceManager::from_environment(),
            turns: Turns::default(),
            slices: Slices::default(),
            waiting: Waiting::default(),
            status_ticks: 0,
            inbox,
        }
    }

    /// Starts the workers, waits until they hold everything, and lets the datagrams in.
    pub(crate) async fn start_workers(&mut self) -> Result<(), StartError> {
        self.workers.start_due(&mut self.state.holdings);
        let deadline = Instant::now() + limits::START_WAIT;
        let outcome = loop {
            match self.workers.start_progress() {
                // Nobody who was told that it is ready is to send into rings that are not there.
                StartProgress::Complete if self.state.asked.is_empty() => break Ok(()),
                StartProgress::Complete if Instant::now() >= deadline => break Ok(()),
                StartProgress::Complete => {}
                StartProgress::Failed(how) => break Err(how),
                StartProgress::UnderWay if Instant::now() < deadline => {}
                StartProgress::UnderWay if self.workers.serving().next().is_some() => {
                    warn!(
                        "not every worker has started; those missing are tried again, and mcrctl \
                         workers shows why"
                    );
                    break Ok(());
                }
                StartProgress::UnderWay => break Err("none has taken its rules over".into()),
            }
            if let Ok(Some(event)) = timeout(limits::STARTING_CHECK, self.inbox.recv()).await
                && self.turn(event.name(), |this| this.handle(event)) == Next::End
            {
                break Err("the daemon was told to end".into());
            }
            self.promote();
        };
        if let Err(how) = outcome {
            self.stop().await;
            return Err(StartError::Workers(how));
        }
        self.state.holdings.ingresses.open_filters();
        Ok(())
    }

    /// Serves until it is told to end.
    pub(crate) async fn run(&mut self) {
        let mut tick = interval(limits::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ring_look = interval(limits::RING_LOOK);
        ring_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sample = interval(limits::SAMPLE_INTERVAL);
        sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Not a sleep: each event would begin that anew, and enough of them starve a start.
        let mut starting_look = interval(limits::STARTING_CHECK);
        starting_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next_start = self.workers.next_start();
            // The timers first, so that no number of requests delays the healing.
            tokio::select! {
                biased;
                _ = tick.tick() => self.turn("tick", Self::tick),
                _ = ring_look.tick() => {
                    self.turn("look at rings", |this| this.state.heal_rings(&mut this.workers));
                }
                _ = sample.tick() => self.sampler.begin_round(),
                _ = starting_look.tick(), if self.workers.any_starting() => {
                    self.turn("promotion", Self::promote);
                }
                () = sleep_until(next_start.unwrap_or_else(Instant::now).into()),
                    if next_start.is_some() => {
                        self.turn("start of workers", |this| {
                            this.workers.start_due(&mut this.state.holdings);
                        });
                }
                Some(event) = self.inbox.recv() => {
                    if self.turn(event.name(), |this| this.handle(event)) == Next::End {
                        return;
                    }
                    // Also where events never cease.
                    self.turn("long answer", Self::make_slice);
                }
                () = ready(()), if self.slices.are_under_way() => {
                    self.turn("long answer", Self::make_slice);
                }
                () = ready(()), if self.sampler.is_under_way() => self.turn("sample", |this| {
                    rates::sample(&this.state, &this.workers, &mut this.sampler);
                }),
            }
        }
    }

    /// Measures how long others wait for this.
    fn turn<T>(&mut self, cause: &str, turn: impl FnOnce(&mut Self) -> T) -> T {
        let begun = Instant::now();
        let outcome = turn(self);
        self.turns.end(cause, begun);
        outcome
    }

    /// Leaves the groups, lets the workers finish, and ends those that do not; a second request to
    /// end ends them at once.
    pub(crate) async fn stop(&mut self) {
        info!("ending");
        self.service_manager.stopping();
        self.state.leave_all();
        let deadline = Instant::now() + limits::STOP_WAIT;
        while !self.workers.all_ended() && Instant::now() < deadline {
            self.workers.stop(&self.state.holdings);
            if self.next_while_ending().await == Next::End {
                break;
            }
        }
        self.workers.kill();
        let deadline = Instant::now() + limits::KILL_WAIT;
        while !self.workers.all_ended() && Instant::now() < deadline {
            self.next_while_ending().await;
        }
        // One after the other, as at the end of a process, this takes seconds.
        self.state.close_all();
        self.state.hands.finish(Instant::now() + limits::CLOSE_WAIT).await;
    }

    async fn next_while_ending(&mut self) -> Next {
        match timeout(limits::STOP_RETRY, self.inbox.recv()).await {
            // A request's client is told that the daemon is ending, for its reply is dropped.
            Ok(Some(Event::Request { .. }) | None) | Err(_) => Next::GoOn,
            Ok(Some(event)) => self.handle(event),
        }
    }

    fn handle(&mut self, event: Event) -> Next {
        let Self { state, workers, .. } = self;
        match event {
            Event::Request { command, from, reply } => {
                control::answer(self, command, from, reply);
            }
            Event::Reload => self.reload(Asker::signal()),
            Event::ConfigurationRead { read, asker } => {
                self.take_configuration(read, asker);
                self.service_manager.ready();
            }
            Event::WorkerExited { worker, incarnation, how } => {
                if let Some(ledger) = workers.exited(worker, incarnation, &how, &mut state.holdings)
                {
                    state.keep_counters(worker, &ledger);
                    workers.start_due(&mut state.holdings);
                }
            }
            Event::WorkerWritable { worker, incarnation } => {
                workers.writable(worker, incarnation, &state.holdings);
            }
            Event::Acquired { resource, ticket, outcome } => {
                state.take_answer(resource, ticket, outcome);
            }
            Event::IngressOpened { opening, outcome } => {
                state.take_ingress(opening, outcome, workers);
            }
            Event::SpareOpened(spare) => {
                state.holdings.ingresses.spare_opened(spare);
                // A worker may have waited for it.
                workers.start_due(&mut state.holdings);
            }
            Event::Retired { retired, spare } => {
                state.take_retired(&retired, spare);
                workers.start_due(&mut state.holdings);
            }
            Event::Observed(interfaces) => state.observe(interfaces, workers),
            Event::Neighbours(silent) => state.take_silent(silent, workers),
            Event::Unreachable(reports) => {
                let egresses = &state.holdings.egresses;
                for report in &reports {
                    state.unreachable.count(report, |source| egresses.is_source(source));
                }
            }
            Event::Metrics(question) => metrics::answer(self, question),
            Event::Terminate => return Next::End,
        }
        self.answer_waiting();
        Next::GoOn
    }

    fn tick(&mut self) {
        let Self { state, workers, .. } = self;
        workers.tick(&mut state.holdings);
        state.retry(workers);
        state.look_at_brakes(workers);
        state.settle_conditions();
        state.settle_rings(workers);
        state.holdings.ingresses.refresh_filters();
        self.carry_traces_out();
        self.answer_late();
        self.log.settle();
        self.tell_service_manager();
    }

    /// Has the workers, and the kernel's filters, trace what is to be traced now.
    pub(crate) fn carry_traces_out(&mut self) {
        let Self { state, workers, traces, .. } = self;
        let ledgers: Vec<_> = workers.ledgers().filter_map(|(_, _, ledger)| ledger).collect();
        traces.refresh(&state.rules, &state.interfaces, &ledgers);
        state.holdings.ingresses.let_strangers_in(&traces.strangers());
        workers.set_traces(traces, &state.holdings);
    }

    /// Logs by these levels from now on, here and in the workers.
    pub(crate) fn set_log_levels(&mut self, levels: Levels) {
        self.log.set_levels(levels.clone());
        self.workers.set_log_levels(levels, &self.state.holdings);
    }

    /// Reads the configuration file again; `asker` is answered when it is carried out.
    pub(crate) fn reload(&mut self, asker: Asker) {
        self.service_manager.reloading();
        self.configuration.read_again(asker);
    }

    /// Says how it stands, and that the relay is alive where a worker is: this loop turns, or it
    /// would not come here.
    fn tell_service_manager(&mut self) {
        if !self.service_manager.listens() {
            return;
        }
        if self.workers.any_alive() {
            self.service_manager.alive(Instant::now());
        }
        if self.status_ticks == 0 {
            let (serving, places) = (self.workers.serving().count(), self.workers.len());
            let (active, rules) = (self.state.active_rules(), self.state.rules.len());
            self.service_manager.status(format!(
                "{serving} of {places} workers relay; {active} of {rules} rules are active"
            ));
        }
        self.status_ticks = (self.status_ticks + 1) % limits::STATUS_TICKS;
    }

    fn promote(&mut self) {
        let Self { state, workers, .. } = self;
        let promoted = workers.promote(&mut state.holdings);
        for worker in &promoted {
            state.retained.begin_handover(*worker);
        }
        if !promoted.is_empty() {
            // Others may have waited for their turn.
            workers.start_due(&mut state.holdings);
        }
    }
}
