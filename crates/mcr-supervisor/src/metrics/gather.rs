//! Gathers what one exposition shows, from the supervisor's loop, and leaves out what is too much.

use mcr_core::ids::RuleId;
use tokio::sync::{mpsc, oneshot};

use super::Question;
use super::rows::{Overview, RuleRow};
use super::series;
use crate::event::Event;

/// Series of each ring, of each rule, and of each of its outputs beside those of its errors.
const RING_SERIES: usize = series::RING.len();
const RULE_SERIES: usize = series::RULE.len();
const OUTPUT_SERIES: usize = series::OUTPUT.len();

/// Room kept for each output's errors. An output in trouble seldom has more than one kind; what is
/// left by others makes up for those that do.
const ERROR_SERIES: usize = 1;

/// The content of one exposition.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) overview: Overview,
    pub(super) rules: Vec<RuleRow>,
    /// Error series that are shown; those beyond are not.
    pub(super) error_series: usize,
    /// Series left out.
    pub(super) omitted: usize,
}

/// Fills a selection up to a number of series. The oldest rules come first, and a rule that
/// does not fit ends it: so which of them are shown changes only with the rules before them.
#[derive(Debug)]
struct Selecting {
    room: usize,
    overview: Overview,
    rules: Vec<RuleRow>,
    omitted: usize,
}

impl Selecting {
    fn new(mut overview: Overview, max_series: usize) -> Self {
        let fit = max_series / RING_SERIES;
        let beyond = overview.rings.len().saturating_sub(fit);
        overview.rings.truncate(fit);
        let rules = overview.rules * RULE_SERIES + overview.outputs * OUTPUT_SERIES;
        Self {
            room: max_series - overview.rings.len() * RING_SERIES,
            overview,
            rules: Vec::new(),
            omitted: beyond * RING_SERIES + rules,
        }
    }

    /// Takes a rule in; false where it does not fit.
    fn admit(&mut self, row: RuleRow) -> bool {
        let outputs = row.rule.outputs.len();
        let reserved = RULE_SERIES + outputs * (OUTPUT_SERIES + ERROR_SERIES);
        let Some(room) = self.room.checked_sub(reserved) else { return false };
        self.room = room;
        // A rule may have been added since they were counted.
        let series = RULE_SERIES + outputs * OUTPUT_SERIES;
        self.omitted = self.omitted.saturating_sub(series);
        self.rules.push(row);
        true
    }

    fn finish(self) -> Selection {
        let outputs: usize = self.rules.iter().map(|row| row.rule.outputs.len()).sum();
        let occurred = self.rules.iter().flat_map(|row| &row.outputs);
        let occurred = occurred.map(|output| output.errors().count()).sum();
        let error_series = usize::min(occurred, self.room + outputs * ERROR_SERIES);
        Selection {
            overview: self.overview,
            rules: self.rules,
            error_series,
            omitted: self.omitted + occurred - error_series,
        }
    }
}

/// Asks the supervisor's loop; nothing where the daemon is ending.
pub(super) async fn gather(
    supervisor: &mpsc::Sender<Event>,
    max_series: usize,
) -> Option<Selection> {
    let mut selecting = Selecting::new(*ask(supervisor, Question::Overview).await?, max_series);
    let mut after: Option<RuleId> = None;
    loop {
        let rows = ask(supervisor, |reply| Question::Rules { after, reply }).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.id);
        if !rows.into_iter().all(|row| selecting.admit(row)) {
            break;
        }
    }
    Some(selecting.finish())
}

/// The answer to a question; nothing where the daemon is ending.
pub(super) async fn ask<T>(
    supervisor: &mpsc::Sender<Event>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    supervisor.send(Event::Metrics(question(reply))).await.ok()?;
    answer.await.ok()
}

#[cfg(test)]
mod tests {
    use mcr_core::verdict::EgressError;

    use super::super::exposition::samples::{overview, rule_row};
    use super::*;

    fn select(max_series: usize, rows: impl IntoIterator<Item = RuleRow>) -> Selection {
        let rows: Vec<_> = rows.into_iter().collect();
        let outputs = rows.iter().map(|row| row.rule.outputs.len()).sum();
        let overview = Overview { rules: rows.len(), outputs, ..overview() };
        let mut selecting = Selecting::new(overview, max_series);
        _ = rows.into_iter().all(|row| selecting.admit(row));
        selecting.finish()
    }

    fn shown(selection: &Selection) -> Vec<u64> {
        selection.rules.iter().map(|row| row.id.0).collect()
    }

    #[test]
    fn everything_is_shown_where_there_is_room() {
        let selection = select(1_000, [rule_row(1, 2), rule_row(2, 1)]);
        assert_eq!((shown(&selection), selection.omitted), (vec![1, 2], 0));
        assert_eq!(selection.overview.rings.len(), overview().rings.len());
    }

    #[test]
    fn the_oldest_rules_are_shown_and_the_rest_is_counted() {
        let rings = overview().rings.len() * RING_SERIES;
        let one = RULE_SERIES + OUTPUT_SERIES + ERROR_SERIES;
        let rows = || (1..=5).map(|id| rule_row(id, 1));
        for fit in 0..=5 {
            for more in [0, one - 1] {
                let selection = select(rings + fit * one + more, rows());
                assert_eq!(shown(&selection), (1..=fit as u64).collect::<Vec<_>>());
                assert_eq!(selection.omitted, (5 - fit) * (RULE_SERIES + OUTPUT_SERIES));
            }
        }
    }

    #[test]
    fn errors_never_push_a_rule_out() {
        let in_trouble = |id| {
            let mut row = rule_row(id, 1);
            row.outputs[0].tally.errors = [7; EgressError::COUNT];
            row
        };
        let rings = overview().rings.len() * RING_SERIES;
        let one = RULE_SERIES + OUTPUT_SERIES + ERROR_SERIES;
        let selection = select(rings + 2 * one + 1, [in_trouble(1), in_trouble(2)]);
        assert_eq!(shown(&selection), [1, 2]);
        assert_eq!(selection.error_series, 3);
        assert_eq!(selection.omitted, 2 * EgressError::COUNT - 3);
    }

    #[test]
    fn without_room_there_is_none_and_no_panic() {
        let selection = select(0, [rule_row(1, 3)]);
        assert!(selection.rules.is_empty() && selection.overview.rings.is_empty());
        let rings = overview().rings.len() * RING_SERIES;
        assert_eq!(selection.omitted, rings + RULE_SERIES + 3 * OUTPUT_SERIES);
    }
}
