//! How text looks: what an operator must see stands out, with colours or without.

use ratatui::style::{Color, Modifier, Style};

/// The styles of a screen.
#[derive(Clone, Copy, Debug)]
pub(in crate::top) struct Look {
    /// Whether to use colours: not where `NO_COLOR` is set (no-color.org).
    pub(in crate::top) has_colour: bool,
}

impl Look {
    /// As usual.
    pub(super) fn plain() -> Style {
        Style::new()
    }

    /// Details that the eye need not stop at.
    pub(super) fn quiet() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Names of columns and parts.
    pub(super) fn heading() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The choice.
    pub(super) fn chosen() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A curve.
    pub(super) fn curve(self) -> Style {
        self.coloured(Color::Cyan, Modifier::empty())
    }

    /// A value that may be in order.
    pub(super) fn warning(self) -> Style {
        self.coloured(Color::Yellow, Modifier::BOLD)
    }

    /// A value that is not.
    pub(super) fn alarm(self) -> Style {
        self.coloured(Color::Red, Modifier::BOLD)
    }

    /// A number that should be nothing.
    pub(super) fn unwanted(self, number: f64) -> Style {
        if number > 0.0 { self.alarm() } else { Self::plain() }
    }

    fn coloured(self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.has_colour { style.fg(colour) } else { style }
    }
}
