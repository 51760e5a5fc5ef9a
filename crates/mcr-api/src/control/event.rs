//! Events, as `Subscribe` and `GetEvents` tell them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::line::json_line;
use crate::time::utc;

/// Something that happened: one JSON object a line of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number: each event has the one after the event before it. Of what was missed, that of
    /// the last one.
    pub sequence: u64,
    /// When it happened (RFC 3339, UTC, milliseconds).
    pub time: String,
    /// The same in nanoseconds since 1970.
    pub time_ns: u64,
    /// Its kind.
    pub kind: EventKind,
    /// Its subject.
    #[serde(flatten)]
    pub about: About,
    /// How many events were missed, where that is what it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// A sentence for people.
    pub message: String,
}

/// The names of what an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// A rule's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u64>,
    /// That rule's name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A worker's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// An interface's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// Makes the enum and the list of its kinds with what each is, so that none is left out.
macro_rules! kinds {
    ($($kind:ident = $about:literal;)+) => {
        /// The kind of an event.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum EventKind {
            $(#[doc = $about] $kind,)+
            /// A kind that this program is too old to know.
            #[serde(other)]
            Unknown,
        }

        impl EventKind {
            /// All that this daemon tells.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// Its meaning.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$kind => $about,)+
                    Self::Unknown => "A kind that this program is too old to know.",
                }
            }
        }
    };
}

kinds! {
    RuleAdded = "A rule was added.";
    RuleRemoved = "A rule was removed.";
    RuleActive = "A rule can relay now.";
    RulePending = "A rule cannot relay yet; the message names the cause.";
    RuleProblem = "A rule or one of its outputs has a new problem.";
    RuleProblemSolved = "A rule and its outputs have no problem left.";
    WorkerStarted = "A worker's process was started.";
    WorkerReady = "A worker holds every rule and relays.";
    WorkerExited = "A worker's process ended.";
    WorkerBackingOff = "A worker died repeatedly, and its next start is held back.";
    WorkerStalled = "A worker's loop stood still; the worker is killed and replaced.";
    WorkerReplaced = "A worker cannot be repaired; it is killed and replaced.";
    WorkerOverloaded = "A worker never rests and its rings overflow: it sheds frames, counted.";
    WorkerRelieved = "A worker that was overloaded keeps up again.";
    WorkerBehind = "A worker holds other rules than it should and gets the full rule set.";
    WorkerRepaired = "A worker that was behind holds every rule again.";
    InterfaceAppeared = "An interface that rules name appeared.";
    InterfaceGone = "An interface that rules name is gone.";
    InterfaceRenamed = "An interface has a new name.";
    InterfaceUp = "An interface is up.";
    InterfaceDown = "An interface is down.";
    InterfaceCarrierLost = "An interface lost its carrier.";
    InterfaceCarrierFound = "An interface has a carrier again.";
    InterfaceChanged = "The addresses, MTU or controller of an interface changed.";
    RingStuck = "A receive ring stopped taking frames; the interface gets new rings.";
    ConfigurationReloaded = "The configuration file was reloaded and applied.";
    ConfigurationRefused = "A reload was refused: the configuration file has an error.";
    Missed = "Some events are missing: the reader was too slow, or came too late.";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Event {
    /// An event at a moment, in nanoseconds since 1970.
    pub fn new(
        sequence: u64,
        time_ns: u64,
        kind: EventKind,
        about: About,
        message: String,
    ) -> Self {
        Self { sequence, time: utc(time_ns), time_ns, kind, about, missed: None, message }
    }

    /// That `count` events up to that one will not be told.
    pub fn missed(sequence: u64, time_ns: u64, count: u64) -> Self {
        let message = format!("{count} events were missed: ask for rules and workers anew");
        let about = About::default();
        let event = Self::new(sequence, time_ns, EventKind::Missed, about, message);
        Self { missed: Some(count), ..event }
    }

    /// The event as one line with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        json_line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_without_what_it_is_not_about() {
        let about = About { rule: Some(3), name: Some("video".into()), ..About::default() };
        let event = Event::new(
            17,
            1_700_000_000_123_456_789,
            EventKind::RuleActive,
            about,
            "it relays".into(),
        );
        let line = String::from_utf8(event.to_line()).unwrap();
        let expected = concat!(
            r#"{"sequence":17,"time":"2023-11-14T22:13:20.123Z","time_ns":1700000000123456789,"#,
            r#""kind":"rule_active","rule":3,"name":"video","message":"it relays"}"#,
            "\n"
        );
        assert_eq!(line, expected);
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn a_newer_daemons_kind_is_read() {
        let line = br#"{"sequence":1,"time":"","time_ns":0,"kind":"dawn","message":"m"}"#;
        let event: Event = serde_json::from_slice(line).unwrap();
        assert_eq!(event.kind, EventKind::Unknown);
        assert_eq!(Event::missed(9, 0, 4).missed, Some(4));
    }

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in EventKind::ALL {
            let name = kind.to_string();
            let read: EventKind = serde_json::from_value(name.clone().into()).unwrap();
            assert_eq!(read, *kind, "{name}");
            assert!(kind.about().ends_with('.'), "{name}");
        }
    }
}
