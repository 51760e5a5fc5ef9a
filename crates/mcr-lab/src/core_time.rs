//! What the kernel says that a core did with its time.

use std::fs;

use anyhow::{Context, Result};

/// `USER_HZ`, the unit of `/proc/stat`: 100 on every architecture that Linux runs MCR on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A core's times since the machine's start (proc(5), `/proc/stat`), known to a tick of 10 ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CoreTime {
    /// It had nothing to do, waits for a disk aside.
    pub idle_seconds: f64,
    /// The hypervisor gave it to others.
    pub stolen_seconds: f64,
}

impl CoreTime {
    /// Of one core, now.
    pub fn now(core: usize) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        Self::parse(&stat, core).with_context(|| format!("no core {core} in /proc/stat"))
    }

    fn parse(stat: &str, core: usize) -> Option<Self> {
        let name = format!("cpu{core}");
        let line = stat.lines().find(|line| line.split(' ').next() == Some(&name))?;
        // user, nice, system, idle, iowait, irq, softirq, steal
        let seconds = |column| {
            let ticks: f64 = line.split_whitespace().nth(column)?.parse().ok()?;
            Some(ticks / TICKS_PER_SECOND)
        };
        Some(Self { idle_seconds: seconds(4)?, stolen_seconds: seconds(8)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_by_their_core() {
        let stat = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu1 500 0 300 1000 20 0 40 10 0 0\nintr 5\n";
        let expected = CoreTime { idle_seconds: 10.0, stolen_seconds: 0.1 };
        assert_eq!(CoreTime::parse(stat, 1), Some(expected));
        assert_eq!(CoreTime::parse(stat, 0), None);
    }
}
