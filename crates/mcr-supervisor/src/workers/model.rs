//! The command channel as a whole: the supervisor's side as it is, a worker's book-keeping as it
//! is, and between them a channel that is short, slow, and loses or damages what it carries.
//! Whatever happens there, the worker ends with exactly what is desired.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use mcr_api::log::Levels;
use mcr_api::worker::{WorkerCommand, WorkerMessage, decode};
use mcr_core::ids::{EgressId, IfIndex, OutputSlot, RuleId, RuleSlot, WorkerId};
use mcr_core::replica::{Replica, Stale};
use mcr_core::route::{Position, Route, RouteKey, RouteOutput, Via};
use mcr_core::steering::{Shares, Steering};
use mcr_sys::activity::Activity;
use proptest::prelude::*;

use super::levels::LogLevels;
use super::worker::{Link, Live};
use crate::holdings::{Change, Holdings};
use crate::limits;

const WORKER: WorkerId = WorkerId(0);

/// Messages that the channel holds: so few that it is often full.
const ROOM: usize = 4;

/// A rule that is there from the beginning and never changed.
const STEADY: u64 = 0;

/// Ticks within which a worker that serves is repaired.
const REPAIR_TICKS: u32 = 2;

/// Ticks within which all is well again wherever a synchronisation stood: it is seen to have
/// failed, or the worker to be stuck, and what follows has its time.
const CONVERGENCE_TICKS: u32 = limits::STUCK_TICKS + limits::SETTLE_TICKS + REPAIR_TICKS;

fn route(id: u64, port: u16) -> Route {
    Route {
        id: RuleId(id),
        slot: RuleSlot(id as u32),
        key: RouteKey { ifindex: IfIndex(1), address: [239, 0, 0, 1].into(), port: 1 + id as u16 },
        source: None,
        outputs: vec![RouteOutput {
            slot: OutputSlot(id as u32),
            destination: ([239, 0, 0, 2], port).into(),
            via: Via::Egress(EgressId(1)),
        }],
    }
}

/// The event that a synchronisation waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Awaited {
    #[default]
    Nothing,
    Room,
    Turn,
}

/// Both ends of the socket, and the ledger.
#[derive(Debug, Default)]
struct Channel {
    messages: VecDeque<Vec<u8>>,
    awaited: Awaited,
    ledger: Position,
    log_levels: u64,
    up: bool,
    killed: bool,
}

#[derive(Debug)]
struct ChannelLink(Rc<RefCell<Channel>>);

impl Link for ChannelLink {
    fn is_up(&self) -> bool {
        self.0.borrow().up
    }

    fn position(&self) -> Position {
        self.0.borrow().ledger
    }

    fn log_levels(&self) -> u64 {
        self.0.borrow().log_levels
    }

    fn heartbeat_age(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn age(&self) -> Duration {
        Duration::ZERO
    }

    fn activity(&self) -> Option<Activity> {
        None
    }

    fn send(&self, message: &[u8], _: Option<BorrowedFd>) -> io::Result<()> {
        let mut channel = self.0.borrow_mut();
        if channel.messages.len() >= ROOM {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        channel.messages.push_back(message.to_vec());
        Ok(())
    }

    fn notify_writable(&self) {
        self.0.borrow_mut().awaited = Awaited::Room;
    }

    fn notify_later(&self) {
        self.0.borrow_mut().awaited = Awaited::Turn;
    }

    fn kill(&mut self) {
        self.0.borrow_mut().killed = true;
    }
}

/// The fate of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Taken,
    Lost,
    /// The worker refuses what it cannot read.
    Garbled,
    /// It reads another command of the same form.
    Altered,
}

/// A worker by its book-keeping; the routes themselves stand for its data plane.
#[derive(Debug, Default)]
struct ModelWorker {
    replica: Replica,
    routes: BTreeMap<RuleSlot, Route>,
    log_levels: u64,
}

impl ModelWorker {
    fn read(&mut self, message: &[u8], fate: Fate) {
        let WorkerMessage { generation, mut command } = decode(message).unwrap();
        match fate {
            Fate::Taken => {}
            Fate::Lost | Fate::Garbled => return,
            Fate::Altered => alter(&mut command),
        }
        match command {
            WorkerCommand::SyncBegin => self.replica.sync_begun(),
            WorkerCommand::SyncRules { routes } => {
                for route in routes {
                    self.set(route);
                }
            }
            WorkerCommand::SyncCommit { hash } => {
                _ = self.replica.sync_committed(Position { generation, hash });
            }
            WorkerCommand::AddRule { route } => {
                self.set(route);
                self.replica.change_done(generation);
            }
            WorkerCommand::RemoveRule { slot, id } => {
                if self.replica.route_removed(slot, id) {
                    self.routes.remove(&slot);
                }
                self.replica.change_done(generation);
            }
            WorkerCommand::Pass => self.replica.change_done(generation),
            WorkerCommand::SetLogLevel { revision, .. } => self.log_levels = revision,
            other => panic!("{other:?}"),
        }
    }

    fn set(&mut self, route: Route) {
        self.replica.route_set(route.slot, route.id, route.fingerprint());
        self.routes.insert(route.slot, route);
    }

    fn sweep(&mut self) {
        let Self { replica, routes, .. } = self;
        replica.sweep(2, |stale| match stale {
            Stale::Route(slot) => _ = routes.remove(&slot),
            Stale::Sockets(set) => panic!("{set:?} were never opened"),
        });
    }
}

fn alter(command: &mut WorkerCommand) {
    match command {
        WorkerCommand::AddRule { route } => route.outputs[0].destination.set_port(9),
        WorkerCommand::RemoveRule { id, .. } => id.0 += 1,
        _ => {}
    }
}

/// The supervisor with one worker.
struct System {
    holdings: Holdings,
    live: Live<ChannelLink>,
    channel: Rc<RefCell<Channel>>,
    worker: ModelWorker,
    log_levels: LogLevels,
    desired_before: u64,
    /// Everything that has ever been desired, by fingerprint.
    ever: BTreeSet<(RuleId, u16)>,
    /// Whether a command was altered on its way to the present process.
    altered: bool,
    /// Whether the present process has had the steady route.
    steady: bool,
}

impl System {
    /// The worker is the first of two; by hash it holds the steady route and some of the others.
    fn new(steering: Steering) -> Self {
        let channel = Rc::default();
        let mut system = Self {
            holdings: Holdings::alone(steering, &[1, 0]),
            live: Live::new(ChannelLink(Rc::clone(&channel))),
            channel,
            worker: ModelWorker::default(),
            log_levels: LogLevels::default(),
            desired_before: 0,
            ever: BTreeSet::new(),
            altered: false,
            steady: false,
        };
        system.set(STEADY, 1);
        system.live.pump(WORKER, &system.holdings);
        system
    }

    fn set(&mut self, id: u64, port: u16) {
        self.ever.insert((RuleId(id), port));
        let change = self.holdings.set_route(route(id, port));
        self.announce(change);
    }

    fn remove(&mut self, id: u64) {
        if let Some(change) = self.holdings.remove_route(RuleId(id)) {
            self.announce(change);
        }
    }

    fn announce(&mut self, change: Change) {
        let concerns = self.holdings.owner(change).is_none_or(|owner| owner == WORKER);
        let command = self.holdings.command(change).filter(|_| concerns);
        let message = self.holdings.encode(command.unwrap_or(WorkerCommand::Pass));
        self.live.announce(WORKER, change, &message, &self.holdings);
    }

    /// The worker's loop turns: commands, then a step of sweeping, then the ledger.
    fn turn(&mut self, messages: usize, fate: Fate) {
        let mut channel = self.channel.borrow_mut();
        channel.up = true;
        for _ in 0..messages {
            let Some(message) = channel.messages.pop_front() else {
                break;
            };
            self.altered |= fate == Fate::Altered;
            self.worker.read(&message, fate);
        }
        self.worker.sweep();
        if let Some(position) = self.worker.replica.position() {
            channel.ledger = position;
        }
        channel.log_levels = self.worker.log_levels;
    }

    /// The supervisor's loop hears of room, or looks at a starting worker.
    fn supervise(&mut self) {
        let mut channel = self.channel.borrow_mut();
        let due = match channel.awaited {
            Awaited::Nothing => false,
            Awaited::Room => channel.messages.len() < ROOM,
            Awaited::Turn => true,
        };
        if due {
            channel.awaited = Awaited::Nothing;
        }
        drop(channel);
        if due {
            self.live.writable(WORKER, &self.holdings);
        }
        if !self.live.serving && self.live.is_in_sync(WORKER, &self.holdings) {
            self.live.take_place();
        }
        if self.channel.borrow().killed {
            self.replace();
        }
    }

    fn tick(&mut self) {
        self.live.tick(WORKER, self.desired_before, &self.holdings);
        self.live.tell_log_levels(&self.log_levels, &self.holdings);
        self.desired_before = self.holdings.generation();
    }

    fn set_log_levels(&mut self) {
        self.log_levels.set(Levels::default());
        self.live.tell_log_levels(&self.log_levels, &self.holdings);
    }

    /// The process dies, and another one begins.
    fn replace(&mut self) {
        self.channel = Rc::default();
        self.live = Live::new(ChannelLink(Rc::clone(&self.channel)));
        self.worker = ModelWorker::default();
        (self.altered, self.steady) = (false, false);
        self.live.tell_log_levels(&self.log_levels, &self.holdings);
        self.live.pump(WORKER, &self.holdings);
    }

    /// Everything on its way arrives.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            self.turn(1, Fate::Taken);
            self.supervise();
        }
    }

    fn is_in_sync(&self) -> bool {
        let has_levels = self.live.process.log_levels() == self.log_levels.revision();
        has_levels && self.holds_everything()
    }

    fn holds_everything(&self) -> bool {
        self.live.is_in_sync(WORKER, &self.holdings)
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let held = self.worker.routes.values();
        if self.holds_everything() {
            let desired: Vec<_> = self.holdings.routes_after(None, WORKER).collect();
            prop_assert_eq!(held.clone().collect::<Vec<_>>(), desired);
        }
        if !self.altered {
            let known = |r: &Route| self.ever.contains(&(r.id, r.outputs[0].destination.port()));
            prop_assert!(held.clone().all(known), "a route that nobody desired: {held:?}");
        }
        let steady = self.worker.routes.get(&RuleSlot(STEADY as u32)) == Some(&route(STEADY, 1));
        prop_assert!(steady || !self.steady, "the repair took what was in order");
        self.steady = steady;
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u64, u16),
    Remove(u64),
    Turn(usize, Fate),
    Supervise,
    Tick,
    LogLevels,
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    let fates = [Fate::Taken, Fate::Taken, Fate::Lost, Fate::Garbled, Fate::Altered];
    let fate = prop::sample::select(fates.to_vec());
    let id = 1..7_u64;
    prop_oneof![
        6 => (id.clone(), 1..5_u16).prop_map(|(id, port)| Step::Set(id, port)),
        3 => id.prop_map(Step::Remove),
        10 => (0..4_usize, fate).prop_map(|(messages, fate)| Step::Turn(messages, fate)),
        6 => Just(Step::Supervise),
        3 => Just(Step::Tick),
        1 => Just(Step::LogLevels),
        1 => prop::bool::weighted(0.2).prop_map(|dies| if dies { Step::Die } else { Step::Tick }),
    ]
}

#[test]
fn by_hash_the_worker_has_the_steady_route_and_others_not() {
    let shares = Shares::new(Steering::Hash, &[1, 0]);
    let is_held = |id| {
        let key = route(id, 1).key;
        shares.owner(key.address, key.port) == Some(WORKER)
    };
    assert!(is_held(STEADY));
    assert!((1..7).any(is_held) && !(1..7).all(is_held));
}

proptest! {
    #[test]
    fn whatever_is_lost_or_late_the_worker_ends_with_what_is_desired(
        starting: bool,
        by_hash: bool,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut system = System::new(if by_hash { Steering::Hash } else { Steering::Cpu });
        if !starting {
            system.settle();
            prop_assert!(system.live.serving);
        }
        for step in steps {
            match step {
                Step::Set(id, port) => system.set(id, port),
                Step::Remove(id) => system.remove(id),
                Step::Turn(messages, fate) => system.turn(messages, fate),
                Step::Supervise => system.supervise(),
                Step::Tick => system.tick(),
                Step::LogLevels => system.set_log_levels(),
                Step::Die => system.replace(),
            }
            system.check()?;
        }
        system.settle();
        let serves_alone = system.live.serving && system.live.sync.is_none();
        let most = if serves_alone { REPAIR_TICKS } else { CONVERGENCE_TICKS };
        let mut ticks = 0;
        while !system.is_in_sync() {
            prop_assert!(ticks < most, "not in sync after {} ticks: {:?}", most, system.live);
            ticks += 1;
            system.tick();
            system.settle();
            system.check()?;
        }
    }
}
