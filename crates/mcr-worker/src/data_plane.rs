//! From a ring to the outputs: one batch at a time, without allocation, lock or waiting.

use mcr_api::log::{Area, Level};
use mcr_core::circle;
use mcr_core::forward::forward;
use mcr_core::ledger::{self, CoreCounter, Header};
use mcr_core::verdict::{DropReason, Verdict};
use mcr_sys::gather::GatherBuffer;
use mcr_sys::process::monotonic_ns;

use crate::batch::{Batch, Matched};
use crate::circles::{Circles, Scene};
use crate::counters::Counters;
use crate::egress::EgressTable;
use crate::ingress::Ingress;
use crate::limits;
use crate::log::{About, Log};
use crate::mechanism::Mechanism;
use crate::routes::Routes;
use crate::trace::{Arrival, Tracer};
use crate::transmit::{Sources, Transmitter};

/// All that a datagram meets on its way.
#[derive(Debug)]
pub(crate) struct DataPlane {
    pub(crate) routes: Routes,
    pub(crate) egresses: EgressTable,
    pub(crate) ingresses: Vec<Ingress>,
    pub(crate) counters: Counters,
    pub(crate) tracer: Tracer,
    circles: Circles,
    batch: Batch,
    gather: GatherBuffer,
    transmitter: Transmitter,
    /// The batch that has not been sent whole.
    pending: Option<Pending>,
    /// The ring that comes next.
    next_ring: usize,
}

/// The content of a batch until its end.
#[derive(Clone, Copy, Debug)]
struct Pending {
    ring: usize,
    frames: usize,
}

/// The time of a turn, on the monotonic clock in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) now: u64,
    pub(crate) until: u64,
}

/// The outcome of a batch's frames, apart from the datagrams that matched.
#[derive(Default)]
struct Reading {
    frames: usize,
    bytes: u64,
    datagrams: u64,
    drops: [u64; DropReason::COUNT],
    /// The batch was full before the ring was empty.
    full: bool,
}

impl DataPlane {
    pub(crate) fn new(counters: Counters, circles: Circles) -> Self {
        Self {
            routes: Routes::new(),
            egresses: EgressTable::new(),
            ingresses: Vec::new(),
            counters,
            tracer: Tracer::new(),
            circles,
            batch: Batch::new(),
            gather: GatherBuffer::with_room_for(limits::DATAGRAMS_AT_ONCE),
            transmitter: Transmitter::new(),
            pending: None,
            next_ring: 0,
        }
    }

    /// Whether a batch has not been sent whole. What it needs, routes and sockets, must stay.
    pub(crate) fn is_sending(&self) -> bool {
        self.pending.is_some()
    }

    /// Carries a batch from each ring to the outputs, as far as the time lasts; says whether there
    /// was anything to do. After the rest of an earlier batch it returns at once, so that commands
    /// get their turn between any two batches.
    pub(crate) fn turn(&mut self, turn: Turn, mechanism: &mut impl Mechanism, log: &Log) -> bool {
        self.circles.turn(turn.now, &self.counters);
        if let Some(pending) = self.pending.take() {
            self.carry_on(pending, turn, mechanism);
            return true;
        }
        let mut any = false;
        for _ in 0..self.ingresses.len() {
            let ring = self.next_ring % self.ingresses.len();
            self.next_ring = ring + 1;
            let Some(frames) = self.take_batch(ring, turn, log) else {
                continue;
            };
            any = true;
            self.carry_on(Pending { ring, frames }, turn, mechanism);
            let now = monotonic_ns();
            self.counters.header(Header::Heartbeat, now);
            if self.is_sending() || now >= turn.until {
                break;
            }
        }
        any
    }

    /// Whether a ring is read out before it is closed.
    pub(crate) fn is_closing_ring(&self) -> bool {
        self.ingresses.iter().any(Ingress::is_closing)
    }

    /// Reads and counts a batch; says how many frames it holds, if any.
    fn take_batch(&mut self, ring: usize, turn: Turn, log: &Log) -> Option<usize> {
        let reading = self.read_batch(ring, turn, log);
        if reading.frames == 0 {
            return None;
        }
        let ingress = &mut self.ingresses[ring];
        let in_use = if reading.full { ingress.ring.backlog() } else { reading.frames };
        ingress.count_batch(reading.frames, in_use, &self.counters);
        if reading.drops[DropReason::Coalesced.index()] != 0 {
            tell_coalesced(ingress, log);
        }
        self.count_reading(&reading);
        self.note_sources(ring, turn.now, log);
        self.transmitter.begin();
        Some(reading.frames)
    }

    /// Sends on, and hands the slots back when all is sent.
    fn carry_on(&mut self, batch: Pending, turn: Turn, mechanism: &mut impl Mechanism) {
        let is_sent = self.batch.len() == 0 || self.transmit(batch.ring, turn.until, mechanism);
        if !is_sent {
            self.pending = Some(batch);
            return;
        }
        let ring = &mut self.ingresses[batch.ring].ring;
        ring.release(batch.frames);
        self.counters.core(CoreCounter::SystemCalls, ring.take_system_calls());
    }

    fn read_batch(&mut self, index: usize, turn: Turn, log: &Log) -> Reading {
        let Self { ingresses, routes, counters, tracer, circles, batch, transmitter, .. } = self;
        let (routes, counters) = (&*routes, &*counters);
        let scene = Scene { now: turn.now, routes, counters, log };
        let ingress = &mut ingresses[index];
        let (origin, frames_at_once) = (ingress.origin, ingress.frames_at_once());
        let mut reading = Reading::default();
        batch.begin(transmitter.pace.copies_within(limits::BATCH));
        tracer.begin_batch();
        let is_tracing = tracer.is_on();
        while let Some(frame) = ingress.frame(reading.frames) {
            let view = origin.view(&frame);
            let taken = batch.len();
            let verdict = forward(&routes.table, &view);
            if verdict == Verdict::Drop(DropReason::Unfilled) && frame.is_fillable() {
                ingress.ring.fill_in(reading.frames);
                continue;
            }
            let datagrams = match &verdict {
                Verdict::Forward { rule, payload } => {
                    let datagrams = view.coalescing.datagrams(payload.len());
                    let (rule, fan_out) = (*rule, routes.fan_out(*rule));
                    if !batch.has_room_for(datagrams, fan_out) {
                        reading.full = true;
                        break;
                    }
                    for payload in view.coalescing.payloads(payload.clone()) {
                        let bytes = &view.bytes[payload.clone()];
                        if circles.wants(rule, bytes) && circles.look(rule, bytes, &view, &scene) {
                            continue;
                        }
                        let payload = frame.offset + payload.start..frame.offset + payload.end;
                        let frame = reading.frames as u32;
                        batch.push(Matched { rule, payload, frame }, fan_out);
                    }
                    datagrams
                }
                Verdict::Drop(_) => view.datagrams(),
            };
            let dropped = datagrams - (batch.len() - taken);
            if is_tracing {
                let arrival = Arrival { frame: &view, received_ns: frame.received_ns, taken };
                match &verdict {
                    Verdict::Forward { rule, payload } if dropped < datagrams => {
                        let matched = (*rule, payload.clone());
                        tracer.forwarded(&arrival, matched, routes, counters);
                    }
                    verdict => tracer.dropped(&arrival, reason(verdict), routes, counters),
                }
            }
            if dropped > 0 {
                reading.drops[reason(&verdict).index()] += dropped as u64;
            }
            reading.frames += 1;
            reading.datagrams += datagrams as u64;
            reading.bytes += u64::from(frame.original_len);
            let looks = reading.frames.is_multiple_of(limits::FRAMES_BETWEEN_LOOKS);
            if reading.frames == frames_at_once || (looks && monotonic_ns() >= turn.until) {
                reading.full = true;
                break;
            }
        }
        reading
    }

    /// Notes for each run when its rule was last wanted, and by whom. Reading the headers again
    /// costs less for each run than keeping the source of each datagram would.
    fn note_sources(&mut self, index: usize, now: u64, log: &Log) {
        let Self { ingresses, routes, counters, circles, batch, .. } = self;
        let (routes, counters) = (&*routes, &*counters);
        let scene = Scene { now, routes, counters, log };
        let ingress = &mut ingresses[index];
        let origin = ingress.origin;
        for run in batch.runs() {
            let Some(frame) = ingress.frame(run.last_frame as usize) else { continue };
            let view = origin.view(&frame);
            if let (Some((source, payload)), Some(route)) = (view.last(), routes.at(run.rule)) {
                counters.last_seen(route.record, now, source);
                let glance = circle::glance(run.rule, &view.bytes[payload]);
                // The sample was looked at as it came.
                if !glance.is_sampled() {
                    circles.sight(run.rule, glance, source, &scene);
                }
            }
        }
    }

    /// Sends on; says whether all of the batch is sent.
    fn transmit(&mut self, index: usize, until: u64, mechanism: &mut impl Mechanism) -> bool {
        let ring = &self.ingresses[index].ring;
        let mut gather = self.gather.gather(ring, self.batch.len());
        if self.tracer.is_marked() {
            self.tracer.begin_placing();
            self.batch.arrange(|place, payload| {
                gather.place(place, payload);
                self.tracer.placed(place);
            });
        } else {
            self.batch.arrange(|place, payload| gather.place(place, payload));
        }
        let sources = Sources {
            batch: &self.batch,
            gather: &gather,
            routes: &self.routes,
            egresses: &self.egresses,
            counters: &self.counters,
            tracer: &self.tracer,
        };
        self.transmitter.transmit(&sources, mechanism, until)
    }

    fn count_reading(&self, reading: &Reading) {
        let counters = &self.counters;
        counters.core(CoreCounter::Batches, 1);
        counters.add(ledger::batch_size(reading.frames), 1);
        counters.core(CoreCounter::FramesRead, reading.frames as u64);
        counters.core(CoreCounter::BytesRead, reading.bytes);
        counters.core(CoreCounter::Datagrams, reading.datagrams);
        counters.core(CoreCounter::Matched, self.batch.len() as u64);
        counters.core(CoreCounter::Copies, self.batch.copies() as u64);
        for &reason in DropReason::ALL {
            let count = reading.drops[reason.index()];
            if count != 0 {
                counters.dropped(reason, count);
            }
        }
    }
}

/// Why a frame's datagrams are not forwarded; those of a rule only by a brake.
fn reason(verdict: &Verdict) -> DropReason {
    match verdict {
        Verdict::Drop(reason) => *reason,
        Verdict::Forward { .. } => DropReason::Circle,
    }
}

/// Says once for each ring what to do about super-frames.
fn tell_coalesced(ingress: &mut Ingress, log: &Log) {
    if std::mem::replace(&mut ingress.told_coalesced, true) {
        return;
    }
    let name = &ingress.interface;
    let message = || {
        format!(
            "{name}: dropping super-frames that cannot be taken apart into their datagrams \
             (counted as coalesced; Linux tells the segments of UDP from 6.2 on); switch merging \
             off: ethtool -K {name} gro off lro off rx-udp-gro-forwarding off, and for a sender \
             on this host ethtool -K PEER tx-udp-segmentation off"
        )
    };
    log.write(Level::Warn, Area::Ingress, About::Interface(name), message);
}

#[cfg(test)]
mod tests;
