//! The rules with their rates in and out.

use mcr_api::control::{RuleState, RuleStats};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::list::{self, Heading, Row};
use super::look::Look;
use crate::top::model::Model;
use crate::units::{age, short};

/// Columns of a terminal from which on there is room for bits and longer curves.
const WIDE: u16 = 110;

/// Bars of a curve.
const BARS: usize = 6;
const BARS_WIDE: usize = 12;

const HEADINGS: [Heading; 10] = [
    Heading::left("", 1),
    Heading::right("ID", 5),
    Heading::share("NAME", 1),
    Heading::share("INPUT", 2),
    Heading::right("IN/S", 5),
    Heading::right("", BARS),
    Heading::right("OUT/S", 5),
    Heading::right("", BARS),
    Heading::right("ERR/S", 5),
    Heading::right("LAST", 7),
];

const HEADINGS_WIDE: [Heading; 12] = [
    Heading::left("", 1),
    Heading::right("ID", 6),
    Heading::share("NAME", 1),
    Heading::share("INPUT", 2),
    Heading::right("IN/S", 5),
    Heading::right("BIT/S", 5),
    Heading::right("", BARS_WIDE),
    Heading::right("OUT/S", 5),
    Heading::right("BIT/S", 5),
    Heading::right("", BARS_WIDE),
    Heading::right("ERR/S", 5),
    Heading::right("LAST", 7),
];

/// Draws those that fit.
pub(super) fn draw(model: &Model, look: Look, frame: &mut Frame, area: Rect) {
    let is_wide = area.width >= WIDE;
    let headings = if is_wide { &HEADINGS_WIDE[..] } else { &HEADINGS[..] };
    let page_rows = usize::from(area.height.saturating_sub(1));
    let page = list::page(model.cursor(), page_rows, model.shown.len());
    let rows = page
        .map(|line| row(model, model.shown[line], is_wide, look).chosen(line == model.cursor()));
    let rest = list::draw(frame, area, headings, rows);
    if model.shown.is_empty() {
        let text = if model.rules().is_empty() {
            "no rules: \"mcrctl add\" makes one"
        } else {
            "no rule's name, input or output holds that"
        };
        frame.render_widget(Line::from(text), rest);
    }
}

fn row(model: &Model, place: usize, is_wide: bool, look: Look) -> Row {
    let (rule, flow) = (&model.rules()[place], &model.flows[place]);
    let has_problems =
        model.picture.as_ref().is_some_and(|picture| picture.problems.contains_key(&rule.id));
    let bars = if is_wide { BARS_WIDE } else { BARS };
    let history = &model.history;
    let mut row = Row::default()
        .styled(if has_problems { "!" } else { "" }, look.warning())
        .cell(rule.id.to_string())
        .cell(rule.name.clone().unwrap_or_default())
        .cell(rule.input.clone())
        .cell(short(rule.packets_per_s));
    if is_wide {
        row = row.cell(short(rule.bits_per_s));
    }
    row =
        row.styled(history.rules_in.bars(&rule.id, bars), look.curve()).cell(short(flow.out_per_s));
    if is_wide {
        row = row.cell(short(flow.out_bits_per_s));
    }
    row = row
        .styled(history.rules_out.bars(&rule.id, bars), look.curve())
        .styled(short(flow.errors_per_s), look.unwanted(flow.errors_per_s));
    match rule.state {
        RuleState::Pending => row.styled("pending", look.warning()),
        RuleState::Active => row.cell(last(rule)),
    }
}

/// The age of the last datagram.
pub(super) fn last(rule: &RuleStats) -> String {
    rule.last_packet_age_ms.map_or_else(|| "never".into(), age)
}
