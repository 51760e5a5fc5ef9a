//! What the kernel says of its cores: the time that was stolen from them, and what they received.

use std::fs;

use anyhow::{Context, Result};

/// `USER_HZ`, the unit of `/proc/stat`: 100 on every architecture that Linux runs MCR on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of a core that the hypervisor gave to others since the machine's start (proc(5),
/// `/proc/stat`), known to a tick of 10 ms.
pub(super) fn stolen_seconds(core: usize) -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    stolen(&stat, core).with_context(|| format!("no core {core} in /proc/stat"))
}

fn stolen(stat: &str, core: usize) -> Option<f64> {
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split(' ').next() == Some(&name))?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    Some(line.split_whitespace().nth(8)?.parse::<f64>().ok()? / TICKS_PER_SECOND)
}

/// One core's receive backlog since the machine's start (`/proc/net/softnet_stat`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Frames taken from it.
    pub(super) processed: u64,
    /// Frames that it had no room for.
    pub(super) dropped: u64,
}

impl Backlog {
    /// Of one core, now.
    pub(super) fn now(core: usize) -> Result<Self> {
        let path = "/proc/thread-self/net/softnet_stat";
        let table = fs::read_to_string(path).context(path)?;
        Self::parse(&table, core).with_context(|| format!("no core {core} in {path}"))
    }

    fn parse(table: &str, core: usize) -> Option<Self> {
        table.lines().enumerate().find_map(|(line, text)| {
            let column: Vec<u64> = text
                .split_whitespace()
                .map(|word| u64::from_str_radix(word, 16))
                .collect::<Result<_, _>>()
                .ok()?;
            // The core's number stands in the thirteenth column since Linux 5.10.
            let number = column.get(12).map_or(line, |number| *number as usize);
            (number == core).then_some(Self { processed: column[0], dropped: *column.get(1)? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_found_by_its_core() {
        let stat = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu1 500 0 300 1000 20 0 40 10 0 0\nintr 5\n";
        assert_eq!(stolen(stat, 1), Some(0.1));
        assert_eq!(stolen(stat, 0), None);
    }

    #[test]
    fn the_backlog_is_found_by_its_core() {
        let table = "\
0093da7a 00000000 00000005 0 0 0 0 0 0 00000000 00000000 00000000 00000002 0 0\n\
000000ff 0000000a 00000005 0 0 0 0 0 0 00000000 00000000 00000000 00000003 0 0\n";
        assert_eq!(Backlog::parse(table, 3), Some(Backlog { processed: 255, dropped: 10 }));
        assert_eq!(Backlog::parse(table, 0), None);
    }
}
