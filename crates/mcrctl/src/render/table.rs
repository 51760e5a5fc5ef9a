//! Tables without frames: aligned columns that fit a terminal and that tools can cut.

use comfy_table::{CellAlignment, Table, presets};

/// How a column stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table with these columns and no rows.
pub(super) fn table(columns: &[(&str, Column)]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|(name, _)| *name));
    for (column, (_, kind)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        column.set_cell_alignment(match kind {
            Column::Left => CellAlignment::Left,
            Column::Right => CellAlignment::Right,
        });
    }
    table
}

/// The table as lines without white space at their ends.
pub(super) fn text(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A number of events a second, as many digits as matter.
pub(super) fn rate(per_s: f64) -> String {
    if per_s == 0.0 {
        "0".into()
    } else if per_s < 10.0 {
        format!("{per_s:.1}")
    } else {
        format!("{per_s:.0}")
    }
}

/// A number of bits a second with its SI prefix.
pub(super) fn bit_rate(bits_per_s: f64) -> String {
    let mut scaled = bits_per_s;
    let mut prefixes = ["", "k", "M", "G"].into_iter();
    let mut prefix = prefixes.next().unwrap_or_default();
    // 999.95 would be written as 1000.0.
    while scaled >= 999.95 {
        let Some(next) = prefixes.next() else { break };
        prefix = next;
        scaled /= 1000.0;
    }
    if prefix.is_empty() { format!("{scaled:.0}") } else { format!("{scaled:.1}{prefix}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_the_digits_that_matter() {
        assert_eq!([0.0, 0.26, 9.94, 12.4].map(rate), ["0", "0.3", "9.9", "12"]);
        assert_eq!(
            [0.0, 999.0, 1000.0, 999_960.0, 8_400_000.0, 1.2e13].map(bit_rate),
            ["0", "999", "1.0k", "1.0M", "8.4M", "12000.0G"]
        );
    }
}
