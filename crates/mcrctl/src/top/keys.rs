//! The effect of the keys.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A wish of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// To leave.
    Quit,
    /// Out of what was entered last, and in the end to leave.
    Back,
    /// To see something else.
    Show(View),
    /// The view so many to the right.
    Turn(isize),
    /// Another line.
    Move(Step),
    /// To see all about the rule at the cursor; the end of a filter's text.
    Enter,
    /// The rules in the order of the column so many to the right.
    Sort(isize),
    /// The other way round.
    Reverse,
    /// To type a filter's text.
    Filter,
    /// A character of it.
    Type(char),
    /// One less.
    Erase,
    /// To have the picture stand still, and to have it move again.
    Pause,
}

/// The direction to another line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many lines down.
    Lines(isize),
    /// So many screens down.
    Pages(isize),
    /// To the first line.
    First,
    /// To the last.
    Last,
}

/// A view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    /// The rules.
    #[default]
    Rules,
    /// The workers, one for each core.
    Cores,
    /// Datagrams not forwarded and not sent, by reason.
    Drops,
    /// The receive rings of the interfaces.
    Interfaces,
}

impl View {
    /// All, in the order of their keys.
    pub(super) const ALL: [Self; 4] = [Self::Rules, Self::Cores, Self::Drops, Self::Interfaces];

    /// The title of its tab.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rules => "Rules",
            Self::Cores => "Cores",
            Self::Drops => "Drops",
            Self::Interfaces => "Interfaces",
        }
    }

    /// The one so many to the right.
    pub(super) fn beside(self, steps: isize) -> Self {
        let place = self as isize + steps;
        Self::ALL[place.rem_euclid(Self::ALL.len() as isize) as usize]
    }
}

/// The effect of a key, while a filter is typed or not; `None`: nothing.
pub(super) fn action(key: KeyEvent, is_typing: bool) -> Option<Action> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Action::Quit,
        KeyCode::Esc => Action::Back,
        KeyCode::Enter => Action::Enter,
        KeyCode::Up => Action::Move(Step::Lines(-1)),
        KeyCode::Down => Action::Move(Step::Lines(1)),
        KeyCode::PageUp => Action::Move(Step::Pages(-1)),
        KeyCode::PageDown => Action::Move(Step::Pages(1)),
        KeyCode::Home => Action::Move(Step::First),
        KeyCode::End => Action::Move(Step::Last),
        KeyCode::Tab => Action::Turn(1),
        KeyCode::BackTab => Action::Turn(-1),
        KeyCode::Backspace if is_typing => Action::Erase,
        KeyCode::Char(letter) if is_typing && !is_control => Action::Type(letter),
        KeyCode::Left => Action::Sort(-1),
        KeyCode::Right => Action::Sort(1),
        KeyCode::Char(letter) if !is_control => return letter_action(letter),
        _ => return None,
    })
}

fn letter_action(letter: char) -> Option<Action> {
    Some(match letter {
        'q' => Action::Quit,
        '1' => Action::Show(View::Rules),
        '2' => Action::Show(View::Cores),
        '3' => Action::Show(View::Drops),
        '4' => Action::Show(View::Interfaces),
        'k' => Action::Move(Step::Lines(-1)),
        'j' => Action::Move(Step::Lines(1)),
        '<' => Action::Sort(-1),
        '>' => Action::Sort(1),
        'r' => Action::Reverse,
        '/' => Action::Filter,
        'p' | ' ' => Action::Pause,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn a_letter_is_text_while_a_filter_is_typed() {
        for letter in ['q', '1', 'r', '/', 'p', ' '] {
            let key = pressed(KeyCode::Char(letter));
            assert_eq!(action(key, true), Some(Action::Type(letter)));
            let command = action(key, false);
            assert!(command.is_some() && command != Some(Action::Type(letter)), "{letter}");
        }
        assert_eq!(action(pressed(KeyCode::Char('x')), false), None);
        assert_eq!(action(pressed(KeyCode::Backspace), false), None);
    }

    #[test]
    fn one_can_always_leave() {
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for is_typing in [false, true] {
            assert_eq!(action(interrupt, is_typing), Some(Action::Quit));
            assert_eq!(action(pressed(KeyCode::Esc), is_typing), Some(Action::Back));
        }
    }

    #[test]
    fn views_go_round() {
        assert_eq!(View::Rules.beside(-1), View::Interfaces);
        assert_eq!(View::Interfaces.beside(1), View::Rules);
        for (place, view) in View::ALL.into_iter().enumerate() {
            let digit = char::from_digit(place as u32 + 1, 10).unwrap();
            assert_eq!(action(pressed(KeyCode::Char(digit)), false), Some(Action::Show(view)));
        }
    }
}
