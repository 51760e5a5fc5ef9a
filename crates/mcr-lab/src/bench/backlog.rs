//! What the kernel says that its cores received.

use std::fs;

use anyhow::{Context, Result};

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
    fn the_backlog_is_found_by_its_core() {
        let table = "\
0093da7a 00000000 00000005 0 0 0 0 0 0 00000000 00000000 00000000 00000002 0 0\n\
000000ff 0000000a 00000005 0 0 0 0 0 0 00000000 00000000 00000000 00000003 0 0\n";
        assert_eq!(Backlog::parse(table, 3), Some(Backlog { processed: 255, dropped: 10 }));
        assert_eq!(Backlog::parse(table, 0), None);
    }
}
