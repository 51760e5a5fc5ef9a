//! Datagrams to neighbours that do not answer: told as a problem of the rule, counted as doubtful.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mcr_core::ids::{IfIndex, RuleId};
use mcr_core::route::{RouteOutput, Via};
use tokio::sync::mpsc;

use crate::interfaces::{Silence, Silent, Target, Watch};
use crate::state::State;
use crate::stats::report;
use crate::workers::Workers;

/// An output: its rule, and its place in that.
type Output = (RuleId, usize);

/// The neighbours of outputs, and which of those are silent.
#[derive(Debug)]
pub(crate) struct Doubts {
    watch: mpsc::UnboundedSender<Watch>,
    /// Of each rule, the targets of its outputs; `None` for a group.
    targets: BTreeMap<RuleId, Vec<Option<Target>>>,
    outputs: BTreeMap<Target, BTreeSet<Output>>,
    silent: Silent,
    counts: HashMap<Output, Doubt>,
}

/// Datagrams of an output that were sent while its neighbour was silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Doubt {
    /// Those of times that are over.
    before: u64,
    /// The output's count when the kernel began to ask, while the neighbour is silent.
    since: Option<u64>,
}

impl Doubts {
    pub(crate) fn new(watch: mpsc::UnboundedSender<Watch>) -> Self {
        Self {
            watch,
            targets: BTreeMap::new(),
            outputs: BTreeMap::new(),
            silent: Silent::new(),
            counts: HashMap::new(),
        }
    }

    /// A rule sends to these targets now, in the order of its outputs; to none where it is gone.
    fn set(&mut self, id: RuleId, targets: Vec<Option<Target>>) {
        let old = self.targets.remove(&id).unwrap_or_default();
        for (place, target) in old.iter().enumerate() {
            let Some(target) = target.filter(|target| targets.get(place) != Some(&Some(*target)))
            else {
                continue;
            };
            self.counts.remove(&(id, place));
            let Some(outputs) = self.outputs.get_mut(&target) else { continue };
            outputs.remove(&(id, place));
            if outputs.is_empty() {
                self.outputs.remove(&target);
                self.silent.remove(&target);
                // Its end is that of the supervisor.
                _ = self.watch.send(Watch::End(target));
            }
        }
        for (place, target) in targets.iter().enumerate() {
            let Some(target) = *target else { continue };
            let outputs = self.outputs.entry(target).or_default();
            if outputs.is_empty() {
                _ = self.watch.send(Watch::Begin(target));
            }
            outputs.insert((id, place));
        }
        if !targets.is_empty() {
            self.targets.insert(id, targets);
        }
    }

    /// Takes over which targets are silent, where `sent` says how much went to an output so far.
    /// Returns the rules of which there is something else to tell.
    fn take(&mut self, silent: Silent, sent: impl Fn(Output) -> u64) -> BTreeSet<RuleId> {
        let mut concerned = BTreeSet::new();
        for target in differing(&self.silent, &silent) {
            let [old, new] = [&self.silent, &silent].map(|silent| silence(silent, target));
            for &output in self.outputs.get(&target).into_iter().flatten() {
                let doubt = self.counts.entry(output).or_default();
                match (doubt.since, new) {
                    (None, Some(_)) => doubt.since = Some(sent(output)),
                    (Some(since), None) => {
                        // The kernel still had the datagrams of a neighbour that answered at once.
                        if old == Some(Silence::Unanswered) {
                            doubt.before += sent(output).saturating_sub(since);
                        }
                        doubt.since = None;
                    }
                    _ => {}
                }
                if old == Some(Silence::Unanswered) || new == Some(Silence::Unanswered) {
                    concerned.insert(output.0);
                }
            }
        }
        self.silent = silent;
        self.silent.retain(|target, _| self.outputs.contains_key(target));
        concerned
    }

    /// The outputs to targets that are silent in another way now.
    fn affected(&self, silent: &Silent) -> impl Iterator<Item = Output> {
        let targets = differing(&self.silent, silent).into_iter();
        targets.filter_map(|target| self.outputs.get(&target)).flatten().copied()
    }

    /// How many of the datagrams sent to an output may never have left this host.
    fn count(&self, output: Output, sent: u64) -> u64 {
        let Some(Doubt { before, since }) = self.counts.get(&output) else { return 0 };
        let target = self.targets.get(&output.0).and_then(|targets| *targets.get(output.1)?);
        let silence = target.and_then(|target| silence(&self.silent, target));
        let is_silent = silence == Some(Silence::Unanswered);
        before + since.filter(|_| is_silent).map_or(0, |since| sent.saturating_sub(since))
    }

    /// The silent neighbours of a rule's outputs.
    fn of(&self, id: RuleId) -> BTreeSet<(IfIndex, String)> {
        // Nearly always there is none, and rules are many.
        let targets = self.targets.get(&id).filter(|_| !self.silent.is_empty());
        let targets = targets.into_iter().flatten().flatten();
        let told = targets.filter_map(|target| {
            let (neighbour, silence) = self.silent.get(target)?;
            let named = if *neighbour == target.address {
                neighbour.to_string()
            } else {
                format!("the gateway {neighbour} of {}", target.address)
            };
            (*silence == Silence::Unanswered).then_some((target.ifindex, named))
        });
        told.collect()
    }
}

fn silence(silent: &Silent, target: Target) -> Option<Silence> {
    silent.get(&target).map(|(_, silence)| *silence)
}

/// The targets that are not silent in the same way before and after.
fn differing(before: &Silent, after: &Silent) -> BTreeSet<Target> {
    let both = before.keys().chain(after.keys()).copied();
    both.filter(|target| silence(before, *target) != silence(after, *target)).collect()
}

impl State {
    /// Looks at the neighbours that a rule's route sends to, and no longer at those of before.
    pub(crate) fn watch_neighbours(&mut self, id: RuleId) {
        let egresses = &self.holdings.egresses;
        let target = |output: &RouteOutput| {
            let address = output.destination.ip();
            let Via::Egress(egress) = output.via else { return None };
            let ifindex = egresses.ifindex(egress).filter(|_| !address.is_multicast())?;
            Some(Target { ifindex, address })
        };
        let route = self.holdings.route(id);
        let targets = route.into_iter().flat_map(|route| &route.outputs).map(target).collect();
        self.doubts.set(id, targets);
    }

    /// These targets are silent now.
    pub(crate) fn take_silent(&mut self, silent: Silent, workers: &Workers) {
        let sent = |(id, place): Output| {
            let tally = report::rule_tally(self.rules.get(id)?, self, workers);
            Some(((id, place), tally.outputs.get(place)?.sent))
        };
        let sent: HashMap<_, _> = self.doubts.affected(&silent).filter_map(sent).collect();
        let sent = |output| sent.get(&output).copied().unwrap_or(0);
        let concerned = self.doubts.take(silent, sent);
        self.tell_conditions(&concerned);
    }

    /// How many of the datagrams sent to an output may never have left this host.
    pub(crate) fn doubtful(&self, id: RuleId, place: usize, sent: u64) -> u64 {
        self.doubts.count((id, place), sent)
    }

    /// Notes for a rule's owner about its outputs' neighbours.
    pub(crate) fn silent_neighbours(&self, id: RuleId) -> impl Iterator<Item = String> {
        self.doubts.of(id).into_iter().map(|(ifindex, neighbour)| {
            let on = self.interfaces.numbered(ifindex);
            let on = on.map(|interface| format!(" on {}", interface.name)).unwrap_or_default();
            format!(
                "no_neighbour: {neighbour} does not answer{on}, and datagrams to it are lost: \
                 check the host's address, its cable and its VLAN"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(last: u8) -> Target {
        Target { ifindex: IfIndex(3), address: [10, 2, 0, last].into() }
    }

    fn silent(last: u8, silence: Silence) -> Silent {
        Silent::from([(target(last), (target(last).address, silence))])
    }

    const ONE: RuleId = RuleId(1);
    const TWO: RuleId = RuleId(2);

    #[test]
    fn what_goes_to_a_silent_neighbour_is_doubtful() {
        let (watch, mut watched) = mpsc::unbounded_channel();
        let mut doubts = Doubts::new(watch);
        doubts.set(ONE, vec![Some(target(9)), None]);
        doubts.set(TWO, vec![Some(target(9)), Some(target(8))]);
        assert!(matches!(watched.try_recv(), Ok(Watch::Begin(begun)) if begun == target(9)));
        assert!(doubts.take(silent(9, Silence::Asked), |_| 100).is_empty());
        assert_eq!(doubts.count((ONE, 0), 150), 0, "it may answer yet");
        let told = doubts.take(silent(9, Silence::Unanswered), |_| 150);
        assert_eq!(told, BTreeSet::from([ONE, TWO]));
        assert_eq!(doubts.count((ONE, 0), 170), 70);
        assert_eq!(doubts.count((TWO, 1), 170), 0);
        assert_eq!(doubts.of(ONE).len(), 1);
        assert_eq!(doubts.take(Silent::new(), |_| 180), BTreeSet::from([ONE, TWO]));
        assert_eq!(doubts.count((ONE, 0), 1_000), 80);
        assert!(doubts.of(ONE).is_empty());
    }

    #[test]
    fn a_neighbour_that_answers_at_once_leaves_no_doubt() {
        let mut doubts = Doubts::new(mpsc::unbounded_channel().0);
        doubts.set(ONE, vec![Some(target(9))]);
        doubts.take(silent(9, Silence::Asked), |_| 100);
        assert!(doubts.take(Silent::new(), |_| 120).is_empty());
        assert_eq!(doubts.count((ONE, 0), 130), 0);
    }

    #[test]
    fn nobody_looks_at_targets_without_outputs() {
        let (watch, mut watched) = mpsc::unbounded_channel();
        let mut doubts = Doubts::new(watch);
        doubts.set(ONE, vec![Some(target(9))]);
        doubts.set(TWO, vec![Some(target(9))]);
        doubts.set(ONE, Vec::new());
        doubts.set(TWO, vec![Some(target(9))]);
        assert!(matches!(watched.try_recv(), Ok(Watch::Begin(_))));
        assert!(watched.try_recv().is_err(), "one still sends there");
        doubts.set(TWO, vec![Some(target(8))]);
        assert!(matches!(watched.try_recv(), Ok(Watch::End(ended)) if ended == target(9)));
        assert!(matches!(watched.try_recv(), Ok(Watch::Begin(begun)) if begun == target(8)));
        doubts.take(silent(9, Silence::Unanswered), |_| 0);
        assert!(doubts.silent.is_empty(), "what was found of it before comes too late");
    }
}
