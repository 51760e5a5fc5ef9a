//! The model as a screen. It is made anew as a whole; ratatui sends the terminal what is different.

mod cores;
mod drops;
mod head;
mod interfaces;
mod list;
mod look;
mod rule;
mod rules;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::keys::View;
use super::model::Model;
pub(super) use look::Look;

/// Lines for the totals, above everything else.
const HEAD_ROWS: u16 = 4;

/// Lines for the tabs, the names of the columns and the keys.
const FRAME_ROWS: u16 = 3;

/// How many lines of a view's list a screen of this height shows.
pub(super) fn page_rows(height: u16) -> usize {
    usize::from(height.saturating_sub(HEAD_ROWS + FRAME_ROWS))
}

/// Draws everything.
pub(super) fn draw(model: &Model, look: Look, frame: &mut Frame) {
    let parts = [HEAD_ROWS, 1].map(Constraint::Length).into_iter();
    let parts = parts.chain([Constraint::Min(0), Constraint::Length(1)]);
    let [head, tabs, body, keys] = Layout::vertical(parts).areas(frame.area());
    head::draw(model, look, frame, head);
    draw_tabs(model, frame, tabs);
    draw_body(model, look, frame, body);
    frame.render_widget(Line::styled(help(model), Look::quiet()), keys);
    if model.is_stale() {
        for area in [Rect { y: head.y + 1, height: head.height.saturating_sub(1), ..head }, body] {
            frame.buffer_mut().set_style(area, Look::quiet());
        }
    }
}

fn draw_body(model: &Model, look: Look, frame: &mut Frame, area: Rect) {
    let Some(picture) = &model.picture else { return };
    if model.opened.is_some() {
        return rule::draw(model, look, frame, area);
    }
    match model.view {
        View::Rules => rules::draw(model, look, frame, area),
        View::Cores => cores::draw(model, picture, look, frame, area),
        View::Drops => drops::draw(picture, look, frame, area),
        View::Interfaces => interfaces::draw(model, picture, look, frame, area),
    }
}

fn draw_tabs(model: &Model, frame: &mut Frame, area: Rect) {
    let mut line = Line::default();
    for (key, view) in (1..).zip(View::ALL) {
        let style = if view == model.view { Look::chosen() } else { Look::plain() };
        line.push_span(Span::styled(format!(" {key} {} ", view.name()), style));
    }
    frame.render_widget(line, area);
    if model.view == View::Rules {
        frame.render_widget(Line::from(choice(model)).right_aligned(), area);
    }
}

/// The rules shown, in their order.
fn choice(model: &Model) -> String {
    let filter = match (model.is_typing, model.filter.as_str()) {
        (true, text) => format!("/{text}_"),
        (false, "") => String::new(),
        (false, text) => format!("/{text}"),
    };
    let direction = if model.order.is_reversed { ", reversed" } else { "" };
    let order = format!("by {}{direction}", model.order.column.about());
    let shown = match (filter.is_empty(), model.shown.len()) {
        (true, _) => String::new(),
        (false, shown) => format!("{filter} {shown} of {}, ", model.rules().len()),
    };
    format!("{shown}{order}")
}

fn help(model: &Model) -> &'static str {
    if model.is_typing {
        return "type what name, input or output must hold   Enter keep it   Esc show all";
    }
    if model.opened.is_some() {
        return "Esc back   ↑↓ PgUp PgDn move   1-4 Tab view   p pause   q quit";
    }
    match model.view {
        View::Rules => {
            "↑↓ move  Enter open  ←→ sort  r reverse  / filter  1-4 view  p pause  q quit"
        }
        View::Drops => "1-4 Tab view   p pause   q quit",
        View::Cores | View::Interfaces => "↑↓ PgUp PgDn move   1-4 Tab view   p pause   q quit",
    }
}
