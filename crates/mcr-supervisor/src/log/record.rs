//! Something to be logged, and the cause that it has in common with others.

use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

use mcr_api::log::{Area, Entry, Level};
use tracing::field::{Field, Visit};

/// A record of the supervisor's, or of a worker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) level: Level,
    pub(super) area: Area,
    /// Whether the worker says it itself.
    pub(super) by_worker: bool,
    pub(super) worker: Option<u32>,
    pub(super) interface: Option<String>,
    pub(super) rule: Option<u64>,
    pub(super) message: String,
}

/// The cause of records that differ only in numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cause {
    level: Level,
    area: Area,
    /// So that no worker can have the supervisor's own lines kept back.
    by_worker: bool,
    worker: Option<u32>,
    interface: Option<String>,
    rule: Option<u64>,
    template: u64,
}

impl Record {
    /// Nothing yet.
    pub(super) fn new(level: Level, area: Area) -> Self {
        let message = String::new();
        Self { level, area, by_worker: false, worker: None, interface: None, rule: None, message }
    }

    /// What is wrong with an interface, every worker finds out for itself: that is one cause.
    pub(super) fn cause(&self) -> Cause {
        let mut template = DefaultHasher::new();
        let mut in_number = false;
        for byte in self.message.bytes() {
            let is_digit = byte.is_ascii_digit();
            if !(is_digit && in_number) {
                (if is_digit { b'0' } else { byte }).hash(&mut template);
            }
            in_number = is_digit;
        }
        Cause {
            level: self.level,
            area: self.area,
            by_worker: self.by_worker,
            worker: self.worker.filter(|_| !self.by_worker),
            interface: self.interface.clone(),
            rule: self.rule,
            template: template.finish(),
        }
    }

    /// The line to be printed, at a moment in nanoseconds since 1970.
    pub(super) fn entry(&self, time_ns: u64) -> Entry {
        let mut message = String::with_capacity(self.message.len());
        if let (Some(worker), true) = (self.worker, self.by_worker) {
            message = format!("worker {worker}: ");
        }
        // An entry is a line, whatever stands in it.
        message.extend(plain(&self.message));
        let interface = self.interface.as_deref().map(|name| plain(name).collect());
        let Self { worker, rule, .. } = *self;
        Entry { worker, interface, rule, ..Entry::new(time_ns, self.level, self.area, message) }
    }
}

/// Whether a character is not shown but changes how the rest is: control characters, the other ends
/// of lines and paragraphs, and what sets the direction (Unicode Standard Annex #9, section 2).
fn is_layout(c: char) -> bool {
    matches!(
        c,
        '\u{2028}' | '\u{2029}'
            | '\u{061c}' | '\u{200e}' | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    ) || c.is_control()
}

/// A text without what changes how it is shown.
fn plain(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|c| if is_layout(c) { ' ' } else { c })
}

/// Takes the fields of a `tracing` event; those that have no place here stand in the message, too.
impl Visit for Record {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "worker" => self.worker = u32::try_from(value).ok(),
            "rule" => self.rule = Some(value),
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "by_worker" {
            self.by_worker = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "interface" => self.interface = Some(value.into()),
            "message" => self.message = value.into(),
            "area" => self.area = value.parse().unwrap_or(self.area),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = match field.name() {
            "message" => &mut self.message,
            "interface" => self.interface.get_or_insert_default(),
            _ => return,
        };
        // Writing into a text never fails.
        _ = write!(text, "{value:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &str) -> Record {
        let interface = Some("eth0".into());
        let message = message.into();
        Record { interface, message, ..Record::new(Level::Warn, Area::Ingress) }
    }

    #[test]
    fn numbers_make_no_other_cause_and_names_do() {
        let cause = record("7 of 12 slots").cause();
        assert_eq!(cause, record("1234 of 1 slots").cause());
        assert_ne!(cause, record("7 of 12 frames").cause());
        assert_ne!(cause, record(" of  slots").cause());
        let other = Record { interface: Some("eth1".into()), ..record("7 of 12 slots") };
        assert_ne!(cause, other.cause());
        let rule = Record { rule: Some(3), ..record("7 of 12 slots") };
        assert_ne!(cause, rule.cause());
    }

    #[test]
    fn what_several_workers_say_has_one_cause_and_what_is_said_of_them_has_not() {
        let said = |by_worker, worker| {
            Record { by_worker, worker: Some(worker), ..record("full") }.cause()
        };
        assert_eq!(said(true, 1), said(true, 2));
        assert_ne!(said(false, 1), said(false, 2));
    }

    #[test]
    fn what_a_worker_says_never_keeps_back_what_the_supervisor_says() {
        let forged = Record { by_worker: true, worker: Some(1), ..record("full") };
        assert_ne!(forged.cause(), record("full").cause());
    }

    #[test]
    fn nothing_in_a_message_changes_how_the_line_is_shown() {
        for c in "\r\u{7f}\u{9b}\u{2028}\u{2029}\u{61c}\u{200f}\u{202e}\u{2066}".chars() {
            assert_eq!(record(&format!("a{c}b")).entry(0).message, "a b", "{c:?}");
        }
        assert_eq!(record("eth0: “ä” …").entry(0).message, "eth0: “ä” …");
    }

    #[test]
    fn an_entry_is_one_line_that_names_who_says_it() {
        let said = Record { by_worker: true, worker: Some(3), ..record("eth0:\nfull\x1b[1m") };
        let entry = said.entry(0);
        assert_eq!(entry.message, "worker 3: eth0: full [1m");
        assert_eq!((entry.worker, entry.interface.as_deref()), (Some(3), Some("eth0")));
    }
}
