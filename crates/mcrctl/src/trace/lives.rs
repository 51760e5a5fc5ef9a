//! Events put together to the lives of datagrams.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use mcr_api::control::{TraceEvent, TraceStep};
use mcr_api::time::time_of_day;

/// A datagram: its worker, which of that one's processes, and that one's number for it.
type Key = (u32, u64, u64);

/// Lives that may lack some events still.
#[derive(Debug, Default)]
pub(crate) struct Lives(BTreeMap<Key, Life>);

/// All that is known of one datagram, at least one event, in the order of time.
#[derive(Debug, Default)]
pub(crate) struct Life {
    events: Vec<TraceEvent>,
    /// How often events were taken in without any for it.
    rounds_without: u32,
}

impl Lives {
    /// Takes events in. Returns the lives that are complete, or to which nothing has been added for
    /// so many rounds, in the order in which the datagrams came in.
    pub(crate) fn take(&mut self, events: Vec<TraceEvent>, patience_rounds: u32) -> Vec<Life> {
        self.0.values_mut().for_each(|life| life.rounds_without += 1);
        for event in events {
            let life = self.0.entry((event.worker, event.incarnation, event.datagram)).or_default();
            life.rounds_without = 0;
            life.events.push(event);
        }
        let is_over = |life: &Life| life.is_whole() || life.rounds_without >= patience_rounds;
        let over: Vec<Key> =
            self.0.iter().filter(|(_, life)| is_over(life)).map(|(key, _)| *key).collect();
        let mut over: Vec<Life> = over.iter().filter_map(|key| self.0.remove(key)).collect();
        over.sort_by_key(Life::began_ns);
        over
    }
}

impl Life {
    fn is_whole(&self) -> bool {
        let forwarded = |event: &TraceEvent| match event.step {
            TraceStep::Forwarded { outputs } => Some(outputs as usize),
            TraceStep::Dropped { .. } => Some(0),
            _ => None,
        };
        let ends =
            |e: &&TraceEvent| matches!(e.step, TraceStep::Sent { .. } | TraceStep::Failed { .. });
        let outputs = self.events.iter().find_map(forwarded);
        outputs.is_some_and(|outputs| self.events.iter().filter(ends).count() >= outputs)
    }

    /// The first of its events that is known: its receipt, unless that was overwritten.
    pub(crate) fn first(&self) -> &TraceEvent {
        &self.events[0]
    }

    /// When that was, in nanoseconds since 1970.
    pub(crate) fn began_ns(&self) -> u64 {
        self.first().time_ns
    }

    /// A line of what came in, and one for each step after that. `outputs` are the rule's, by
    /// their places.
    pub(crate) fn text(&self, outputs: &[String]) -> String {
        let first = self.first();
        let mut text = format!(
            "{}  {} -> {}@{}  {} bytes, worker {}\n",
            time_of_day(first.time_ns),
            end(first.source),
            end(first.destination),
            first.interface,
            first.length,
            first.worker,
        );
        for (after, step) in self.steps(outputs) {
            writeln!(text, "  {:>12}  {step}", microseconds(after)).expect("a String takes all");
        }
        text
    }

    /// Its fate, in a line.
    pub(crate) fn verdict(&self, outputs: &[String]) -> String {
        let is_outcome = |step: &TraceStep| !matches!(step, TraceStep::Handed { .. });
        let mut parts = Vec::new();
        if let Some(rule) = self.first().rule {
            parts.push(format!("rule {rule}"));
        }
        let outcomes = self.events.iter().filter(|event| is_outcome(&event.step));
        parts.extend(outcomes.filter_map(|event| {
            let after = event.time_ns.saturating_sub(self.began_ns());
            let step = describe(event, outputs)?;
            Some(format!("{step} after {}", microseconds(after)))
        }));
        parts.join("; ")
    }

    /// Nanoseconds since the first event, and what happened then.
    fn steps(&self, outputs: &[String]) -> impl Iterator<Item = (u64, String)> {
        let began = self.began_ns();
        self.events.iter().filter_map(move |event| {
            Some((event.time_ns.saturating_sub(began), describe(event, outputs)?))
        })
    }
}

fn describe(event: &TraceEvent, outputs: &[String]) -> Option<String> {
    // The rule may have been replaced by another since; the event knows the address itself.
    let to = |place: u32| {
        let address = end(event.destination);
        let known = outputs.get(place as usize).filter(|output| output.starts_with(&address));
        known.cloned().unwrap_or(address)
    };
    Some(match &event.step {
        TraceStep::Received => return None,
        TraceStep::Forwarded { outputs: 1 } => "forwarded to 1 output".into(),
        TraceStep::Forwarded { outputs } => format!("forwarded to {outputs} outputs"),
        TraceStep::Dropped { reason } => format!("dropped: {reason}"),
        TraceStep::Handed { output } => {
            format!("from {} to {}", end(event.source), to(*output))
        }
        TraceStep::Sent { output } => format!("sent to {}", to(*output)),
        TraceStep::Failed { output, error, errno: 0 } => {
            format!("not sent to {}: {error}", to(*output))
        }
        TraceStep::Failed { output, error, errno } => {
            let said = io::Error::from_raw_os_error((*errno).into());
            format!("not sent to {}: {error}, {said}", to(*output))
        }
    })
}

fn end(address: Option<std::net::SocketAddr>) -> String {
    address.map_or_else(|| "?".into(), |address| address.to_string())
}

fn microseconds(ns: u64) -> String {
    format!("{}.{:03} µs", ns / 1_000, ns % 1_000)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An event of the datagram of that number, so many nanoseconds after ten o'clock.
    pub(crate) fn event(datagram: u64, after_ns: u64, step: TraceStep) -> TraceEvent {
        let is_copy = matches!(
            step,
            TraceStep::Handed { .. } | TraceStep::Sent { .. } | TraceStep::Failed { .. }
        );
        let [source, destination] = if is_copy {
            ["10.1.0.1:40000", "239.2.2.2:6000"]
        } else {
            ["10.0.0.7:4000", "239.1.1.1:5000"]
        };
        TraceEvent {
            time_ns: 36_000_000_000_000 + after_ns,
            worker: 1,
            incarnation: 1,
            datagram,
            rule: Some(5),
            interface: "eth0".into(),
            ethernet: true,
            step,
            source: Some(source.parse().unwrap()),
            destination: Some(destination.parse().unwrap()),
            length: 1042,
            head: "00ff".into(),
        }
    }

    fn outputs() -> Vec<String> {
        vec!["239.2.2.2:6000@eth1".into()]
    }

    #[test]
    fn a_life_is_told_in_order() {
        let mut lives = Lives::default();
        let refused = TraceStep::Failed { output: 0, error: "no_route".into(), errno: 101 };
        let events = vec![
            event(1, 0, TraceStep::Received),
            event(1, 12_345, TraceStep::Forwarded { outputs: 1 }),
            event(1, 14_000, TraceStep::Handed { output: 0 }),
            event(1, 20_001, refused),
        ];
        let [life] = lives.take(events, 1).try_into().unwrap();
        assert_eq!(
            life.text(&outputs()),
            "10:00:00.000000000Z  10.0.0.7:4000 -> 239.1.1.1:5000@eth0  1042 bytes, worker 1\n\
             \x20    12.345 µs  forwarded to 1 output\n\
             \x20    14.000 µs  from 10.1.0.1:40000 to 239.2.2.2:6000@eth1\n\
             \x20    20.001 µs  not sent to 239.2.2.2:6000@eth1: no_route, Network is unreachable \
             (os error 101)\n"
        );
        assert_eq!(
            life.verdict(&outputs()),
            "rule 5; forwarded to 1 output after 12.345 µs; not sent to 239.2.2.2:6000@eth1: \
             no_route, Network is unreachable (os error 101) after 20.001 µs"
        );
    }

    #[test]
    fn a_life_is_waited_for_and_not_for_ever() {
        let mut lives = Lives::default();
        let begun = vec![
            event(2, 0, TraceStep::Received),
            event(2, 1, TraceStep::Forwarded { outputs: 2 }),
            event(2, 2, TraceStep::Sent { output: 0 }),
            event(3, 3, TraceStep::Received),
            event(3, 4, TraceStep::Dropped { reason: "own".into() }),
        ];
        let dropped = lives.take(begun, 2);
        assert_eq!(dropped.len(), 1, "nothing follows a drop");
        assert!(lives.take(vec![], 2).is_empty());
        let rest = vec![event(2, 9, TraceStep::Sent { output: 1 })];
        assert_eq!(lives.take(rest, 2).len(), 1);
        lives.take(vec![event(4, 0, TraceStep::Received)], 2);
        assert!(lives.take(vec![], 2).is_empty());
        let [cut_short] = lives.take(vec![], 2).try_into().unwrap();
        assert_eq!(cut_short.text(&[]).lines().count(), 1);
    }
}
