//! All about one rule.

use mcr_api::control::{OutputStats, RuleStats};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::list::{self, Heading, Row};
use super::look::Look;
use super::rules::last;
use crate::top::flows::Flow;
use crate::top::model::Model;
use crate::units::{count, order, short};

const HEADINGS: [Heading; 6] = [
    Heading::share("OUTPUT", 3),
    Heading::right("SENT/S", 6),
    Heading::right("BIT/S", 5),
    Heading::right("SENT", 6),
    Heading::right("ERR/S", 5),
    Heading::share("NOT SENT", 3),
];

/// Columns of a line that says what it is about.
const TOPIC: usize = 8;

/// Draws what is known of it, and as many of its outputs as fit.
pub(super) fn draw(model: &Model, look: Look, frame: &mut Frame, area: Rect) {
    let Some((rule, flow)) = model.opened_rule() else {
        let line = Line::styled("this rule is no more", look.warning());
        return frame.render_widget(line, area);
    };
    let lines = lines(model, (rule, flow), look, usize::from(area.width));
    let rest = list::draw_lines(frame, area, lines.into_iter());
    // The last line is for what the list has not enough room for.
    let [rest, last] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(rest);
    let page_rows = usize::from(rest.height.saturating_sub(1));
    let page = list::page(model.cursor(), page_rows, rule.outputs.len());
    let rows = page.map(|line| {
        let is_chosen = line == model.cursor() && rule.outputs.len() > 1;
        output(&rule.outputs[line], look).chosen(is_chosen)
    });
    list::draw(frame, rest, &HEADINGS, rows);
    if let Some(chosen) = rule.outputs.get(model.cursor())
        && !not_sent(chosen).is_empty()
    {
        let text = format!("{}: {}", chosen.to, not_sent(chosen));
        frame.render_widget(Line::styled(text, look.warning()), last);
    }
}

fn lines<'a>(
    model: &'a Model,
    (rule, flow): (&'a RuleStats, &Flow),
    look: Look,
    width: usize,
) -> Vec<Line<'a>> {
    let name = rule.name.as_deref().unwrap_or_default();
    let from = rule.last_source.as_deref().map(|source| format!(" from {source}"));
    let order = order(rule.source_workers);
    let mut lines = vec![
        topic("rule", format!("{} {name}", rule.id).trim_end().to_owned()),
        topic("state", rule.state.to_string()),
        topic("input", rule.input.clone()),
        topic("last", format!("{}{}{order}", last(rule), from.unwrap_or_default())),
        rates("in", [rule.packets_per_s, rule.bits_per_s], [rule.packets, rule.bytes]),
        rates("out", [flow.out_per_s, flow.out_bits_per_s], [flow.sent, flow.sent_bytes]),
    ];
    let history = &model.history;
    let trails = [("in/s", &history.rules_in), ("out/s", &history.rules_out)];
    for (name, trails) in trails {
        let bars = trails.bars(&rule.id, width.saturating_sub(TOPIC));
        let bars = Span::styled(bars, look.curve());
        lines.push(Line::from(vec![Span::styled(format!("{name:TOPIC$}"), Look::heading()), bars]));
    }
    let problems = model.picture.as_ref().and_then(|picture| picture.problems.get(&rule.id));
    for problem in problems.into_iter().flatten() {
        lines.push(Line::styled(format!("problem {problem}"), look.warning()));
    }
    lines
}

fn topic(name: &str, text: String) -> Line<'static> {
    Line::from(vec![Span::styled(format!("{name:TOPIC$}"), Look::heading()), Span::raw(text)])
}

fn rates(name: &str, per_s: [f64; 2], totals: [u64; 2]) -> Line<'static> {
    let [packets_per_s, bits_per_s] = per_s.map(short);
    let [packets, bytes] = totals.map(count);
    let text =
        format!("{packets_per_s}/s   {bits_per_s}bit/s   {packets} datagrams   {bytes}B in all");
    topic(name, text)
}

fn output(output: &OutputStats, look: Look) -> Row {
    Row::default()
        .cell(output.to.clone())
        .cell(short(output.sent_per_s))
        .cell(short(output.bits_per_s))
        .cell(count(output.sent))
        .styled(short(output.errors_per_s), look.unwanted(output.errors_per_s))
        .cell(not_sent(output))
}

/// Copies not sent, by reason, and those that the network says did not arrive.
fn not_sent(output: &OutputStats) -> String {
    let errors = output.errors.iter();
    let mut reasons: Vec<_> = errors.map(|(name, n)| format!("{name} {}", count(*n))).collect();
    if output.unreachable > 0 {
        reasons.push(format!("unreachable {}", count(output.unreachable)));
    }
    if output.replies > 0 {
        reasons.push(format!("replies {}", count(output.replies)));
    }
    if output.doubtful > 0 {
        reasons.push(format!("doubtful {}", count(output.doubtful)));
    }
    reasons.join(", ")
}
