//! Lists with columns. Only the lines that are on the screen are made.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::look::Look;

/// A column's name and place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heading {
    name: &'static str,
    width: Width,
    is_right: bool,
}

#[derive(Clone, Copy, Debug)]
enum Width {
    /// So many characters.
    Fixed(usize),
    /// So many parts of what the others leave.
    Share(usize),
}

impl Heading {
    /// Words, in so many characters.
    pub(super) const fn left(name: &'static str, width: usize) -> Self {
        Self { name, width: Width::Fixed(width), is_right: false }
    }

    /// Numbers, in so many characters.
    pub(super) const fn right(name: &'static str, width: usize) -> Self {
        Self { name, width: Width::Fixed(width), is_right: true }
    }

    /// Words, in so many parts of what other columns leave.
    pub(super) const fn share(name: &'static str, parts: usize) -> Self {
        Self { name, width: Width::Share(parts), is_right: false }
    }
}

/// A line of a list.
#[derive(Debug, Default)]
pub(super) struct Row {
    cells: Vec<(String, Style)>,
    is_chosen: bool,
}

impl Row {
    /// The next column's text.
    pub(super) fn cell(mut self, text: impl Into<String>) -> Self {
        self.cells.push((text.into(), Look::plain()));
        self
    }

    /// The next column's text, in a style.
    pub(super) fn styled(mut self, text: impl Into<String>, style: Style) -> Self {
        self.cells.push((text.into(), style));
        self
    }

    /// The cursor is on it, or not.
    pub(super) fn chosen(mut self, is_chosen: bool) -> Self {
        self.is_chosen = is_chosen;
        self
    }
}

/// The lines of a list that are on a screen with room for `rows` of them: the whole screen changes
/// when the cursor leaves it, and else only the cursor does, which a slow line is glad of.
pub(super) fn page(cursor: usize, rows: usize, lines: usize) -> Range<usize> {
    if rows == 0 {
        return 0..0;
    }
    let first = cursor.min(lines.saturating_sub(1)) / rows * rows;
    first..lines.min(first + rows)
}

/// Draws the names of the columns and the lines under them; returns what is left below.
pub(super) fn draw(
    frame: &mut Frame,
    area: Rect,
    headings: &[Heading],
    rows: impl Iterator<Item = Row>,
) -> Rect {
    let widths = widths(headings, usize::from(area.width));
    let names = headings.iter().map(|heading| (heading.name.to_owned(), Look::heading()));
    let names = line(names.collect(), headings, &widths);
    let rows = rows.map(|row| {
        let style = if row.is_chosen { Look::chosen() } else { Look::plain() };
        line(row.cells, headings, &widths).style(style)
    });
    draw_lines(frame, area, std::iter::once(names).chain(rows))
}

/// Draws lines one under the other, as many as there is room for; returns what is left below.
pub(super) fn draw_lines<'a>(
    frame: &mut Frame,
    area: Rect,
    lines: impl Iterator<Item = Line<'a>>,
) -> Rect {
    let mut rest = area;
    for line in lines.take(usize::from(area.height)) {
        frame.render_widget(line, Rect { height: 1, ..rest });
        rest = Rect { y: rest.y + 1, height: rest.height - 1, ..rest };
    }
    rest
}

fn widths(headings: &[Heading], width: usize) -> Vec<usize> {
    let fixed = headings.iter().map(|heading| match heading.width {
        Width::Fixed(width) => (width, 0),
        Width::Share(parts) => (0, parts),
    });
    let (taken, all_parts) = fixed.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let gaps = headings.len().saturating_sub(1);
    let left = width.saturating_sub(taken + gaps);
    let of = |heading: &Heading| match heading.width {
        Width::Fixed(width) => width,
        Width::Share(parts) => left * parts / all_parts,
    };
    headings.iter().map(of).collect()
}

fn line(cells: Vec<(String, Style)>, headings: &[Heading], widths: &[usize]) -> Line<'static> {
    let mut spans = Vec::with_capacity(2 * cells.len());
    for ((text, style), (heading, &width)) in cells.into_iter().zip(headings.iter().zip(widths)) {
        if !spans.is_empty() {
            spans.push(Span::raw(" "));
        }
        let text = cut(text, width);
        let padding = " ".repeat(width.saturating_sub(columns(&text)));
        let text = if heading.is_right { padding + &text } else { text + &padding };
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

/// The text in so many columns, with a sign where some of it is missing.
fn cut(mut text: String, width: usize) -> String {
    if columns(&text) <= width {
        return text;
    }
    while columns(&text) >= width.max(1) {
        text.pop();
    }
    if width > 0 {
        text.push('…');
    }
    text
}

/// Columns of the terminal that it takes: a name's letters may be wide.
fn columns(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { Span::raw(text).width() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_the_cursor() {
        assert_eq!(page(0, 17, 3), 0..3);
        assert_eq!(page(16, 17, 10_000), 0..17);
        assert_eq!(page(17, 17, 10_000), 17..34);
        assert_eq!(page(9_999, 17, 10_000), 9_996..10_000);
        assert_eq!(page(5, 17, 0), 0..0);
        assert_eq!(page(5, 0, 10), 0..0);
    }

    #[test]
    fn what_does_not_fit_says_so() {
        let cut = |text: &str, width| cut(text.into(), width);
        assert_eq!(cut("239.1.1.1:5000@eth0", 19), "239.1.1.1:5000@eth0");
        assert_eq!(cut("239.1.1.1:5000@eth0", 18), "239.1.1.1:5000@et…");
        assert_eq!(cut("ab", 0), "");
        assert_eq!(cut("東京東京", 8), "東京東京");
        assert_eq!(cut("東京東京", 6), "東京…");
    }

    #[test]
    fn columns_share_what_is_left() {
        let headings = [Heading::left("A", 4), Heading::share("B", 1), Heading::share("C", 2)];
        assert_eq!(widths(&headings, 36), [4, 10, 20]);
        assert_eq!(widths(&headings, 3), [4, 0, 0]);
    }
}
