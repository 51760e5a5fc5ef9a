//! The receive rings of the interfaces that are read.

use mcr_api::control::RingStats;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::list::{self, Heading, Row};
use super::look::Look;
use crate::top::model::Model;
use crate::top::snapshot::Snapshot;
use crate::units::{count, short};

const BARS: usize = 8;

const HEADINGS: [Heading; 11] = [
    Heading::share("INTERFACE", 1),
    Heading::right("WORKER", 6),
    Heading::right("KIB", 3),
    Heading::right("SLOTS", 5),
    Heading::right("USED", 5),
    Heading::right("HIGH", 5),
    Heading::right("FULL", 5),
    Heading::right("RECV/S", 6),
    Heading::right("", BARS),
    Heading::right("LOST/S", 6),
    Heading::right("LOST", 5),
];

/// Draws those that fit.
pub(super) fn draw(model: &Model, picture: &Snapshot, look: Look, frame: &mut Frame, area: Rect) {
    let rings = &picture.stats.rings;
    let page_rows = usize::from(area.height.saturating_sub(1));
    let page = list::page(model.cursor(), page_rows, rings.len());
    let rows = page.map(|line| {
        let ring = &rings[line];
        let bars = model.history.rings.bars(&(ring.worker, ring.interface.clone()), BARS);
        row(ring, bars, look).chosen(line == model.cursor())
    });
    let rest = list::draw(frame, area, &HEADINGS, rows);
    if rings.is_empty() {
        frame.render_widget(Line::from("no interface is read: no rule can relay"), rest);
    }
}

fn row(ring: &RingStats, bars: String, look: Look) -> Row {
    let RingStats { kernel_drops_per_s, .. } = *ring;
    Row::default()
        .cell(ring.interface.clone())
        .cell(ring.worker.to_string())
        .cell((ring.slot_bytes / 1024).to_string())
        .cell(count(ring.slots))
        .cell(count(ring.in_use))
        .cell(count(ring.high_water))
        .styled(count(ring.exhausted), look.unwanted(ring.exhausted as f64))
        .cell(short(ring.received_per_s))
        .styled(bars, look.curve())
        .styled(short(kernel_drops_per_s), look.unwanted(kernel_drops_per_s))
        .styled(count(ring.kernel_drops), look.unwanted(ring.kernel_drops as f64))
}
