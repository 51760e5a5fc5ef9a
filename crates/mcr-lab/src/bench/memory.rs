//! What a process has in memory, the packet rings aside.

use std::fs;

use anyhow::{Context, Result};

/// Bytes resident in a process, beside mapped sockets: those are its receive rings.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps");
    let maps = fs::read_to_string(&path).with_context(|| path.clone())?;
    Ok(resident_kib(&maps) * 1024)
}

/// Each mapping of `/proc/PID/smaps` (proc(5)) is a line of its range and name, then its figures.
fn resident_kib(maps: &str) -> u64 {
    let mut counted = true;
    let mut sum = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Rss:") if counted => {
                sum += words.next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
            }
            Some(first) if !first.ends_with(':') => {
                // range, permissions, offset, device, inode, name
                counted = !words.nth(4).is_some_and(|name| name.starts_with("socket:"));
            }
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::resident_kib;

    #[test]
    fn rings_are_left_out() {
        let maps = "\
55d0-55d1 r-xp 00000000 fe:00 123 /usr/bin/mcrd
Size:               4096 kB
Rss:                3000 kB
7f00-7f80 rw-s 00000000 00:08 4711 socket:[4711]
Size:               8192 kB
Rss:                8192 kB
7f80-7f90 rw-p 00000000 00:00 0
Rss:                 500 kB
";
        assert_eq!(resident_kib(maps), 3_500);
    }
}
