//! The parts of MCR that log, each with a level of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Makes the enum, its names and what each is about, so that no list of them can miss one.
macro_rules! areas {
    ($($area:ident = $name:literal, $about:literal;)+) => {
        /// A part of the supervisor or of the workers.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum Area {
            $(#[doc = $about] $area,)+
        }

        impl Area {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$area,)+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$area => $name,)+
                }
            }

            /// The subject of its records.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$area => $about,)+
                }
            }
        }
    };
}

areas! {
    Supervisor = "supervisor", "The daemon's start and end, and what has no area of its own.";
    Rules = "rules", "Rules, and what they need of the kernel: groups, sockets, filters.";
    Interfaces = "interfaces", "The network interfaces, and whether they can be read.";
    Workers = "workers", "The worker processes as the supervisor sees them.";
    Control = "control", "The control socket and its clients.";
    Audit = "audit", "Who changed what with which result: always logged, whatever the levels.";
    Configuration = "configuration", "The configuration file.";
    Metrics = "metrics", "The HTTP exporter.";
    Start = "start", "A worker's start.";
    Commands = "commands", "What a worker is told, and what comes of it.";
    Ingress = "ingress", "What a worker finds in the frames of an interface.";
    Panic = "panic", "A worker's last words.";
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no area.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no area {0:?}; there are {names}", names = names())]
pub struct UnknownArea(pub String);

fn names() -> String {
    Area::ALL.iter().map(|area| area.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Area {
    type Err = UnknownArea;

    fn from_str(text: &str) -> Result<Self, UnknownArea> {
        let named = Self::ALL.iter().find(|area| area.name() == text);
        named.copied().ok_or_else(|| UnknownArea(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_json_says() {
        for area in Area::ALL {
            assert_eq!(serde_json::to_value(area).unwrap(), area.name());
            assert_eq!(area.name().parse(), Ok(*area));
        }
    }

    #[test]
    fn an_unknown_one_is_told_the_others() {
        let error = "egrss".parse::<Area>().unwrap_err().to_string();
        assert!(error.starts_with("there is no area \"egrss\"; there are supervisor, rules"));
        assert!(error.ends_with("ingress, panic"), "{error}");
    }
}
