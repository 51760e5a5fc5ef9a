//! How a worker process is started: `mcrd worker` with these arguments and inherited descriptors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a worker finds its end of the command socket.
pub const COMMANDS_DESCRIPTOR: i32 = 3;
/// Where a worker finds its ledger's memory.
pub const LEDGER_DESCRIPTOR: i32 = 4;
/// Where a worker finds the writing end of the log pipe.
pub const LOG_DESCRIPTOR: i32 = 5;

/// Which way of sending and waiting a worker is to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// `io_uring` where the kernel and its policies let it, else `poll`.
    #[default]
    Auto,
    /// `io_uring` or nothing.
    Uring,
    /// `poll` and `sendmmsg`.
    Poll,
}

impl Io {
    /// Every choice, as written on a command line.
    pub const NAMES: [&str; 3] = ["auto", "io_uring", "poll"];
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Io {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Auto, Self::Uring, Self::Poll]
            .into_iter()
            .find(|io| io.to_string() == text)
            .ok_or_else(|| format!("{text:?} is none of {}", Self::NAMES.join(", ")))
    }
}

/// How the kernel is to schedule a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// As any other program.
    #[default]
    Fair,
    /// Before every program that is not real-time (`SCHED_FIFO`, `sched(7)`).
    Realtime,
}

impl Scheduling {
    /// Every choice, as written on a command line.
    pub const NAMES: [&str; 2] = ["fair", "realtime"];
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Scheduling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Fair, Self::Realtime]
            .into_iter()
            .find(|scheduling| scheduling.to_string() == text)
            .ok_or_else(|| format!("{text:?} is none of {}", Self::NAMES.join(", ")))
    }
}

/// Which mechanism a worker runs, as its ledger says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// Sends and waits through `io_uring`.
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
        for mechanism in [Mechanism::Uring, Mechanism::Poll] {
            assert_eq!(Mechanism::from_code(mechanism.code()), Some(mechanism));
        }
        assert_eq!(Mechanism::from_code(0), None);
    }
}
