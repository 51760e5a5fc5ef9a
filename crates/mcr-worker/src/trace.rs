//! The lives of some datagrams, written into the ledger for whoever looks. All of this rests, and
//! costs a branch a frame and one a send, while nothing is to be traced.

use std::net::SocketAddr;
use std::ops::Range;

use mcr_api::worker::TraceOrder;
use mcr_core::forward::{Frame, claimant};
use mcr_core::ids::RuleSlot;
use mcr_core::ledger::{self, Header};
use mcr_core::trace::{Event, Head, Step, Subject};
use mcr_core::verdict::DropReason;
use mcr_sys::process::realtime_ns;

use crate::counters::Counters;
use crate::limits;
use crate::routes::Routes;

/// The traces, and the traced datagrams of the batch at hand.
#[derive(Debug)]
pub(crate) struct Tracer {
    orders: Vec<Order>,
    datagrams: u64,
    /// The batch's, in the order in which they were taken.
    marks: Vec<Mark>,
    /// By the place of a payload in the list for the kernel: which mark is its own, counted from
    /// 1; 0 for none.
    by_place: Vec<u32>,
    /// How many payloads, and marks, have a place.
    payloads_placed: u32,
    marks_placed: usize,
}

/// An order with what came of it.
#[derive(Debug)]
struct Order {
    told: TraceOrder,
    /// Datagrams of the subject.
    seen: u64,
    /// Datagrams still to be traced.
    left: u64,
}

/// A traced datagram of the batch.
#[derive(Debug)]
struct Mark {
    /// How many payloads were taken before its own.
    taken: u32,
    /// The fields that all its events share.
    event: Event,
}

/// A frame, and when the kernel received it, in nanoseconds since 1970.
pub(crate) struct Arrival<'a> {
    pub(crate) frame: &'a Frame<'a>,
    pub(crate) received_ns: u64,
    /// Payloads of the batch before it.
    pub(crate) taken: usize,
}

/// A copy on its way or at its end.
pub(crate) struct Copy {
    pub(crate) step: Step,
    pub(crate) source: Option<SocketAddr>,
    pub(crate) destination: SocketAddr,
}

impl Tracer {
    pub(crate) fn new() -> Self {
        Self {
            orders: Vec::with_capacity(mcr_core::limits::TRACES),
            datagrams: 0,
            marks: Vec::with_capacity(limits::DATAGRAMS_AT_ONCE),
            by_place: vec![0; limits::DATAGRAMS_AT_ONCE],
            payloads_placed: 0,
            marks_placed: 0,
        }
    }

    /// Traces by these orders from now on; those in force go on where they are.
    pub(crate) fn set(&mut self, revision: u64, orders: Vec<TraceOrder>, counters: &Counters) {
        let mut before = std::mem::take(&mut self.orders);
        for order in orders {
            let same = before.iter().position(|other| other.told == order);
            self.orders.push(same.map_or_else(
                || {
                    counters.set(ledger::traced(order.place), 0);
                    Order { left: order.datagrams, seen: 0, told: order }
                },
                |same| before.swap_remove(same),
            ));
        }
        counters.header(Header::Traces, revision);
    }

    /// Whether there may be something to trace.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Whether there is a traced datagram in the batch.
    #[inline]
    pub(crate) fn is_marked(&self) -> bool {
        !self.marks.is_empty()
    }

    /// A batch begins.
    pub(crate) fn begin_batch(&mut self) {
        if self.is_marked() {
            self.marks.clear();
            self.by_place.fill(0);
        }
    }

    /// The payloads of the batch are about to be placed, for the first time or once more.
    pub(crate) fn begin_placing(&mut self) {
        self.payloads_placed = 0;
        self.marks_placed = 0;
    }

    /// A rule takes a frame, whose payloads are the next of the batch.
    #[cold]
    pub(crate) fn forwarded(
        &mut self,
        arrival: &Arrival<'_>,
        (rule, payload): (RuleSlot, Range<usize>),
        routes: &Routes,
        counters: &Counters,
    ) {
        let Some(route) = routes.at(rule) else {
            return;
        };
        let (subject, outputs) = (Subject::Rule(route.id()), route.outputs.len() as u32);
        let frame = arrival.frame;
        let headers = &frame.bytes[..payload.start];
        for (place, payload) in frame.coalescing.payloads(payload).enumerate() {
            if !self.takes(subject, counters) {
                continue;
            }
            // Each segment of a super-frame as the datagram that it is, behind their headers.
            let mut event = self.begin(arrival, subject);
            event.head = Head::of(&[headers, &frame.bytes[payload.clone()]]);
            event.len = (headers.len() + payload.len()) as u32;
            write(counters, &event, arrival.received_ns, Step::Received);
            write(counters, &event, realtime_ns(), Step::Forwarded { outputs });
            let taken = (arrival.taken + place) as u32;
            self.marks.push(Mark { taken, event });
        }
    }

    /// A frame is dropped.
    #[cold]
    pub(crate) fn dropped(
        &mut self,
        arrival: &Arrival<'_>,
        reason: DropReason,
        routes: &Routes,
        counters: &Counters,
    ) {
        let frame = arrival.frame;
        let claimant = claimant(&routes.table, frame).and_then(|slot| routes.at(slot));
        let subject =
            claimant.map_or(Subject::Unmatched(frame.ifindex), |route| Subject::Rule(route.id()));
        if self.takes(subject, counters) {
            let event = self.begin(arrival, subject);
            write(counters, &event, arrival.received_ns, Step::Received);
            write(counters, &event, realtime_ns(), Step::Dropped(reason));
        }
    }

    /// The next payload, in the order in which they were taken, stands at this place in the list
    /// for the kernel.
    pub(crate) fn placed(&mut self, place: usize) {
        let next = self.marks.get(self.marks_placed);
        if next.is_some_and(|mark| mark.taken == self.payloads_placed) {
            self.marks_placed += 1;
            self.by_place[place] = self.marks_placed as u32;
        }
        self.payloads_placed += 1;
    }

    /// Something happens to the copies of the payloads at these places.
    #[cold]
    pub(crate) fn copies(&self, places: Range<usize>, copy: &Copy, counters: &Counters) {
        let now = realtime_ns();
        for number in &self.by_place[places] {
            if let Some(mark) = (*number as usize).checked_sub(1).map(|mark| &self.marks[mark]) {
                let (source, destination) = (copy.source, Some(copy.destination));
                write(counters, &Event { source, destination, ..mark.event }, now, copy.step);
            }
        }
    }

    /// Whether the subject's next datagram is to be traced.
    fn takes(&mut self, subject: Subject, counters: &Counters) -> bool {
        let mut orders = self.orders.iter_mut();
        let Some(order) = orders.find(|order| order.told.subject == subject) else {
            return false;
        };
        let is_sample = order.seen % u64::from(order.told.one_in.get()) == 0;
        order.seen += 1;
        if !is_sample || order.left == 0 {
            return false;
        }
        order.left -= 1;
        counters.add(ledger::traced(order.told.place), 1);
        true
    }

    /// The fields that all events of a datagram share.
    fn begin(&mut self, arrival: &Arrival<'_>, subject: Subject) -> Event {
        let frame = arrival.frame;
        self.datagrams += 1;
        let ends = frame.ends();
        Event {
            at_ns: arrival.received_ns,
            datagram: self.datagrams,
            rule: match subject {
                Subject::Rule(id) => Some(id),
                Subject::Unmatched(_) => None,
            },
            ifindex: frame.ifindex,
            step: Step::Received,
            source: ends.map(|[source, _]| source),
            destination: ends.map(|[_, destination]| destination),
            len: frame.original_len,
            head: Head::of(&[frame.bytes]),
        }
    }
}

fn write(counters: &Counters, event: &Event, at_ns: u64, step: Step) {
    counters.event(&Event { at_ns, step, ..*event });
}
