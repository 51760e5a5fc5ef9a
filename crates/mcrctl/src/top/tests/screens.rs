//! Whole screens, as they were found good.

use std::time::{Duration, Instant};

use insta::assert_snapshot;
use ratatui::crossterm::event::KeyCode;
use ratatui::style::{Color, Modifier};

use super::scene::{Screen, ten_thousand, three_rules, troubled};
use crate::top::draw::{self, Look};
use crate::top::model::Model;

const USUAL: (u16, u16) = (80, 24);
const WIDE: (u16, u16) = (140, 30);

#[test]
fn three_rules_on_a_usual_terminal() {
    assert_snapshot!(Screen::showing(USUAL, three_rules()).draw());
}

#[test]
fn three_rules_on_a_wide_terminal() {
    assert_snapshot!(Screen::showing(WIDE, three_rules()).draw());
}

#[test]
fn ten_thousand_rules() {
    let mut screen = Screen::showing(USUAL, [ten_thousand()]);
    screen.press([KeyCode::End]);
    assert_snapshot!(screen.draw());
}

#[test]
fn rules_with_problems() {
    assert_snapshot!(Screen::showing(USUAL, [troubled()]).draw());
}

#[test]
fn one_rule() {
    let mut screen = Screen::showing(USUAL, three_rules());
    screen.model.show(troubled());
    screen.press([KeyCode::Down, KeyCode::Enter]);
    assert_snapshot!(screen.draw());
}

#[test]
fn cores() {
    let mut screen = Screen::showing(USUAL, three_rules());
    screen.model.show(troubled());
    screen.type_text("2");
    assert_snapshot!(screen.draw());
}

#[test]
fn drops() {
    let mut screen = Screen::showing(USUAL, [troubled()]);
    screen.type_text("3");
    assert_snapshot!(screen.draw());
}

#[test]
fn interfaces() {
    let mut screen = Screen::showing(USUAL, three_rules());
    screen.model.show(troubled());
    screen.type_text("4");
    assert_snapshot!(screen.draw());
}

#[test]
fn no_rules() {
    assert_snapshot!(Screen::showing(USUAL, [super::scene::snapshot(3.0, Vec::new())]).draw());
}

#[test]
fn a_filter_that_is_typed() {
    let mut screen = Screen::showing(USUAL, three_rules());
    screen.type_text("/video");
    assert_snapshot!(screen.draw());
}

/// Everything stays to be read, dimmed, but for the line that says why.
#[test]
fn the_daemon_is_gone() {
    let mut screen = Screen::showing(USUAL, three_rules());
    let style = |screen: &Screen, line| screen.terminal.backend().buffer()[(2, line)].style();
    screen.draw();
    assert!(!style(&screen, 6).add_modifier.contains(Modifier::DIM));
    screen.model.lose("no mcrd listens on /run/mcr/control.sock".into());
    assert_snapshot!(screen.draw());
    assert_eq!(style(&screen, 0).fg, Some(Color::Red));
    assert!(!style(&screen, 0).add_modifier.contains(Modifier::DIM));
    for line in [2, 6, 8] {
        assert!(style(&screen, line).add_modifier.contains(Modifier::DIM), "line {line}");
    }
    screen.model.show(three_rules().pop().unwrap());
    screen.draw();
    assert!(!style(&screen, 6).add_modifier.contains(Modifier::DIM));
}

#[test]
fn a_daemon_that_says_nothing_is_told_of() {
    let mut screen = Screen::showing(USUAL, three_rules());
    assert!(!screen.model.wait(Duration::from_secs(2)));
    assert!(screen.model.wait(Duration::from_secs(12)));
    let drawn = screen.draw().to_string();
    assert!(drawn.contains("mcrd has not answered for 12 s"), "{drawn}");
    screen.model.lose("gone".into());
    assert!(!screen.model.wait(Duration::from_secs(13)), "the cause says more");
}

/// Modifiers say everything that colours do.
#[test]
fn without_colours_nothing_is_coloured() {
    let mut screen = Screen::showing(USUAL, [troubled()]);
    let look = Look { has_colour: false };
    for view in ["1", "2", "3", "4"] {
        screen.type_text(view);
        screen.terminal.draw(|frame| draw::draw(&screen.model, look, frame)).unwrap();
        let cells = &screen.terminal.backend().buffer().content;
        assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
        assert!(cells.iter().any(|cell| cell.modifier.contains(Modifier::BOLD)));
    }
}

/// Every view, and the one of a rule, on any size that a terminal may have.
#[test]
fn no_size_is_too_small() {
    for size in [(0, 0), (1, 1), (10, 3), (80, 5), (20, 24), (81, 8), (300, 100)] {
        let mut screen = Screen::showing(size, [troubled()]);
        for view in ["1", "2", "3", "4", "1"] {
            screen.type_text(view);
            screen.draw();
        }
        screen.press([KeyCode::Enter]);
        screen.draw();
    }
    let mut waiting = Screen { model: Model::default(), ..Screen::showing(USUAL, []) };
    assert!(waiting.draw().to_string().contains("asking mcrd"));
}

/// Drawing does not become dearer with rules that are not on the screen: a thousand times as many
/// take as long, where making each line would take a thousand times as long.
#[test]
fn only_what_is_seen_is_drawn() {
    let cost = |screen: &mut Screen| {
        let least = (0..20).map(|_| {
            let began = Instant::now();
            screen.draw();
            began.elapsed()
        });
        least.min().unwrap()
    };
    let few = cost(&mut Screen::showing(USUAL, [super::scene::snapshot(1.0, ten_of_them())]));
    let many = cost(&mut Screen::showing(USUAL, [ten_thousand()]));
    assert!(many < 20 * few, "{many:?} against {few:?}");
}

fn ten_of_them() -> Vec<mcr_api::control::RuleStats> {
    (1..=10).map(|id| super::scene::rule(id, None, 1.0)).collect()
}
