//! What keys do to the model.

use ratatui::crossterm::event::KeyCode::{
    Backspace, Char, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up,
};

use super::scene::{Screen, rule, snapshot, ten_thousand, three_rules};
use crate::top::flows::Column;
use crate::top::keys::View;

const SIZE: (u16, u16) = (80, 24);

fn usual() -> Screen {
    Screen::showing(SIZE, three_rules())
}

#[test]
fn rules_are_sorted_by_every_column() {
    let mut last = rule(3, Some("a"), 5.0);
    last.input = "10.0.0.1:1@eth0".into();
    last.outputs[0].errors_per_s = 1.0;
    last.last_packet_age_ms = Some(1);
    let mut first = rule(1, None, 9.0);
    first.bits_per_s = 1.0;
    first.outputs[0].bits_per_s = 2.0;
    let mut middle = rule(2, Some("b"), 7.0);
    middle.outputs[0].sent_per_s = 100.0;
    middle.last_packet_age_ms = None;
    let mut screen = Screen::showing(SIZE, [snapshot(1.0, vec![last, first, middle])]);
    let orders = [
        (Column::Id, [1, 2, 3]),
        (Column::Name, [3, 2, 1]),
        (Column::Input, [3, 1, 2]),
        (Column::In, [1, 2, 3]),
        (Column::InBits, [2, 3, 1]),
        (Column::Out, [2, 1, 3]),
        (Column::OutBits, [2, 3, 1]),
        (Column::Errors, [3, 1, 2]),
        (Column::Last, [3, 1, 2]),
    ];
    for (column, ids) in orders {
        assert_eq!((screen.model.order.column, screen.ids()), (column, ids.to_vec()));
        screen.press([Right]);
    }
    assert_eq!(screen.model.order.column, Column::Id);
    screen.type_text("r");
    assert_eq!(screen.ids(), [3, 2, 1]);
    screen.press([Left]);
    assert_eq!((screen.model.order.column, screen.ids()), (Column::Last, vec![3, 1, 2]));
}

#[test]
fn equal_rules_stand_in_the_order_of_ids() {
    let mut screen = Screen::showing(SIZE, [ten_thousand()]);
    screen.press([Right, Right, Right]);
    let busiest: Vec<u64> = (0..100).map(|hundred| 99 + 100 * hundred).collect();
    assert_eq!(screen.ids()[..100], busiest);
}

#[test]
fn a_filter_looks_at_name_input_and_outputs() {
    let mut screen = usual();
    for (text, ids) in [("VIDEO", vec![2]), ("0.12:", vec![12]), ("10.9.", vec![2]), ("x", vec![])]
    {
        screen.type_text(&format!("/{text}"));
        assert_eq!(screen.ids(), ids, "{text}");
        screen.press([Esc]);
        assert_eq!(screen.ids(), [1, 2, 12]);
    }
    screen.type_text("/videx");
    assert_eq!(screen.ids(), [0; 0]);
    screen.press([Backspace, Enter]);
    assert_eq!(screen.ids(), [2]);
    // It holds for what comes, and letters are commands again.
    screen.model.show(three_rules().pop().unwrap());
    screen.press([Right]);
    assert_eq!((screen.ids(), screen.model.filter.as_str()), (vec![2], "vide"));
    screen.press([Esc]);
    assert!(!screen.model.has_ended());
    assert_eq!(screen.ids(), [1, 2, 12]);
}

#[test]
fn the_cursor_moves_by_lines_and_screens() {
    let mut screen = Screen::showing(SIZE, [ten_thousand()]);
    let mut after = |keys: &[_]| {
        screen.press(keys.iter().copied());
        screen.chosen()
    };
    assert_eq!(after(&[Up]), 1);
    assert_eq!(after(&[Down, Down]), 3);
    assert_eq!(after(&[PageDown]), 20);
    assert_eq!(after(&[PageUp, Up]), 2);
    assert_eq!(after(&[End]), 10_000);
    assert_eq!(after(&[Down, PageDown]), 10_000);
    assert_eq!(after(&[Char('k'), Char('j'), Home]), 1);
}

#[test]
fn the_cursor_goes_with_its_rule() {
    let mut screen = usual();
    screen.press([Down]);
    assert_eq!(screen.chosen(), 2);
    screen.type_text("r");
    assert_eq!((screen.ids(), screen.chosen()), (vec![12, 2, 1], 2));
    let one = rule(2, None, 1.0);
    screen.model.show(snapshot(20_000.0, vec![rule(1, None, 1.0), one]));
    assert_eq!((screen.model.cursor(), screen.chosen()), (0, 2));
    // It is gone: the cursor stays on a line that there is.
    screen.model.show(snapshot(20_001.0, vec![rule(1, None, 1.0)]));
    assert_eq!(screen.chosen(), 1);
}

#[test]
fn at_the_top_the_cursor_stays_there() {
    let mut screen = usual();
    screen.type_text("r");
    assert_eq!(screen.chosen(), 12);
}

#[test]
fn a_rule_is_opened_and_left() {
    let mut screen = usual();
    screen.press([Down, Enter]);
    assert_eq!(screen.model.opened, Some(2));
    assert_eq!(screen.model.lines(), 2);
    screen.press([Down, Down, Down]);
    assert_eq!(screen.model.cursor(), 1);
    // Nothing here is sorted or filtered.
    screen.type_text("r/");
    assert!(!screen.model.order.is_reversed && !screen.model.is_typing);
    screen.model.show(snapshot(20_000.0, vec![rule(1, None, 1.0)]));
    assert!(screen.draw().to_string().contains("this rule is no more"));
    screen.press([Esc]);
    assert_eq!((screen.model.opened, screen.model.has_ended()), (None, false));
    screen.press([Esc]);
    assert!(screen.model.has_ended());
}

#[test]
fn views_keep_their_cursors() {
    let mut screen = usual();
    screen.press([End, Tab]);
    assert_eq!((screen.model.view, screen.model.cursor()), (View::Cores, 0));
    screen.press([Down, Down]);
    assert_eq!(screen.model.cursor(), 1);
    screen.type_text("1");
    assert_eq!(screen.chosen(), 12);
    screen.type_text("2");
    assert_eq!(screen.model.cursor(), 1);
    screen.press([Enter]);
    assert_eq!(screen.model.opened, None);
}

#[test]
fn a_picture_that_stands_still_stays() {
    let mut screen = usual();
    screen.type_text("p");
    screen.model.show(snapshot(20_000.0, vec![]));
    assert_eq!(screen.ids(), [1, 2, 12]);
    assert!(screen.draw().to_string().contains("PAUSED"));
    screen.type_text("p");
    screen.model.show(snapshot(20_001.0, vec![]));
    assert_eq!(screen.ids(), [0; 0]);
}

/// Its ids begin anew, so nothing of the old one's history is shown for the new one's rules.
#[test]
fn a_daemon_that_was_started_anew_has_no_history() {
    let mut screen = usual();
    assert_eq!(screen.model.history.rules_in.bars(&2, 3), "███");
    screen.model.show(snapshot(1.0, vec![rule(2, None, 5.0)]));
    assert_eq!(screen.model.history.rules_in.bars(&2, 3), "  █");
}
