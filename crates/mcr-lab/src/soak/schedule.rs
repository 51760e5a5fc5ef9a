//! Which faults come, in which order and of which form: all of it from the seed.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;
use serde::Serialize;

use super::flows::{LINKS, Link};
use crate::limits;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// A worker is killed (SIGKILL).
    KillWorker,
    /// A worker is stopped (SIGSTOP): alive, but silent.
    StopWorker,
    /// The supervisor is killed (SIGKILL), and started again.
    KillSupervisor,
    /// The supervisor is asked to end (SIGTERM), and started again.
    EndSupervisor,
    /// The supervisor is asked to read its configuration again (SIGHUP): with more rules, with a
    /// broken file, and with the first one.
    Reload,
    /// An interface goes down and up again.
    LinkDown,
    /// An interface's other end goes down and up again: the carrier is lost, and told for outputs.
    CarrierLost,
    /// An interface goes down and up several times in a row, faster than anybody looks.
    LinkFlaps,
    /// An interface is deleted and made anew.
    LinkGone,
    /// An interface is renamed and gets its name back.
    LinkRenamed,
    /// An interface's addresses change and change back.
    AddressChanged,
    /// An interface's MTU changes and changes back.
    MtuChanged,
    /// Other rules come and go.
    RulesChanged,
    /// A client adds and removes the only rule of another interface without a pause.
    RuleChurn,
    /// Clients send what is none, too much, and read nothing.
    BadClients,
    /// Interfaces of nobody's change all the time.
    NetlinkStorm,
    /// A worker does not read its commands while more come than its socket holds.
    FullCommandSocket,
    /// A frame stops a ring: the kernel cannot describe it there (UFO).
    RingStopped,
    /// The host of an output does not answer ARP or neighbour discovery.
    HostSilent,
    /// Another program listens on the port of a unicast input.
    SharedPort,
}

impl Kind {
    /// How often it comes in a round. What restarts the supervisor, or lasts for seconds, comes
    /// once, all else twice, so that each supervisor lives through most kinds more than once.
    fn times_in_a_round(self) -> usize {
        let lasts = matches!(self, Self::RuleChurn | Self::HostSilent);
        if lasts || self.restarts_the_supervisor() { 1 } else { 2 }
    }

    /// Whether more is looked at than losses, which only a relay that has recovered does right.
    pub(super) fn needs_a_whole_relay(self) -> bool {
        matches!(
            self,
            Self::AddressChanged
                | Self::Reload
                | Self::FullCommandSocket
                | Self::RingStopped
                | Self::HostSilent
                | Self::SharedPort
        )
    }

    /// Whether another supervisor serves afterwards.
    pub(super) fn restarts_the_supervisor(self) -> bool {
        matches!(self, Self::KillSupervisor | Self::EndSupervisor)
    }
}

impl fmt::Display for Kind {
    /// `kill-worker`, as the command line has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// One fault. Which of its parts matter depends on the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// From 1.
    pub(super) number: usize,
    /// What goes wrong.
    pub(super) kind: Kind,
    /// How long all is well before it.
    pub(super) calm: Duration,
    /// How long it lasts, where that is not the relay's affair.
    pub(super) hold: Duration,
    /// On which link.
    pub(super) link: Link,
    /// In which worker.
    pub(super) worker: usize,
    /// Whether the next one comes at once, while the relay is still recovering.
    pub(super) hasty: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, kind, hold, link, worker, hasty, .. } = self;
        write!(f, "#{number} {kind}")?;
        match kind {
            Kind::KillWorker | Kind::StopWorker | Kind::FullCommandSocket | Kind::RingStopped => {
                write!(f, " {worker}")?;
            }
            Kind::LinkDown | Kind::CarrierLost | Kind::LinkGone | Kind::LinkRenamed => {
                write!(f, " {link} for {} ms", hold.as_millis())?;
            }
            Kind::LinkFlaps | Kind::AddressChanged | Kind::MtuChanged => write!(f, " {link}")?,
            _ => {}
        }
        f.write_str(if *hasty { ", and at once" } else { "" })
    }
}

/// The faults of a seed, without end.
#[derive(Debug)]
pub(super) struct Schedule {
    random: Rng,
    kinds: Vec<Kind>,
    /// What is left of the round, in reverse order.
    round: Vec<Kind>,
    workers: usize,
    count: usize,
}

impl Schedule {
    /// For a relay with so many workers. No kind may stand twice, and there must be one.
    pub(super) fn new(seed: u64, kinds: &[Kind], workers: usize) -> Self {
        let (random, kinds) = (Rng::with_seed(seed), kinds.to_vec());
        Self { random, kinds, round: Vec::new(), workers, count: 0 }
    }

    /// The next fault.
    pub(super) fn next(&mut self) -> Fault {
        if self.round.is_empty() {
            let times = |kind: &Kind| std::iter::repeat_n(*kind, kind.times_in_a_round());
            self.round = self.kinds.iter().flat_map(times).collect();
            self.random.shuffle(&mut self.round);
        }
        let kind = self.round.pop().expect("a round has at least one kind");
        self.count += 1;
        let millis = |random: &mut Rng, range: std::ops::Range<Duration>| {
            let (from, to) = (range.start.as_millis() as u64, range.end.as_millis() as u64);
            Duration::from_millis(random.u64(from..to))
        };
        let random = &mut self.random;
        Fault {
            number: self.count,
            kind,
            calm: millis(random, limits::soak::CALM),
            hold: millis(random, limits::soak::HOLD),
            link: Link::all().nth(random.usize(..2 * usize::from(LINKS))).expect("so many are"),
            worker: random.usize(..self.workers),
            hasty: random.usize(..limits::soak::ONE_IS_HASTY) == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(seed: u64, count: usize) -> Vec<Fault> {
        let mut schedule = Schedule::new(seed, Kind::value_variants(), 2);
        (0..count).map(|_| schedule.next()).collect()
    }

    #[test]
    fn a_seed_is_a_sequence() {
        assert_eq!(faults(7, 100), faults(7, 100));
        assert_ne!(faults(7, 100), faults(8, 100));
    }

    #[test]
    fn a_round_has_every_kind_and_two_rounds_differ() {
        let round: usize = Kind::value_variants().iter().map(|k| k.times_in_a_round()).sum();
        let faults = faults(3, 2 * round);
        let kinds = |faults: &[Fault]| faults.iter().map(|f| f.kind).collect::<Vec<_>>();
        let (first, second) = (kinds(&faults[..round]), kinds(&faults[round..]));
        for kind in Kind::value_variants() {
            let times = first.iter().filter(|k| *k == kind).count();
            assert_eq!(times, kind.times_in_a_round(), "{kind}");
        }
        assert_ne!(first, second);
        assert_eq!(faults[5].number, 6);
    }

    #[test]
    fn every_link_and_worker_has_its_turn() {
        let faults = faults(11, 200);
        for link in Link::all() {
            assert!(faults.iter().any(|fault| fault.link == link), "{link}");
        }
        assert!((0..2).all(|worker| faults.iter().any(|fault| fault.worker == worker)));
        assert!(faults.iter().all(|fault| limits::soak::HOLD.contains(&fault.hold)));
    }

    #[test]
    fn a_fault_says_what_it_does() {
        let fault = Fault {
            number: 4,
            kind: Kind::LinkDown,
            calm: Duration::ZERO,
            hold: Duration::from_millis(312),
            link: Link::Egress(1),
            worker: 1,
            hasty: false,
        };
        assert_eq!(fault.to_string(), "#4 link-down out1 for 312 ms");
        assert_eq!(Fault { kind: Kind::KillWorker, ..fault }.to_string(), "#4 kill-worker 1");
        let hasty = Fault { kind: Kind::Reload, hasty: true, ..fault };
        assert_eq!(hasty.to_string(), "#4 reload, and at once");
    }
}
