//! Records of one cause: the first is printed, and then how often the others came.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::record::{Cause, Record};
use crate::limits;

/// The causes of the last while.
#[derive(Debug, Default)]
pub(super) struct Causes {
    recent: BTreeMap<Cause, Recent>,
}

/// A cause since it was first heard of, or since it was last told how often.
#[derive(Debug)]
struct Recent {
    since: Instant,
    printed: u32,
    last_printed: String,
    /// How many were kept back, and the latest of them.
    kept_back: u64,
    latest: Option<Record>,
}

/// A record that came so often, the one that was printed not counted, in this time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    pub(super) record: Record,
    pub(super) times: u64,
    pub(super) within: Duration,
}

impl Causes {
    /// Whether to print a record now. If not, [`Self::settle`] has it printed later.
    pub(super) fn admit(&mut self, record: &Record, now: Instant) -> bool {
        let cause = record.cause();
        let Some(recent) = self.recent.get_mut(&cause) else {
            // A cause that cannot be remembered is printed as often as the log as a whole allows.
            if self.recent.len() < limits::CAUSES_KEPT {
                self.recent.insert(cause, Recent::new(now, record.message.clone()));
            }
            return true;
        };
        if recent.last_printed != record.message && recent.printed < limits::CAUSE_BURST {
            recent.printed += 1;
            recent.last_printed.clone_from(&record.message);
            return true;
        }
        recent.kept_back += 1;
        recent.latest = Some(record.clone());
        false
    }

    /// What is to be told now of what was kept back, each some time after its first; with
    /// `everything`, however short that time.
    pub(super) fn settle(&mut self, now: Instant, everything: bool) -> Vec<Repeated> {
        let mut told = Vec::new();
        self.recent.retain(|_, recent| {
            let within = now.saturating_duration_since(recent.since);
            if within < limits::CAUSE_WINDOW && !everything {
                return true;
            }
            let Some(record) = recent.latest.take() else {
                return false;
            };
            // It may well go on.
            let again = Recent::new(now, record.message.clone());
            let before = std::mem::replace(recent, again);
            told.push(Repeated { record, times: before.kept_back, within });
            true
        });
        told
    }
}

impl Recent {
    fn new(since: Instant, last_printed: String) -> Self {
        Self { since, printed: 1, last_printed, kept_back: 0, latest: None }
    }
}

#[cfg(test)]
mod tests {
    use mcr_api::log::{Area, Level};

    use super::*;

    fn record(message: &str) -> Record {
        Record { message: message.into(), ..Record::new(Level::Warn, Area::Rules) }
    }

    #[test]
    fn what_is_said_again_is_told_with_its_count() {
        let (mut causes, begun) = (Causes::default(), Instant::now());
        assert!(causes.admit(&record("full"), begun));
        assert!((0..37).all(|_| !causes.admit(&record("full"), begun)));
        assert!(causes.admit(&record("empty"), begun), "another one is not kept back");
        assert_eq!(causes.settle(begun + limits::CAUSE_WINDOW / 2, false), []);
        let within = limits::CAUSE_WINDOW;
        let expected = Repeated { record: record("full"), times: 37, within };
        assert_eq!(causes.settle(begun + within, false), [expected]);
        assert!(!causes.admit(&record("full"), begun + within), "it goes on");
        let told = causes.settle(begun + within, true);
        assert_eq!((told.len(), told[0].times), (1, 1));
    }

    #[test]
    fn a_quiet_cause_is_forgotten() {
        let (mut causes, begun) = (Causes::default(), Instant::now());
        assert!(causes.admit(&record("full"), begun));
        assert_eq!(causes.settle(begun + limits::CAUSE_WINDOW, false), []);
        assert!(causes.admit(&record("full"), begun + limits::CAUSE_WINDOW));
    }

    #[test]
    fn a_cause_may_say_a_few_different_things() {
        let (mut causes, begun) = (Causes::default(), Instant::now());
        let mut admitted = |n: u32| causes.admit(&record(&format!("{n} slots")), begun);
        assert_eq!((0..100).filter(|n| admitted(*n)).count(), limits::CAUSE_BURST as usize);
        let told = causes.settle(begun, true);
        assert_eq!(told[0].times, u64::from(100 - limits::CAUSE_BURST));
        assert_eq!(told[0].record, record("99 slots"), "the latest");
    }

    #[test]
    fn no_number_of_causes_takes_more_memory_than_is_meant_for_them() {
        let (mut causes, begun) = (Causes::default(), Instant::now());
        for rule in 0..2 * limits::CAUSES_KEPT as u64 {
            assert!(causes.admit(&Record { rule: Some(rule), ..record("full") }, begun));
        }
        assert_eq!(causes.recent.len(), limits::CAUSES_KEPT);
    }
}
