//! What is on the screen, as the daemon's snapshots and the operator's keys make it; no input or
//! output, no clock.

use std::time::Duration;

use mcr_api::control::{RuleState, RuleStats};

use super::flows::{self, Flow, Order};
use super::history::History;
use super::keys::{Action, Step, View};
use super::snapshot::Snapshot;
use crate::limits;

/// The state of the screen.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Seconds between two updates.
    pub(super) interval: Duration,
    /// How it goes with the daemon.
    pub(super) link: Link,
    /// The newest that is shown; `None` before the first.
    pub(super) picture: Option<Snapshot>,
    /// The sums of each of its rules, in its order.
    pub(super) flows: Vec<Flow>,
    /// The places among its rules of those that are shown, in the order in which they are.
    pub(super) shown: Vec<usize>,
    /// The past.
    pub(super) history: History,
    /// The current view.
    pub(super) view: View,
    /// The rule that all is shown of.
    pub(super) opened: Option<u64>,
    /// The order of the rules.
    pub(super) order: Order,
    /// The filter that rules must match to be shown.
    pub(super) filter: String,
    /// Whether that is being typed.
    pub(super) is_typing: bool,
    /// Whether the picture stands still.
    pub(super) is_paused: bool,
    /// The line that the cursor is in, for each view.
    cursors: [usize; View::ALL.len()],
    /// The line at the top of an opened rule's outputs.
    outputs_cursor: usize,
    /// The rule that the cursor stays with; `None`: it stays at the top.
    held: Option<u64>,
    /// The lines that a view's list has.
    page_rows: usize,
    has_ended: bool,
}

/// How it goes with the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing is known yet.
    #[default]
    Waiting,
    /// It answers.
    Up,
    /// It has not answered for so long.
    Silent(Duration),
    /// It cannot be asked, and why.
    Down(String),
}

impl Model {
    /// Before the first answer of a daemon that is asked so often.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, ..Self::default() }
    }

    /// Whether the operator wants to leave.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The screen has room for so many lines of a view's list.
    pub(super) fn resize(&mut self, page_rows: usize) {
        self.page_rows = page_rows;
    }

    /// The daemon said something.
    pub(super) fn show(&mut self, snapshot: Snapshot) {
        self.link = Link::Up;
        if self.is_paused {
            return;
        }
        let is_another = |old: &Snapshot| old.stats.uptime_s > snapshot.stats.uptime_s;
        if self.picture.as_ref().is_some_and(is_another) {
            // Ids begin anew with the daemon.
            self.history = History::default();
            self.held = None;
        }
        self.flows = snapshot.stats.rules.iter().map(Flow::of).collect();
        self.history.record(&snapshot.stats, &self.flows);
        self.picture = Some(snapshot);
        self.arrange();
    }

    /// The daemon cannot be asked.
    pub(super) fn lose(&mut self, cause: String) {
        self.link = Link::Down(cause);
    }

    /// The last answer is so old; says whether that is to be shown.
    pub(super) fn wait(&mut self, age: Duration) -> bool {
        let is_long = age > self.interval + limits::SILENCE;
        let is_silent = is_long && !matches!(self.link, Link::Down(_));
        if is_silent {
            self.link = Link::Silent(age);
        }
        is_silent
    }

    /// Whether the picture shows the past.
    pub(super) fn is_stale(&self) -> bool {
        matches!(self.link, Link::Down(_) | Link::Silent(_))
    }

    /// The operator wants something.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Quit => self.has_ended = true,
            Action::Back => self.back(),
            Action::Show(view) => self.turn_to(view),
            Action::Turn(steps) => self.turn_to(self.view.beside(steps)),
            Action::Move(step) => self.step(step),
            Action::Enter if self.is_typing => self.is_typing = false,
            Action::Enter => self.open(),
            Action::Pause => self.is_paused = !self.is_paused,
            Action::Sort(_) | Action::Reverse | Action::Filter if !self.lists_rules() => {}
            Action::Sort(steps) => self.sort(self.order.beside(steps)),
            Action::Reverse => self.sort(self.order.reversed()),
            Action::Filter => self.is_typing = true,
            Action::Type(letter) => {
                self.filter.push(letter);
                self.arrange();
            }
            Action::Erase => {
                self.filter.pop();
                self.arrange();
            }
        }
    }

    /// The rules of the picture.
    pub(super) fn rules(&self) -> &[RuleStats] {
        self.picture.as_ref().map_or(&[], |picture| &picture.stats.rules)
    }

    /// The opened rule's statistics and sums, if it is still there.
    pub(super) fn opened_rule(&self) -> Option<(&RuleStats, &Flow)> {
        let id = self.opened?;
        self.rules().iter().zip(&self.flows).find(|(rule, _)| rule.id == id)
    }

    /// How many rules wait for an interface.
    pub(super) fn pending(&self) -> usize {
        self.rules().iter().filter(|rule| rule.state == RuleState::Pending).count()
    }

    /// The line that the cursor is in.
    pub(super) fn cursor(&self) -> usize {
        if self.opened.is_some() { self.outputs_cursor } else { self.cursors[self.view as usize] }
    }

    /// How many lines the list on the screen has, were the screen long enough.
    pub(super) fn lines(&self) -> usize {
        let Some(picture) = &self.picture else { return 0 };
        if self.opened.is_some() {
            return self.opened_rule().map_or(0, |(rule, _)| rule.outputs.len());
        }
        match self.view {
            View::Rules => self.shown.len(),
            View::Cores => picture.workers.len(),
            View::Drops => 0,
            View::Interfaces => picture.stats.rings.len(),
        }
    }

    fn lists_rules(&self) -> bool {
        self.view == View::Rules && self.opened.is_none()
    }

    fn back(&mut self) {
        if self.is_typing {
            self.is_typing = false;
            self.clear_filter();
        } else if self.opened.is_some() {
            self.opened = None;
        } else if !self.filter.is_empty() && self.view == View::Rules {
            self.clear_filter();
        } else {
            self.has_ended = true;
        }
    }

    fn clear_filter(&mut self) {
        self.filter.clear();
        self.arrange();
    }

    fn turn_to(&mut self, view: View) {
        self.is_typing = false;
        self.opened = None;
        self.view = view;
        self.cursors[view as usize] = self.cursors[view as usize].min(self.lines().max(1) - 1);
    }

    fn step(&mut self, step: Step) {
        let last = self.lines().max(1) - 1;
        let page = self.page_rows.max(1) as isize;
        let cursor = match step {
            Step::Lines(lines) => self.cursor().saturating_add_signed(lines),
            Step::Pages(pages) => self.cursor().saturating_add_signed(pages * page),
            Step::First => 0,
            Step::Last => last,
        };
        let cursor = cursor.min(last);
        if self.opened.is_some() {
            self.outputs_cursor = cursor;
            return;
        }
        self.cursors[self.view as usize] = cursor;
        if self.view == View::Rules {
            self.hold(cursor);
        }
    }

    /// The cursor goes with the rule that it is on from now on, unless it is at the top.
    fn hold(&mut self, cursor: usize) {
        let rule = self.shown.get(cursor).map(|place| self.rules()[*place].id);
        self.held = rule.filter(|_| cursor > 0);
    }

    fn open(&mut self) {
        if !self.lists_rules() {
            return;
        }
        if let Some(place) = self.shown.get(self.cursor()) {
            self.opened = Some(self.rules()[*place].id);
            self.outputs_cursor = 0;
        }
    }

    fn sort(&mut self, order: Order) {
        self.order = order;
        self.arrange();
    }

    /// The rules shown, their order, and the cursor's place among them.
    fn arrange(&mut self) {
        let text = self.filter.to_lowercase();
        let Some(picture) = &self.picture else { return };
        let rules = &picture.stats.rules;
        let mut shown = std::mem::take(&mut self.shown);
        shown.clear();
        shown.extend((0..rules.len()).filter(|place| flows::matches(&rules[*place], &text)));
        self.order.sort(&mut shown, rules, &self.flows);
        let held = self.held.and_then(|id| shown.iter().position(|place| rules[*place].id == id));
        let last = shown.len().max(1) - 1;
        self.shown = shown;
        let cursor = &mut self.cursors[View::Rules as usize];
        *cursor = match (self.held, held) {
            (None, _) => 0,
            (Some(_), Some(line)) => line,
            // It is gone, or does not match: the cursor stays where it is.
            (Some(_), None) => (*cursor).min(last),
        };
        let last = self.lines().max(1) - 1;
        let cursor = match self.opened {
            Some(_) => &mut self.outputs_cursor,
            None => &mut self.cursors[self.view as usize],
        };
        *cursor = (*cursor).min(last);
    }
}
