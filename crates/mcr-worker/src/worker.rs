//! The worker's loop: the clock, then commands, then frames; waiting only when nothing came.

use std::rc::Rc;
use std::time::Duration;

use mcr_api::log::{Area, Level};
use mcr_core::endpoint::InterfaceName;
use mcr_core::ledger::{CoreCounter, Header};
use mcr_sys::process::monotonic_ns;

use crate::commands::{Commands, Next, close_read_out};
use crate::data_plane::{DataPlane, Turn};
use crate::flow::Finding;
use crate::in_vain::InVain;
use crate::limits;
use crate::log::{About, Log};
use crate::mechanism::Mechanism;

/// The name of the command socket's watch; rings have those from 1 on.
pub(crate) const COMMANDS_TOKEN: u32 = 0;

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The supervisor asked for it, and all frames that had come in were dealt with.
    Stopped,
    /// The supervisor is gone.
    Orphaned,
}

/// A worker with its mechanism.
#[derive(Debug)]
pub(crate) struct Worker<M> {
    pub(crate) mechanism: M,
    pub(crate) plane: DataPlane,
    pub(crate) commands: Commands,
    pub(crate) log: Rc<Log>,
    /// How long to look for frames, after the last one, before waiting for them.
    pub(crate) busy_poll: Duration,
    /// Whether to rest now and then, however much there is to do.
    pub(crate) rests: bool,
}

/// Moments of CLOCK_MONOTONIC, in nanoseconds.
struct Clock {
    /// When to read the kernel's statistics next.
    tick_at: u64,
    /// When to look for commands next.
    commands_at: u64,
    /// Until when to look for frames before waiting.
    poll_until: u64,
    /// Since when the loop has worked without a rest, but for what waits have made up for.
    busy_since: u64,
    /// Up to when that has been counted.
    busy_counted: u64,
    in_vain: InVain,
    /// When the present turn began: all that the loop does between two looks at the clock, two
    /// waits or two rests.
    turn_began: u64,
    longest_turn: u64,
}

impl Clock {
    fn starting_at(now: u64) -> Self {
        Self {
            tick_at: now,
            commands_at: now,
            poll_until: now,
            busy_since: now,
            busy_counted: now,
            in_vain: InVain::default(),
            turn_began: now,
            longest_turn: 0,
        }
    }

    /// Busy time that has not been counted yet.
    fn take_busy(&mut self, now: u64) -> u64 {
        now - std::mem::replace(&mut self.busy_counted, now)
    }

    /// A wait is a rest as long as it lasts. One that ended at once is none: after a thousand of
    /// them in a row the kernel would stop a real-time worker all the same.
    fn waited(&mut self, since: u64, now: u64) {
        let made_up = (now - since) * (1 + limits::REALTIME_RUNS_TO_REST);
        self.busy_since = now.min(self.busy_since + made_up);
        self.busy_counted = now;
        self.turn_began = now;
    }

    fn rested(&mut self, now: u64) {
        self.busy_since = now;
        self.busy_counted = now;
        self.turn_began = now;
    }
}

impl<M: Mechanism> Worker<M> {
    /// Relays until the supervisor says stop or is gone.
    pub(crate) fn run(&mut self) -> End {
        self.mechanism.watch(COMMANDS_TOKEN, self.commands.descriptor());
        let now = monotonic_ns();
        let mut clock = Clock::starting_at(now);
        loop {
            let now = monotonic_ns();
            self.end_turn(&mut clock, now);
            self.plane.counters.header(Header::Heartbeat, now);
            if now >= clock.tick_at {
                clock.tick_at = now + nanoseconds(limits::TICK);
                // Not only before a wait: a loop that never waits is busy all the time.
                self.plane.counters.core(CoreCounter::BusyNs, clock.take_busy(now));
                self.tick(&mut clock);
            }
            let mut idle = true;
            // No command between the copies of a datagram: it could take their route away.
            if now >= clock.commands_at && !self.plane.is_sending() {
                clock.commands_at = now + nanoseconds(limits::COMMAND_LOOK);
                match self.commands.turn(&mut self.plane, &mut self.mechanism, &self.log) {
                    Next::Idle => {}
                    Next::More => {
                        clock.commands_at = now;
                        idle = false;
                    }
                    Next::Stop => {
                        self.finish();
                        return End::Stopped;
                    }
                    Next::Orphaned => return End::Orphaned,
                }
            }
            idle &= !self.carry(now);
            if self.plane.is_closing_ring() {
                if !self.plane.is_sending() {
                    close_read_out(&mut self.plane, &mut self.mechanism, now);
                }
                idle = false;
            }
            if !idle {
                clock.in_vain.something_came();
                clock.poll_until = now + nanoseconds(self.busy_poll);
            } else if now < clock.poll_until {
                std::hint::spin_loop();
            } else {
                self.wait(&mut clock);
            }
            if self.rests
                && now.saturating_sub(clock.busy_since) >= nanoseconds(limits::REALTIME_RUN)
            {
                self.rest(&mut clock);
            }
            let system_calls = self.mechanism.take_system_calls();
            self.plane.counters.core(CoreCounter::SystemCalls, system_calls);
        }
    }

    /// A command that came in since the last look ends the wait at once.
    fn wait(&mut self, clock: &mut Clock) {
        let now = monotonic_ns();
        self.end_turn(clock, now);
        self.plane.counters.core(CoreCounter::BusyNs, clock.take_busy(now));
        self.mechanism.wait(Duration::from_nanos(clock.tick_at.saturating_sub(now)));
        self.plane.counters.core(CoreCounter::WakeUps, 1);
        clock.in_vain.woken();
        clock.waited(now, monotonic_ns());
        if self.mechanism.fired(COMMANDS_TOKEN) {
            clock.commands_at = clock.busy_counted;
        }
    }

    /// The kernel gives real-time threads 95 % of each second (`sched_rt_runtime_us`, `sched(7)`).
    /// Who takes more is stopped for the rest of it, in which a ring overflows; so rather stop by
    /// oneself, often and shortly.
    fn rest(&mut self, clock: &mut Clock) {
        let now = monotonic_ns();
        self.end_turn(clock, now);
        self.plane.counters.core(CoreCounter::BusyNs, clock.take_busy(now));
        let busy = now - clock.busy_since;
        std::thread::sleep(Duration::from_nanos(busy / limits::REALTIME_RUNS_TO_REST));
        self.plane.counters.core(CoreCounter::SystemCalls, 1);
        clock.rested(monotonic_ns());
    }

    fn tick(&mut self, clock: &mut Clock) {
        if clock.in_vain.tick() {
            self.mute_what_fired();
        }
        if self.look_at_rings() {
            clock.tick_at = monotonic_ns() + nanoseconds(limits::DOUBTFUL_LOOK);
        }
        self.count_lost_records();
    }

    /// Says whether one is to be looked at again soon.
    fn look_at_rings(&mut self) -> bool {
        let mut doubtful = false;
        let DataPlane { ingresses, counters, .. } = &mut self.plane;
        for ingress in ingresses {
            match ingress.look(counters) {
                Finding::Well => {}
                Finding::Doubtful => doubtful = true,
                Finding::Stuck => tell_stuck(&ingress.interface, &self.log),
            }
        }
        doubtful
    }

    /// Its frames are still looked for at each turn.
    fn mute_what_fired(&mut self) {
        let DataPlane { ingresses, counters, .. } = &mut self.plane;
        for ingress in ingresses {
            if self.mechanism.fired(ingress.token) {
                self.mechanism.mute(ingress.token);
                ingress.condemn(counters);
                tell_stuck(&ingress.interface, &self.log);
            }
        }
    }

    fn count_lost_records(&self) {
        let dropped = self.log.take_dropped();
        self.plane.counters.core(CoreCounter::LogRecordsDropped, dropped);
    }

    /// Carries frames for a turn that began then; says whether there was anything to do.
    fn carry(&mut self, now: u64) -> bool {
        let turn = Turn { now, until: now + nanoseconds(limits::TURN) };
        self.plane.turn(turn, &mut self.mechanism, &self.log)
    }

    /// Takes down how long a turn took.
    fn end_turn(&self, clock: &mut Clock, now: u64) {
        let took = now - std::mem::replace(&mut clock.turn_began, now);
        if took > clock.longest_turn {
            clock.longest_turn = took;
            self.plane.counters.header(Header::LongestTurn, took);
        }
        if took > nanoseconds(limits::LONG_TURN) {
            self.plane.counters.core(CoreCounter::LongTurns, 1);
        }
    }

    /// Sends what has already come in.
    fn finish(&mut self) {
        let until = monotonic_ns() + nanoseconds(limits::LAST_FRAMES_FOR);
        loop {
            let now = monotonic_ns();
            let is_over = now >= until && !self.plane.is_sending();
            if is_over || !self.carry(now) {
                break;
            }
        }
        self.look_at_rings();
        self.count_lost_records();
    }
}

fn tell_stuck(interface: &InterfaceName, log: &Log) {
    let message = || {
        format!(
            "{interface}: its ring takes nothing any more and is made anew; a frame came whose \
             segments Linux cannot describe (UFO, or before Linux 6.2 any UDP super-frame): switch \
             merging off, ethtool -K {interface} gro off lro off, and for a sender on this host \
             ethtool -K PEER tx-udp-segmentation off"
        )
    };
    log.write(Level::Warn, Area::Ingress, About::Interface(interface), message);
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
