//! The brake on circles through other relays.

use std::net::SocketAddr;

use mcr_api::log::{Area, Level};
use mcr_core::circle::{self, Fingerprint, Suspicions};
use mcr_core::forward::Frame;
use mcr_core::ids::{RuleId, RuleSlot};
use mcr_core::ledger::{self, BrakeNote, Record};
use mcr_core::limits::{BRAKE_MS, BRAKES, RECENT_MS};
use mcr_sys::ledger::LedgerWriter;

use crate::counters::Counters;
use crate::log::{About, Log};
use crate::routes::{HeldRoute, Routes};

/// A worker's knowledge of circles.
#[derive(Debug)]
pub(crate) struct Circles {
    /// Shared by all workers.
    sightings: LedgerWriter,
    suspicions: Suspicions,
    brakes: [Option<Brake>; BRAKES],
    /// The rules that this or another worker brakes.
    braked: [Option<RuleSlot>; BRAKES],
    /// Whether there is any.
    is_braking: bool,
}

/// A rule does not relay what comes back from one sender.
#[derive(Clone, Copy, Debug)]
struct Brake {
    rule: RuleId,
    sender: SocketAddr,
    begun_ns: u64,
    /// When it last stopped a datagram.
    last_ns: u64,
}

/// How long a new brake stops each payload that it has seen, whoever sent it first.
const DRAIN_NS: u64 = RECENT_MS * 1_000_000;

impl Circles {
    pub(crate) fn new(sightings: LedgerWriter) -> Self {
        Self {
            sightings,
            suspicions: Suspicions::default(),
            brakes: [None; BRAKES],
            braked: [None; BRAKES],
            is_braking: false,
        }
    }

    /// Whether a matched datagram must be looked at: it is one of the sample, or some rule is
    /// braked.
    #[inline]
    pub(crate) fn wants(&self, slot: RuleSlot, payload: &[u8]) -> bool {
        self.is_braking || circle::glance(slot, payload).is_sampled()
    }

    /// Looks at a matched datagram. Returns whether a brake stops it.
    #[cold]
    pub(crate) fn look(
        &mut self,
        slot: RuleSlot,
        payload: &[u8],
        frame: &Frame<'_>,
        scene: &Scene<'_>,
    ) -> bool {
        let Some(source) = frame.source() else { return false };
        let glance = circle::glance(slot, payload);
        if glance.is_sampled() {
            self.sight(slot, glance, source, scene);
        }
        self.is_braking && self.stops(slot, payload, source, scene)
    }

    /// Takes down that a rule's payload came from there.
    pub(crate) fn sight(
        &mut self,
        slot: RuleSlot,
        glance: Fingerprint,
        source: SocketAddr,
        scene: &Scene<'_>,
    ) {
        if circle::sight(&self.sightings, glance, source, scene.now)
            && self.suspicions.confirm(slot, source, scene.now)
        {
            self.brake(slot, source, scene);
        }
    }

    fn brake(&mut self, slot: RuleSlot, sender: SocketAddr, scene: &Scene<'_>) {
        // What names its source takes no other sender's.
        let route = scene.routes.at(slot).filter(|route| route.source().is_none());
        let Some(rule) = route.map(HeldRoute::id) else { return };
        let is_this = |brake: &Brake| brake.rule == rule && brake.sender == sender;
        if self.brakes.iter().flatten().any(is_this) {
            return;
        }
        let Some(place) = self.brakes.iter().position(Option::is_none) else { return };
        self.brakes[place] = Some(Brake { rule, sender, begun_ns: scene.now, last_ns: scene.now });
        circle::announce_brake(&self.sightings, slot, scene.now);
        self.read_braked(scene.now);
        let record = Record::brake(place);
        let [high, low] = ledger::address_words(sender.ip());
        scene.counters.set(record.of_brake(BrakeNote::SenderHigh), high);
        scene.counters.set(record.of_brake(BrakeNote::SenderLow), low);
        scene.counters.set(record.of_brake(BrakeNote::SenderPort), sender.port().into());
        scene.counters.mark(record, rule.0);
        let message =
            || format!("rule {rule}: its datagrams come back from {sender}: dropping them");
        scene.log.write(Level::Warn, Area::Ingress, About::Rule(rule), message);
    }

    fn stops(
        &mut self,
        slot: RuleSlot,
        payload: &[u8],
        source: SocketAddr,
        scene: &Scene<'_>,
    ) -> bool {
        if !self.braked.contains(&Some(slot)) {
            return false;
        }
        let now = scene.now;
        let id = scene.routes.at(slot).map(HeldRoute::id);
        let mut brakes = self.brakes.iter_mut().flatten();
        let brake = brakes.find(|brake| Some(brake.rule) == id && brake.sender == source);
        // What goes round from before the brake has no other sender on record.
        let drains = brake.as_ref().is_some_and(|brake| now - brake.begun_ns < DRAIN_NS);
        let sighting = circle::Sighting { whole: circle::whole(slot, payload), source, now };
        let is_relayed = circle::is_relayed(&self.sightings, &sighting, drains);
        let Some(brake) = brake.filter(|_| is_relayed) else { return false };
        brake.last_ns = now;
        circle::announce_brake(&self.sightings, slot, now);
        true
    }

    fn read_braked(&mut self, now: u64) {
        for (place, braked) in self.braked.iter_mut().enumerate() {
            *braked = circle::braked_at(&self.sightings, place, now);
        }
        self.is_braking = self.braked.iter().any(Option::is_some);
    }

    /// Looks which rules are braked, and ends the brakes that have stopped nothing for a while.
    pub(crate) fn turn(&mut self, now: u64, counters: &Counters) {
        self.read_braked(now);
        for (place, brake) in self.brakes.iter_mut().enumerate() {
            let idle_ns = |brake: Brake| now.saturating_sub(brake.last_ns);
            if brake.is_some_and(|brake| idle_ns(brake) > u64::from(BRAKE_MS) * 1_000_000) {
                *brake = None;
                counters.close(Record::brake(place));
            }
        }
    }
}

/// The needs of a look at a datagram.
pub(crate) struct Scene<'a> {
    /// The monotonic clock's, in nanoseconds.
    pub(crate) now: u64,
    pub(crate) routes: &'a Routes,
    pub(crate) counters: &'a Counters,
    pub(crate) log: &'a Log,
}
