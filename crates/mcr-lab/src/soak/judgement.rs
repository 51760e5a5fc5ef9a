//! The judgement over what was sent and what came: pure, from records and announced windows.

use std::fmt;
use std::time::Duration;

use super::flows::Flow;
use super::window::Window;

/// One flow from one quiet point to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    /// Which.
    pub(super) flow: &'a Flow,
    /// The sequence number of the first datagram.
    pub(super) first: u64,
    /// When each was sent, in nanoseconds of the monotonic clock, in the order of sequence numbers.
    pub(super) sent_ns: &'a [u64],
    /// Sequence numbers that came to the sink, in the order of their coming.
    pub(super) arrived: &'a [u64],
}

/// What should not be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// The flow in words.
    pub(super) flow: String,
    /// What is wrong with it.
    pub(super) defect: Defect,
    /// The time of sending, of the first and the last of them; nanoseconds of the monotonic clock.
    pub(super) sent_ns: (u64, u64),
}

/// What a flow must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    /// So many datagrams in a row were lost outside every window.
    Lost(u64),
    /// So many in a row came more than once.
    Duplicated(u64),
    /// One came that belongs to an earlier epoch: twice then, or long after all was quiet.
    OutOfTime(u64),
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(count) => write!(f, "{count} lost"),
            Self::Duplicated(count) => write!(f, "{count} came more than once"),
            Self::OutOfTime(sequence) => write!(f, "number {sequence} came out of its time"),
        }
    }
}

/// What came of one flow's record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Datagrams lost within windows.
    pub(super) excused: u64,
    /// What should not be.
    pub(super) findings: Vec<Finding>,
    /// For each window that covers the flow and that no other overlaps, by its place: the time
    /// from the end of its cause to the sending of the first that came after the last loss.
    pub(super) outages: Vec<(usize, Duration)>,
}

/// Judges one flow.
pub(super) fn judge(record: &Record<'_>, windows: &[Window]) -> Judged {
    let Record { flow, first, sent_ns, arrived } = *record;
    let mut judged = Judged::default();
    let mut times = vec![0_u32; sent_ns.len()];
    for &sequence in arrived {
        let place = sequence.checked_sub(first).map(|place| place as usize);
        match place.and_then(|place| times.get_mut(place)) {
            Some(times) => *times += 1,
            None => judged.found(flow, Defect::OutOfTime(sequence), (0, 0)),
        }
    }
    let excused = |place: usize| windows.iter().any(|w| w.excuses(flow, sent_ns[place]));
    let is_lost = |place: usize| times[place] == 0 && !excused(place);
    let total = times.iter().filter(|times| **times == 0).count() as u64;
    let mut unexcused = 0;
    for (from, to) in runs(times.len(), is_lost) {
        unexcused += (to - from) as u64;
        judged.found(flow, Defect::Lost((to - from) as u64), (sent_ns[from], sent_ns[to - 1]));
    }
    for (from, to) in runs(times.len(), |place| times[place] > 1) {
        let defect = Defect::Duplicated((to - from) as u64);
        judged.found(flow, defect, (sent_ns[from], sent_ns[to - 1]));
    }
    judged.excused = total - unexcused;
    let covering = || windows.iter().enumerate().filter(|(_, window)| window.concern.covers(flow));
    for (place, window) in covering() {
        // What two faults together cost cannot be told apart.
        if !covering().any(|(other, w)| other != place && w.overlaps(window)) {
            judged.outages.push((place, outage(record, &times, window)));
        }
    }
    judged
}

impl Judged {
    fn found(&mut self, flow: &Flow, defect: Defect, sent_ns: (u64, u64)) {
        self.findings.push(Finding { flow: flow.to_string(), defect, sent_ns });
    }
}

/// The places of `0..len` that are so, as ranges of neighbours.
fn runs(len: usize, is_so: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for place in (0..len).filter(|place| is_so(*place)) {
        match runs.last_mut() {
            Some((_, to)) if *to == place => *to += 1,
            _ => runs.push((place, place + 1)),
        }
    }
    runs
}

/// How long the flow was out after the window's cause was gone.
fn outage(record: &Record<'_>, times: &[u32], window: &Window) -> Duration {
    let Record { flow, sent_ns, .. } = *record;
    let lost = |place: &usize| times[*place] == 0 && window.excuses(flow, sent_ns[*place]);
    let Some(final_loss) = (0..times.len()).rev().find(lost) else {
        return Duration::ZERO;
    };
    let back = (final_loss..times.len()).find(|place| times[*place] > 0).unwrap_or(final_loss);
    Duration::from_nanos(sent_ns[back].saturating_sub(window.over_ns))
}

#[cfg(test)]
mod tests {
    use super::super::flows::{Link, flows, rules};
    use super::super::window::Concern;
    use super::super::window::tests::window;
    use super::*;

    const FIRST: u64 = 500;

    /// A datagram each 10 ms from 0 on; those not in `missing` came, in order.
    fn judged(missing: &[u64], again: &[u64], windows: &[Window]) -> Judged {
        let flow = &flows(&rules(), 2)[0];
        let sent_ns: Vec<u64> = (0..1_000).map(|n| n * 10_000_000).collect();
        let numbers = (0..1_000).filter(|n| !missing.contains(n)).chain(again.iter().copied());
        let arrived: Vec<u64> = numbers.map(|n| FIRST + n).collect();
        judge(&Record { flow, first: FIRST, sent_ns: &sent_ns, arrived: &arrived }, windows)
    }

    fn defects(judged: &Judged) -> Vec<Defect> {
        judged.findings.iter().map(|finding| finding.defect).collect()
    }

    #[test]
    fn all_that_was_sent_came_once() {
        assert_eq!(judged(&[], &[], &[]), Judged::default());
    }

    #[test]
    fn a_loss_without_a_window_is_found_with_its_time() {
        let judged = judged(&[100, 101, 102, 200], &[], &[]);
        assert_eq!(defects(&judged), [Defect::Lost(3), Defect::Lost(1)]);
        assert_eq!(judged.findings[0].sent_ns, (1_000_000_000, 1_020_000_000));
        assert_eq!(judged.excused, 0);
    }

    #[test]
    fn a_loss_at_the_very_end_is_found() {
        assert_eq!(defects(&judged(&[998, 999], &[], &[])), [Defect::Lost(2)]);
    }

    #[test]
    fn within_a_window_a_loss_is_excused_and_makes_the_outage() {
        let windows = [window(Concern::Link(Link::Egress(0)), 2_000, 3_000)];
        let missing: Vec<u64> = (201..330).collect();
        let judged = judged(&missing, &[], &windows);
        assert_eq!((judged.excused, defects(&judged)), (129, vec![]));
        assert_eq!(judged.outages, [(0, Duration::from_millis(300))]);
    }

    #[test]
    fn outages_of_two_faults_at_once_are_not_told_apart() {
        let others = window(Concern::Worker(1), 2_000, 3_000);
        let next = window(Concern::Everybody, 3_500, 4_000);
        let windows = [window(Concern::Everybody, 2_000, 3_000), next, others];
        let missing: Vec<u64> = (201..310).chain(350..430).collect();
        let overlapping = judged(&missing, &[], &windows);
        assert_eq!((defects(&overlapping), overlapping.outages), (vec![], vec![]));
        let apart = [windows[0].clone(), windows[2].clone()];
        assert_eq!(judged(&[250], &[], &apart).outages.len(), 1);
    }

    #[test]
    fn what_lasts_beyond_the_window_is_found() {
        let windows = [window(Concern::Everybody, 2_000, 3_000)];
        let missing: Vec<u64> = (201..=405).collect();
        let judged = judged(&missing, &[], &windows);
        assert_eq!(defects(&judged), [Defect::Lost(5)]);
        assert_eq!(judged.findings[0].sent_ns.0, 4_010_000_000);
        assert_eq!(judged.excused, 200);
    }

    #[test]
    fn a_window_for_others_excuses_nothing() {
        let windows = [window(Concern::Worker(1), 2_000, 3_000), window(Concern::Nobody, 0, 9_000)];
        let judged = judged(&[250], &[], &windows);
        assert_eq!(defects(&judged), [Defect::Lost(1)]);
        assert!(judged.outages.is_empty());
    }

    #[test]
    fn a_duplicate_is_found_in_a_window_too() {
        let windows = [window(Concern::Everybody, 0, 9_000)];
        assert_eq!(
            defects(&judged(&[], &[50, 51, 51, 70], &windows)),
            [Defect::Duplicated(2), Defect::Duplicated(1),]
        );
    }

    #[test]
    fn what_belongs_to_another_epoch_is_found() {
        let flow = &flows(&rules(), 2)[0];
        for sequence in [FIRST - 1, FIRST + 1] {
            let record = Record { flow, first: FIRST, sent_ns: &[5], arrived: &[FIRST, sequence] };
            assert_eq!(defects(&judge(&record, &[])), [Defect::OutOfTime(sequence)]);
        }
    }

    #[test]
    fn a_window_in_which_nothing_was_lost_has_no_outage() {
        let windows = [window(Concern::Everybody, 2_000, 3_000)];
        assert_eq!(judged(&[], &[], &windows).outages, [(0, Duration::ZERO)]);
    }
}
