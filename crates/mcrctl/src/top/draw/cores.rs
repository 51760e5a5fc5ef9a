//! The workers, each on its core.

use mcr_api::control::{CoreReport, WorkerState, WorkerStatus};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::list::{self, Heading, Row};
use super::look::Look;
use crate::render::{state, troubles};
use crate::top::model::Model;
use crate::top::snapshot::Snapshot;
use crate::units::{count, per_cent, short, sum};

const BARS: usize = 6;

const HEADINGS: [Heading; 12] = [
    Heading::right("WORKER", 6),
    Heading::right("CORE", 4),
    Heading::left("STATE", 11),
    Heading::right("BUSY", 5),
    Heading::right("", BARS),
    Heading::right("READ/S", 6),
    Heading::right("BATCH", 5),
    Heading::right("SENT/S", 6),
    Heading::right("DROP/S", 6),
    Heading::right("ERR/S", 5),
    Heading::left("SYNC", 4),
    Heading::right("DIED", 5),
];

/// Draws those that fit, and below what is wrong with them.
pub(super) fn draw(model: &Model, picture: &Snapshot, look: Look, frame: &mut Frame, area: Rect) {
    let workers = &picture.workers;
    let page_rows = usize::from(area.height.saturating_sub(1));
    let page = list::page(model.cursor(), page_rows, workers.len());
    let rows = page.map(|line| {
        let status = &workers[line];
        let report = picture.stats.cores.iter().find(|core| core.worker == status.worker);
        let bars = model.history.cores.bars(&status.worker, BARS);
        row(status, report, bars, look).chosen(line == model.cursor())
    });
    let rest = list::draw(frame, area, &HEADINGS, rows);
    let told = workers.iter().flat_map(|status| {
        let exit = status.last_exit.iter().map(|exit| format!("the one before it {exit}"));
        let told = troubles(status).chain(exit);
        told.map(|trouble| format!("worker {}: {trouble}", status.worker))
    });
    list::draw_lines(frame, rest, told.map(|text| Line::styled(text, look.warning())));
}

fn row(status: &WorkerStatus, report: Option<&CoreReport>, bars: String, look: Look) -> Row {
    let nothing = CoreReport::default();
    let rates = &report.unwrap_or(&nothing).rates;
    let batch =
        if rates.batches_per_s > 0.0 { rates.frames_per_s / rates.batches_per_s } else { 0.0 };
    let look_of_state = match status.state {
        WorkerState::Running if !status.overloaded => Look::plain(),
        WorkerState::BackingOff => look.alarm(),
        _ => look.warning(),
    };
    let (sync, sync_style) =
        if status.in_sync { ("yes", Look::plain()) } else { ("no", look.warning()) };
    let errors: f64 = sum(&rates.errors_per_s);
    Row::default()
        .cell(status.worker.to_string())
        .cell(status.core.to_string())
        .styled(state(status), look_of_state)
        .cell(per_cent(rates.busy_share))
        .styled(bars, look.curve())
        .cell(short(rates.frames_per_s))
        .cell(short(batch))
        .cell(short(rates.sent_per_s))
        .cell(short(sum(&rates.drops_per_s)))
        .styled(short(errors), look.unwanted(errors))
        .styled(sync, sync_style)
        .styled(count(status.restarts), look.unwanted(status.restarts as f64))
}
