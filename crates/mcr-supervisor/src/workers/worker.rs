//! One worker's place: its process, where there is one, and what is known of it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use mcr_core::ids::WorkerId;
use mcr_core::route::Position;
use mcr_sys::activity::Activity;
use tracing::{debug, warn};

use super::backoff::Backoff;
use super::drift::{Decision, Look, SyncProgress, Why, decide};
use super::levels::LogLevels;
use super::overload::Overload;
use super::process::Process;
use super::starvation::Starvation;
use super::sync::Sync;
use crate::holdings::{Change, Holdings};
use crate::limits;

/// A place.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) core: usize,
    pub(crate) live: Option<Live>,
    /// When there is no process: when to start the next.
    pub(crate) start_at: Instant,
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<String>,
    backoff: Backoff,
    /// Of the processes before the present one.
    past_trouble: Trouble,
}

/// Trouble between the supervisor and a worker that was healed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Commands that did not fit the socket.
    pub(crate) commands_lost: u64,
    /// Synchronisations for the worker's having held something else than it should.
    pub(crate) repairs: u64,
}

/// The finding of a look at a worker's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// All is well, or on its way there.
    Nothing,
    /// It held something else than it should, and is sent everything.
    Behind(Position),
    /// It was behind for so long, and holds what it should.
    Repaired(Duration),
    /// It was killed, to be replaced.
    Lost(Why),
}

/// The way to a worker process and back.
pub(crate) trait Link {
    /// Whether it has begun to work, and writes the ledger that we read.
    fn is_up(&self) -> bool;
    /// The position in its ledger.
    fn position(&self) -> Position;
    /// The revision of the log levels in its ledger.
    fn log_levels(&self) -> u64;
    /// How long ago its loop turned; `None` where it has not, or says no such thing.
    fn heartbeat_age(&self) -> Option<Duration>;
    /// How long ago it was started.
    fn age(&self) -> Duration;
    /// Its activity; `None` where that cannot be seen.
    fn activity(&self) -> Option<Activity>;
    /// Sends a message, whole or not at all, and never waits.
    fn send(&self, message: &[u8], descriptor: Option<BorrowedFd>) -> io::Result<()>;
    /// After `WouldBlock`: has [`Live::writable`] called when there is room again.
    fn notify_writable(&self);
    /// Has [`Live::writable`] called in a later turn of the loop. Room that was there all the time
    /// is no event, so a wait for it would not end.
    fn notify_later(&self);
    /// Ends it without its consent.
    fn kill(&mut self);
}

/// A process and how far it has come.
#[derive(Debug)]
pub(crate) struct Live<L = Process> {
    pub(crate) process: L,
    /// Whether it has taken its place: it held everything once.
    pub(crate) serving: bool,
    pub(crate) sync: Option<Sync>,
    /// Ticks since the synchronisation moved, or since all of it was sent.
    sync_ticks: u32,
    sync_failures: u32,
    generation_before: u64,
    command_lost: bool,
    waits_for_room: bool,
    starvation: Starvation,
    pub(crate) overload: Overload,
    last_look: Instant,
    killed_because: Option<Why>,
    /// Since when it is sent everything for holding something else.
    behind_since: Option<Instant>,
    trouble: Trouble,
}

impl Worker {
    pub(crate) fn new(id: WorkerId, core: usize) -> Self {
        Self {
            id,
            core,
            live: None,
            start_at: Instant::now(),
            restarts: 0,
            last_exit: None,
            backoff: Backoff::default(),
            past_trouble: Trouble::default(),
        }
    }

    /// The trouble since the daemon's start.
    pub(crate) fn trouble(&self) -> Trouble {
        let mut all = self.past_trouble;
        if let Some(live) = &self.live {
            all.commands_lost += live.trouble.commands_lost;
            all.repairs += live.trouble.repairs;
        }
        all
    }

    /// How long the next start is still held back, where there is no process.
    pub(crate) fn backoff_left(&self) -> Option<Duration> {
        let left = self.start_at.saturating_duration_since(Instant::now());
        (self.live.is_none() && !left.is_zero()).then_some(left)
    }

    /// The process ended. Returns it where it was this place's.
    pub(crate) fn ended(&mut self, incarnation: u64, how: &str) -> Option<Live> {
        let trouble = self.trouble();
        let live = self.live.take_if(|live| live.process.incarnation == incarnation)?;
        self.past_trouble = trouble;
        let why = live.killed_because.map(|why| format!(", because {why}")).unwrap_or_default();
        let wait = self.put_off(live.process.started.elapsed());
        let when = match wait.as_millis() {
            0 => "at once".to_owned(),
            wait => format!("in {wait} ms"),
        };
        let (id, core) = (self.id, self.core);
        warn!(
            worker = id.0,
            "worker {id} on core {core} ended ({how}{why}); another one starts {when}"
        );
        self.last_exit = Some(format!("{how}{why}"));
        Some(live)
    }

    /// Sets the time of the next start after a life, or an attempt, of this length.
    pub(crate) fn put_off(&mut self, lived: Duration) -> Duration {
        let wait = self.backoff.after(lived);
        self.start_at = Instant::now() + wait;
        wait
    }

    /// Whether a process is to be started now.
    pub(crate) fn is_due(&self) -> bool {
        self.live.is_none() && self.start_at <= Instant::now()
    }
}

impl<L: Link> Live<L> {
    /// A new process, which is to be sent everything.
    pub(crate) fn new(process: L) -> Self {
        Self {
            process,
            serving: false,
            sync: Some(Sync::new()),
            sync_ticks: 0,
            sync_failures: 0,
            generation_before: 0,
            command_lost: false,
            waits_for_room: false,
            starvation: Starvation::default(),
            overload: Overload::default(),
            last_look: Instant::now(),
            killed_because: None,
            behind_since: None,
            trouble: Trouble::default(),
        }
    }

    /// Whether it holds exactly what it should.
    pub(crate) fn is_in_sync(&self, id: WorkerId, holdings: &Holdings) -> bool {
        let told_all = self.sync.as_ref().is_none_or(Sync::is_whole);
        told_all && self.process.is_up() && self.process.position() == holdings.position(id)
    }

    /// It holds everything: it serves from now on.
    pub(crate) fn take_place(&mut self) {
        self.serving = true;
        self.sync = None;
    }

    /// Tells of a change; `message` is its command, or that it is not for this worker.
    pub(crate) fn announce(
        &mut self,
        id: WorkerId,
        change: Change,
        message: &[u8],
        holdings: &Holdings,
    ) {
        if let Some(sync) = self.sync.as_mut().filter(|sync| !sync.is_whole()) {
            sync.changed(change);
            self.pump(id, holdings);
            return;
        }
        match self.process.send(message, holdings.descriptor(change, id)) {
            Ok(()) => holdings.mark_told(change, id),
            Err(error) => {
                debug!(
                    worker = id.0,
                    "worker {id}: {change:?} could not be sent and will be repaired: {error}"
                );
                self.command_lost = true;
                self.trouble.commands_lost += 1;
            }
        }
    }

    /// Sends the next messages of the synchronisation, as far as there is room.
    pub(crate) fn pump(&mut self, id: WorkerId, holdings: &Holdings) {
        let Some(sync) = self.sync.as_mut().filter(|_| !self.waits_for_room) else {
            return;
        };
        for _ in 0..limits::SYNC_MESSAGES_AT_ONCE {
            let Some(step) = sync.next(holdings, id) else {
                return;
            };
            let descriptor = step.change.and_then(|change| holdings.descriptor(change, id));
            if let Err(error) = self.process.send(&step.message, descriptor) {
                debug!(worker = id.0, "worker {id}: synchronisation pauses: {error}");
                self.waits_for_room = true;
                self.process.notify_writable();
                return;
            }
            if let Some(change) = step.change {
                holdings.mark_told(change, id);
            }
            sync.sent(&step);
            self.sync_ticks = 0;
        }
        // It is the others' turn.
        self.waits_for_room = true;
        self.process.notify_later();
    }

    /// There is room in the socket.
    pub(crate) fn writable(&mut self, id: WorkerId, holdings: &Holdings) {
        self.waits_for_room = false;
        self.pump(id, holdings);
    }

    /// Tells the log levels where the ledger says that it has other ones.
    pub(crate) fn tell_log_levels(&self, levels: &LogLevels, holdings: &Holdings) {
        if self.process.log_levels() != levels.revision() {
            // Where there is no room, the next look finds that it still has not.
            _ = self.process.send(&holdings.encode(levels.command()), None);
        }
    }

    /// Looks at the ledger and does what has to be done.
    pub(crate) fn tick(&mut self, id: WorkerId, desired_before: u64, holdings: &Holdings) -> Found {
        if self.killed_because.is_some() {
            return Found::Nothing;
        }
        let mut repaired = None;
        if self.is_in_sync(id, holdings) {
            self.sync_failures = 0;
            self.command_lost = false;
            repaired = self.behind_since.take().map(|since| since.elapsed());
            // A starting worker's ends where it takes its place.
            if self.serving {
                self.sync = None;
            }
        }
        let ledger = self.process.position();
        if self.sync.as_ref().and_then(Sync::committed).is_some_and(|all| ledger.generation > all) {
            // It has taken over all of that, and changes since; what it lacks now is another loss.
            self.sync = None;
        }
        let stood_still = self.stood_still(id);
        let is_starving = self.starvation.is_starving();
        let look = Look {
            desired: holdings.position(id),
            desired_before,
            ledger,
            ledger_before: self.generation_before,
            stood_still,
            is_starving,
            sync: self.sync_progress(),
            failures: self.sync_failures,
            command_lost: self.command_lost,
        };
        self.generation_before = ledger.generation;
        self.sync_ticks += u32::from(!is_starving);
        match decide(&look) {
            Decision::Nothing => repaired.map_or(Found::Nothing, Found::Repaired),
            Decision::Synchronise => {
                warn!(
                    worker = id.0,
                    "worker {id} holds generation {} of {}: sending it the full rule set",
                    ledger.generation,
                    look.desired.generation
                );
                self.sync_failures += u32::from(self.sync.is_some());
                self.trouble.repairs += 1;
                self.synchronise(id, holdings);
                Found::Behind(ledger)
            }
            Decision::Replace(why) => {
                self.replace(why);
                Found::Lost(why)
            }
        }
    }

    /// Kills the process; the end comes as an event.
    pub(crate) fn replace(&mut self, why: Why) {
        self.killed_because = Some(why);
        self.process.kill();
    }

    fn synchronise(&mut self, id: WorkerId, holdings: &Holdings) {
        self.sync = Some(Sync::new());
        self.sync_ticks = 0;
        self.command_lost = false;
        self.behind_since.get_or_insert_with(Instant::now);
        self.pump(id, holdings);
    }

    fn sync_progress(&self) -> SyncProgress {
        match &self.sync {
            None => SyncProgress::None,
            // Before it reads its first command, only its silence counts.
            Some(_) if !self.process.is_up() => SyncProgress::Streaming { stuck: 0 },
            Some(sync) if sync.is_whole() => SyncProgress::Committed { ticks: self.sync_ticks },
            Some(_) => SyncProgress::Streaming { stuck: self.sync_ticks },
        }
    }

    /// How long its loop could have turned, and did not; tells where it could not for long.
    fn stood_still(&mut self, id: WorkerId) -> Duration {
        let now = Instant::now();
        let since_last = now.duration_since(std::mem::replace(&mut self.last_look, now));
        // The silence last: what it says is then no older than what it does.
        let activity = self.process.activity();
        let stood_still = self.starvation.look(self.silence(), since_last, activity);
        if let Some(waited) = self.starvation.news() {
            warn!(
                worker = id.0,
                "worker {id} has waited {} ms for its core, which others keep from it: give it a \
                 core of its own (--cores), lift the limit of its cgroup (CPUQuota=), or look \
                 whether a hypervisor takes the time (%st of top)",
                waited.as_millis()
            );
        }
        stood_still
    }

    /// How long it has shown no sign of life, beyond what a start may take.
    fn silence(&self) -> Duration {
        if self.process.is_up() {
            // One that is up has turned, and says when: who does not is silent all its life.
            return self.process.heartbeat_age().unwrap_or_else(|| self.process.age());
        }
        self.process.age().saturating_sub(limits::FIRST_HEARTBEAT)
    }
}
