//! Which datagrams' lives the workers record, and until when. What they recorded is read from
//! their ledgers, and no worker is ever asked.

mod reading;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use mcr_api::worker::{TraceOrder, WorkerCommand};
use mcr_core::endpoint::InterfaceName;
use mcr_core::ids::{IfIndex, RuleId};
use mcr_core::interfaces::Interfaces;
use mcr_core::ledger::{Header, header, traced};
use mcr_core::limits::TRACES;
use mcr_core::rule_set::RuleSet;
use mcr_core::trace::Subject;
use mcr_sys::ledger::LedgerReader;

pub(crate) use reading::{Source, cursor, read};

/// The subject of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// A rule's datagrams.
    Rule(RuleId),
    /// Datagrams that come in by an interface, whatever its number is, and match no rule.
    Interface(InterfaceName),
}

/// A trace as it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) of: Of,
    pub(crate) one_in: NonZeroU32,
    /// Ends it; `None`: only its time does.
    pub(crate) datagrams: Option<u64>,
    pub(crate) time: Duration,
}

/// The traces that are on.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    running: Vec<Running>,
    /// Of the orders as the workers are to have them; 0: there never were any.
    revision: u64,
    ids: u64,
}

#[derive(Debug)]
struct Running {
    id: u64,
    place: usize,
    wanted: Wanted,
    ends: Instant,
    /// The interface's number when it was last looked for.
    ifindex: Option<IfIndex>,
}

/// Why no more traces can be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit reached: {TRACES} traces are on; end one with DisableTrace")]
pub(crate) struct TooManyTraces;

impl Traces {
    /// Has this traced. The same that is traced already has its time anew; with a number of
    /// datagrams, they are counted anew.
    pub(crate) fn enable(&mut self, wanted: Wanted) -> Result<(), TooManyTraces> {
        let ends = Instant::now() + wanted.time;
        let same = self.running.iter_mut().find(|running| running.wanted.of == wanted.of);
        if let Some(running) = same {
            let goes_on = running.wanted.one_in == wanted.one_in
                && (running.wanted.datagrams, wanted.datagrams) == (None, None);
            (running.wanted, running.ends) = (wanted, ends);
            if !goes_on {
                self.ids += 1;
                running.id = self.ids;
                self.revision += 1;
            }
            return Ok(());
        }
        let is_free = |place: &usize| self.running.iter().all(|running| running.place != *place);
        let place = (0..TRACES).find(is_free).ok_or(TooManyTraces)?;
        self.ids += 1;
        self.revision += 1;
        self.running.push(Running { id: self.ids, place, wanted, ends, ifindex: None });
        Ok(())
    }

    /// Has this traced no more; `None`: nothing. Returns how many traces that ends.
    pub(crate) fn disable(&mut self, of: Option<&Of>) -> usize {
        self.end(|running| of.is_none_or(|of| running.wanted.of == *of))
    }

    /// Of the orders as the workers are to have them.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// How many are on.
    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    /// Ends what is over (its time, its number of datagrams, or its rule) and finds the interfaces.
    pub(crate) fn refresh(
        &mut self,
        rules: &RuleSet,
        interfaces: &Interfaces,
        ledgers: &[&LedgerReader],
    ) {
        let (now, revision) = (Instant::now(), self.revision);
        let has_counted = |place: usize| -> u64 {
            // What stands there is of an order before, until the worker has this one.
            let current = ledgers.iter().filter(|ledger| is_in_force(ledger, revision));
            // A bound is compared: who has counted beyond all numbers has reached it.
            current.map(|ledger| ledger.load(traced(place))).fold(0, u64::saturating_add)
        };
        self.end(|running| {
            let counted =
                || running.wanted.datagrams.map(|most| has_counted(running.place) >= most);
            let rule_is_gone = matches!(running.wanted.of, Of::Rule(id) if rules.get(id).is_none());
            rule_is_gone || now >= running.ends || counted() == Some(true)
        });
        for running in &mut self.running {
            let number = running.number(interfaces);
            if std::mem::replace(&mut running.ifindex, number) != number {
                self.revision += 1;
            }
        }
    }

    /// The orders as the workers are to have them now.
    pub(crate) fn command(&self) -> WorkerCommand {
        let orders = self.running.iter().filter_map(Running::order).collect();
        WorkerCommand::SetTraces { revision: self.revision, orders }
    }

    /// Of which interfaces' datagrams those of no rule are wanted, and one in how many.
    pub(crate) fn strangers(&self) -> BTreeMap<IfIndex, NonZeroU32> {
        let interfaces = self.running.iter().filter(|r| matches!(r.wanted.of, Of::Interface(_)));
        interfaces.filter_map(|r| Some((r.ifindex?, r.wanted.one_in))).collect()
    }

    /// Whether a worker has the orders as they are now.
    pub(crate) fn are_in_force(&self, ledger: &LedgerReader) -> bool {
        is_in_force(ledger, self.revision)
    }

    fn end(&mut self, mut is_over: impl FnMut(&Running) -> bool) -> usize {
        let before = self.running.len();
        self.running.retain(|running| !is_over(running));
        let ended = before - self.running.len();
        self.revision += u64::from(ended > 0);
        ended
    }
}

fn is_in_force(ledger: &LedgerReader, revision: u64) -> bool {
    ledger.load_acquire(header(Header::Traces)) == revision
}

impl Running {
    /// The number that its interface has; `None` while there is none, or where it is a rule's.
    fn number(&self, interfaces: &Interfaces) -> Option<IfIndex> {
        match &self.wanted.of {
            Of::Rule(_) => None,
            Of::Interface(name) => interfaces.named(name).map(|interface| interface.index),
        }
    }

    fn order(&self) -> Option<TraceOrder> {
        let (subject, one_in) = match self.wanted.of {
            Of::Rule(id) => (Subject::Rule(id), self.wanted.one_in),
            // The filter has picked them out already.
            Of::Interface(_) => (Subject::Unmatched(self.ifindex?), NonZeroU32::MIN),
        };
        let datagrams = self.wanted.datagrams.unwrap_or(u64::MAX);
        Some(TraceOrder { id: self.id, place: self.place, subject, one_in, datagrams })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(rule: u64, datagrams: Option<u64>) -> Wanted {
        let of = Of::Rule(RuleId(rule));
        Wanted { of, one_in: NonZeroU32::MIN, datagrams, time: Duration::from_mins(1) }
    }

    fn orders(traces: &Traces) -> Vec<(u64, usize)> {
        let WorkerCommand::SetTraces { orders, .. } = traces.command() else {
            panic!("that is the command");
        };
        orders.iter().map(|order| (order.id, order.place)).collect()
    }

    #[test]
    fn each_trace_has_a_place_and_ends() {
        let mut traces = Traces::default();
        for rule in 0..TRACES as u64 {
            traces.enable(wanted(rule, None)).unwrap();
        }
        assert_eq!(traces.enable(wanted(100, None)), Err(TooManyTraces));
        assert_eq!(traces.disable(Some(&Of::Rule(RuleId(3)))), 1);
        assert_eq!(traces.disable(Some(&Of::Rule(RuleId(3)))), 0);
        traces.enable(wanted(100, None)).unwrap();
        assert!(orders(&traces).contains(&(TRACES as u64 + 1, 3)));
        assert_eq!(traces.disable(None), TRACES);
        assert!(orders(&traces).is_empty());
    }

    #[test]
    fn asking_again_prolongs_and_a_number_of_datagrams_counts_anew() {
        let mut traces = Traces::default();
        traces.enable(wanted(1, None)).unwrap();
        let (revision, before) = (traces.revision, orders(&traces));
        let ends = traces.running[0].ends;
        traces.enable(wanted(1, None)).unwrap();
        assert!(traces.running[0].ends > ends);
        assert_eq!((traces.revision, orders(&traces)), (revision, before));
        traces.enable(wanted(1, Some(5))).unwrap();
        traces.enable(wanted(1, Some(5))).unwrap();
        assert_eq!(orders(&traces), [(3, 0)]);
    }

    #[test]
    fn a_trace_ends_with_its_time_and_with_its_rule() {
        let mut traces = Traces::default();
        let (rules, interfaces) = (RuleSet::default(), Interfaces::default());
        let over = Wanted { time: Duration::ZERO, ..wanted(1, None) };
        traces.enable(over).unwrap();
        // There is no rule 2.
        traces.enable(wanted(2, None)).unwrap();
        let before = traces.revision;
        traces.refresh(&rules, &interfaces, &[]);
        assert_eq!((traces.len(), traces.revision), (0, before + 1));
        traces.refresh(&rules, &interfaces, &[]);
        assert_eq!(traces.revision, before + 1, "nothing is to be told");
    }
}
