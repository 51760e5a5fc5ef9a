//! How a worker process is started: `mcrd worker` with these arguments and inherited descriptors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Descriptor of a worker's end of the command socket.
pub const COMMANDS_DESCRIPTOR: i32 = 3;
/// Descriptor of the ledger's memory.
pub const LEDGER_DESCRIPTOR: i32 = 4;
/// Descriptor of the writing end of the log pipe.
pub const LOG_DESCRIPTOR: i32 = 5;
/// Descriptor of the memory in which all workers note recent datagrams.
pub const SIGHTINGS_DESCRIPTOR: i32 = 6;

/// A choice that is written as one of a few names; the first is the default.
macro_rules! choice {
    ($(#[$about:meta])* $choice:ident { $(#[$first:meta])* $one:ident = $name:literal,
        $($(#[$about_other:meta])* $other:ident = $other_name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $choice {
            $(#[$first])*
            #[default]
            #[serde(rename = $name)]
            $one,
            $($(#[$about_other])* #[serde(rename = $other_name)] $other,)+
        }

        impl $choice {
            /// Every choice, as written on a command line.
            pub const NAMES: &[&str] = &[$name, $($other_name),+];
        }

        impl fmt::Display for $choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Self::NAMES[*self as usize])
            }
        }

        impl FromStr for $choice {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                [Self::$one, $(Self::$other),+]
                    .into_iter()
                    .find(|choice| choice.to_string() == text)
                    .ok_or_else(|| format!("{text:?} is none of {}", Self::NAMES.join(", ")))
            }
        }
    };
}

choice! {
    /// The way of sending that a worker is to use.
    Io {
        /// `io_uring` where the kernel and its policies let it, else `poll`.
        Auto = "auto",
        /// `io_uring` or nothing.
        Uring = "io_uring",
        /// `poll` and `sendmmsg`.
        Poll = "poll",
    }
}

choice! {
    /// How the kernel is to schedule a worker.
    Scheduling {
        /// As any other program.
        Fair = "fair",
        /// Before every program that is not real-time (`SCHED_FIFO`, `sched(7)`).
        Realtime = "realtime",
    }
}

choice! {
    /// Whether a worker gives up all that relaying does not need.
    Sandbox {
        /// Yes.
        On = "on",
        /// No, for whoever debugs one.
        Off = "off",
    }
}

/// The mechanism of a worker, as its ledger names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// Sends through `io_uring` and waits by `ppoll`.
    #[serde(rename = "io_uring")]
    Uring = 1,
    /// Sends by `sendmmsg` and waits by `ppoll`.
    Poll = 2,
}

impl Mechanism {
    /// The ledger's word.
    pub const fn code(self) -> u64 {
        self as u64
    }

    /// The mechanism of a ledger's word; `None` before the worker has written it.
    pub fn from_code(code: u64) -> Option<Self> {
        [Self::Uring, Self::Poll].into_iter().find(|mechanism| mechanism.code() == code)
    }

    /// The name shown to operators.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Poll => "poll",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for io in [Io::Auto, Io::Uring, Io::Poll] {
            assert_eq!(io.to_string().parse(), Ok(io));
        }
        for scheduling in [Scheduling::Fair, Scheduling::Realtime] {
            assert_eq!(scheduling.to_string().parse(), Ok(scheduling));
        }
        for sandbox in [Sandbox::On, Sandbox::Off] {
            assert_eq!(sandbox.to_string().parse(), Ok(sandbox));
        }
        for mechanism in [Mechanism::Uring, Mechanism::Poll] {
            assert_eq!(Mechanism::from_code(mechanism.code()), Some(mechanism));
        }
        assert_eq!(Mechanism::from_code(0), None);
    }
}
