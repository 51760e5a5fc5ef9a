//! The lines above: how the daemon is, and its totals.

use mcr_api::control::{Stats, WorkerState};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::list::{self, Heading, Row};
use super::look::Look;
use crate::top::model::{Link, Model};
use crate::top::snapshot::Snapshot;
use crate::units::{count, short, total, uptime};

const HEADINGS: [Heading; 8] = [
    Heading::left("", 10),
    Heading::right("RECEIVED", 8),
    Heading::right("KERNEL DROPS", 12),
    Heading::right("MATCHED", 8),
    Heading::right("DROPPED", 8),
    Heading::right("SENT", 8),
    Heading::right("NOT SENT", 8),
    Heading::right("BITS SENT", 9),
];

/// The columns that they take, and as many for a curve beside them.
const NUMBERS_WIDTH: u16 = 80;

/// Draws them, in the order of a datagram's way.
pub(super) fn draw(model: &Model, look: Look, frame: &mut Frame, area: Rect) {
    let first = Rect { height: 1.min(area.height), ..area };
    let (text, style) = state(model, look);
    frame.render_widget(Line::styled(text, style), first);
    let interval = format!("every {} s", model.interval.as_secs_f64());
    let note = if model.is_paused { "PAUSED".to_owned() } else { interval };
    frame.render_widget(Line::styled(note, Look::heading()).right_aligned(), first);
    let Some(picture) = &model.picture else { return };
    let rest = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let numbers = Rect { width: rest.width.min(NUMBERS_WIDTH), ..rest };
    list::draw(frame, numbers, &HEADINGS, totals(&picture.stats, look).into_iter());
    let curves = Rect {
        x: rest.x + numbers.width + 2.min(rest.width - numbers.width),
        width: (rest.width - numbers.width).saturating_sub(2),
        ..rest
    };
    draw_curves(model, look, frame, curves);
}

fn state(model: &Model, look: Look) -> (String, Style) {
    match (&model.link, &model.picture) {
        (Link::Down(cause), _) => (format!("{cause}: trying again"), look.alarm()),
        (Link::Silent(age), _) => {
            (format!("mcrd has not answered for {} s", age.as_secs()), look.alarm())
        }
        (_, None) => ("asking mcrd".into(), Look::plain()),
        (_, Some(picture)) => (summary(model, picture), Look::heading()),
    }
}

fn summary(model: &Model, picture: &Snapshot) -> String {
    let workers = &picture.workers;
    let running = workers.iter().filter(|worker| worker.state == WorkerState::Running).count();
    let up = uptime(picture.stats.uptime_s);
    let rules = model.rules().len();
    let of_them = |count: usize, what: &str| match count {
        0 => String::new(),
        _ => format!(", {count} {what}"),
    };
    let pending = of_them(model.pending(), "pending");
    let troubled = of_them(picture.problems.len(), "with problems");
    let workers = format!("{running} of {}", workers.len());
    format!("mcrd up {up}   workers {workers}   rules {rules}{pending}{troubled}")
}

fn totals(stats: &Stats, look: Look) -> [Row; 2] {
    let (rates, totals) = (&stats.rates, &stats.totals);
    let per_s = Row::default()
        .cell("per second")
        .cell(short(rates.received_per_s))
        .styled(short(rates.kernel_drops_per_s), look.unwanted(rates.kernel_drops_per_s))
        .cell(short(rates.matched_per_s))
        .cell(short(rates.drops_per_s))
        .cell(short(rates.sent_per_s))
        .styled(short(rates.errors_per_s), look.unwanted(rates.errors_per_s))
        .cell(short(rates.sent_bits_per_s));
    let whole = Row::default()
        .cell("in all")
        .cell(count(totals.received))
        .cell(count(totals.kernel_drops))
        .cell(count(totals.matched))
        .cell(count(total(&totals.drops)))
        .cell(count(totals.sent))
        .cell(count(total(&totals.errors)))
        .cell(count(8 * totals.sent_bytes));
    [per_s, whole]
}

/// Where there is room beside the numbers: received and sent as they were.
fn draw_curves(model: &Model, look: Look, frame: &mut Frame, area: Rect) {
    let Some(width) = usize::from(area.width).checked_sub("received ".len()) else { return };
    let history = &model.history;
    let lines = [("received", &history.received), ("sent", &history.sent)];
    let lines = lines.map(|(name, trail)| {
        let bars = trail.bars(width);
        Line::styled(format!("{name:8} {bars}"), look.curve())
    });
    list::draw_lines(frame, area, lines.into_iter());
}
