//! Who changed what, with which result: a line of the log for each change that was asked for,
//! whatever the log's levels and rates, numbered so that a line that is missing shows.

use std::fmt;
use std::sync::Arc;

use mcr_api::control::{Access, Answer, Command, ErrorBody};
use tracing::info;

use crate::control::Peer;
use crate::limits;

/// The number of the latest line.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    latest: u64,
}

/// The client that asks for a change.
#[derive(Clone, Debug)]
pub(crate) enum By {
    /// A client of a control socket.
    Client(Arc<Peer>),
    /// Whoever may signal the daemon; the kernel's answer to who that was does not last.
    Signal,
}

/// A change that is asked for.
#[derive(Debug)]
pub(crate) struct Change {
    by: By,
    what: String,
}

impl Change {
    /// The change that a command would make; `None`: none.
    pub(crate) fn of(command: &Command, by: By) -> Option<Self> {
        let what = || shown(&command.to_json());
        (command.access() == Access::Change).then(|| Self { by, what: what() })
    }
}

impl Audit {
    /// Lines so far, and the number of the latest.
    pub(crate) fn latest(&self) -> u64 {
        self.latest
    }

    /// Writes what became of a change. The result stands before what the client has written, so
    /// that no text of a client's can pass for one.
    pub(crate) fn write(&mut self, change: &Change, result: &Result<Answer, ErrorBody>) {
        self.latest += 1;
        let (number, Change { by, what }) = (self.latest, change);
        let (rule, outcome) = (rule(result), outcome(result));
        info!(rule, "change {number} by {by}: {outcome}: {what}");
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(peer) => peer.fmt(f),
            Self::Signal => f.write_str("SIGHUP"),
        }
    }
}

fn rule(result: &Result<Answer, ErrorBody>) -> Option<u64> {
    match result {
        Ok(Answer::Added(added)) => Some(added.rule),
        Ok(Answer::Removed(removed)) => Some(removed.rule),
        _ => None,
    }
}

fn outcome(result: &Result<Answer, ErrorBody>) -> String {
    match result {
        Ok(Answer::Added(added)) if !added.created => format!("ok, rule {} before", added.rule),
        Ok(Answer::Added(added)) => format!("ok, rule {}", added.rule),
        Ok(Answer::Removed(removed)) => format!("ok, rule {}", removed.rule),
        Ok(Answer::Reloaded(reloaded)) => {
            format!("ok, {} new, {} gone, {} kept", reloaded.new, reloaded.gone, reloaded.kept)
        }
        Ok(_) => "ok".into(),
        Err(error) => format!("refused, {}", error.code),
    }
}

/// So much of what a client has written, and nothing in it that a terminal might obey or that
/// turns the text around it.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == limits::AUDIT_CHARACTERS {
            return shown + "…";
        }
        match character {
            ' '..='~' => shown.push(character),
            other => shown.extend(other.escape_unicode()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use mcr_api::control::{Added, ErrorCode, RuleReference, RuleState};

    use super::*;

    #[test]
    fn only_changes_are_audited() {
        assert!(Change::of(&Command::ListRules {}, By::Signal).is_none());
        let change = Change::of(&Command::Reload {}, By::Signal).unwrap();
        assert_eq!(change.what, r#"{"command":"Reload"}"#);
        assert_eq!(change.by.to_string(), "SIGHUP");
    }

    #[test]
    fn no_text_breaks_the_line_or_is_too_long() {
        let rule = RuleReference::Name("a\n\u{202e}\u{1b}[1m\": ok".into());
        let change = Change::of(&Command::RemoveRule { rule }, By::Signal).unwrap();
        let expected = r#"{"command":"RemoveRule","rule":"a\n\u{202e}\u001b[1m\": ok"}"#;
        assert_eq!(change.what, expected);
        let rule = RuleReference::Name("a".repeat(1_000_000));
        let change = Change::of(&Command::RemoveRule { rule }, By::Signal).unwrap();
        assert_eq!(change.what.chars().count(), limits::AUDIT_CHARACTERS + 1);
    }

    #[test]
    fn a_result_is_a_rule_or_a_code() {
        let added = |created| {
            let (state, problems) = (RuleState::Active, Vec::new());
            Ok(Answer::Added(Added { rule: 5, created, applied: true, state, problems }))
        };
        assert_eq!((outcome(&added(true)), rule(&added(true))), ("ok, rule 5".into(), Some(5)));
        assert_eq!(outcome(&added(false)), "ok, rule 5 before");
        let refused = Err(ErrorBody::new(ErrorCode::NotFound, "none"));
        assert_eq!((outcome(&refused), rule(&refused)), ("refused, not_found".into(), None));
    }
}
