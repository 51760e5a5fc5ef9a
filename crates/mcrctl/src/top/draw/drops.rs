//! Datagrams that were not forwarded or not sent, by reason.

use std::collections::BTreeMap;

use mcr_api::control::CoreRates;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};

use super::list::{self, Heading, Row};
use super::look::Look;
use crate::top::snapshot::Snapshot;
use crate::units::{count, short};

const DROPS: [Heading; 3] = headings("NOT FORWARDED");
const ERRORS: [Heading; 3] = headings("COPIES NOT SENT");

const fn headings(title: &'static str) -> [Heading; 3] {
    [Heading::share(title, 1), Heading::right("TOTAL", 6), Heading::right("/S", 5)]
}

/// A reason, how often since the daemon's start, and how often a second.
type Reason<'a> = (&'a str, u64, f64);

/// Draws both lists side by side.
pub(super) fn draw(picture: &Snapshot, look: Look, frame: &mut Frame, area: Rect) {
    let [left, _, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)])
            .areas(area);
    let (totals, rates) = (&picture.stats.totals, &picture.stats.rates);
    let kernel = ("kernel: ring full", totals.kernel_drops, rates.kernel_drops_per_s);
    let drops = reasons(&totals.drops, picture, |rates| &rates.drops_per_s);
    let drops = std::iter::once(kernel).chain(drops);
    list::draw(frame, left, &DROPS, in_order(drops.collect()).map(|reason| row(reason, look)));
    let errors = reasons(&totals.errors, picture, |rates| &rates.errors_per_s);
    list::draw(frame, right, &ERRORS, in_order(errors.collect()).map(|reason| row(reason, look)));
}

/// Each reason with the sum of its rates over the cores.
fn reasons<'a>(
    totals: &'a BTreeMap<String, u64>,
    picture: &'a Snapshot,
    rates_of: impl Fn(&'a CoreRates) -> &'a BTreeMap<String, f64>,
) -> impl Iterator<Item = Reason<'a>> {
    totals.iter().map(move |(name, total)| {
        let rates = picture.stats.cores.iter().filter_map(|core| rates_of(&core.rates).get(name));
        (name.as_str(), *total, rates.sum())
    })
}

/// Those that occurred first; otherwise they stay where they are, for the eye to find.
fn in_order(mut reasons: Vec<Reason<'_>>) -> impl Iterator<Item = Reason<'_>> {
    reasons.sort_by_key(|(_, total, _)| *total == 0);
    reasons.into_iter()
}

fn row((name, total, per_s): Reason<'_>, look: Look) -> Row {
    let style = match (total, per_s > 0.0) {
        (0, _) => Look::quiet(),
        (_, false) => Look::plain(),
        (_, true) => look.warning(),
    };
    Row::default().styled(name, style).styled(count(total), style).styled(short(per_s), style)
}
