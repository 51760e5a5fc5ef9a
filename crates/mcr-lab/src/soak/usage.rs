//! What the relay holds: descriptors, memory, and what the kernel keeps for it. All of it must
//! come back to where it was.

use std::fmt;
use std::fs;

use anyhow::{Context, Result};

use super::relay::Relay;
use crate::bench::memory::resident_bytes;
use crate::igmp;
use crate::limits;
use crate::namespace::Namespace;

/// One reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usage {
    /// The supervisor first, then the workers.
    processes: Vec<Process>,
    /// Packet sockets in the relay's namespace: one for each ring.
    packet_sockets: usize,
    /// Memberships on its interfaces.
    memberships: usize,
}

/// What one process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    descriptors: usize,
    /// Beside the rings.
    resident_bytes: u64,
}

impl Usage {
    /// Reads it.
    pub(super) fn read(relay: &Relay, namespace: &Namespace) -> Result<Self> {
        Ok(Self {
            processes: relay.pids()?.into_iter().map(Process::read).collect::<Result<_>>()?,
            packet_sockets: rings(&namespace.read_proc_net("packet")?),
            memberships: igmp::memberships(namespace)?.len(),
        })
    }

    /// What has not come back to where it was.
    pub(super) fn beyond(&self, before: &Self) -> Vec<String> {
        let mut findings = Vec::new();
        for (place, (now, before)) in self.processes.iter().zip(&before.processes).enumerate() {
            let (name, growth_bytes) = match place {
                0 => ("the supervisor".into(), limits::soak::SUPERVISOR_GROWTH_BYTES),
                worker => (format!("worker {}", worker - 1), limits::soak::WORKER_GROWTH_BYTES),
            };
            if now.descriptors > before.descriptors + limits::soak::DESCRIPTORS {
                let (now, before) = (now.descriptors, before.descriptors);
                findings.push(format!("{name} has {now} descriptors, and had {before}"));
            }
            if now.resident_bytes > before.resident_bytes + growth_bytes {
                let [now, before] = [now, before].map(|process| process.resident_bytes / 1024);
                findings.push(format!("{name} has {now} KiB in memory, and had {before}"));
            }
        }
        for (what, now, before) in [
            ("processes", self.processes.len(), before.processes.len()),
            ("packet sockets", self.packet_sockets, before.packet_sockets),
            ("memberships", self.memberships, before.memberships),
        ] {
            if now != before {
                findings.push(format!("there are {now} {what}, and were {before}"));
            }
        }
        findings
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |process: &Process| {
            format!("{} fds {} KiB", process.descriptors, process.resident_bytes / 1024)
        };
        let processes: Vec<String> = self.processes.iter().map(of).collect();
        write!(f, "{}; ", processes.join(", "))?;
        write!(f, "{} packet sockets, {} groups", self.packet_sockets, self.memberships)
    }
}

/// The sockets of `/proc/net/packet` beside the daemon's watches, which stay on an interface for as
/// long as that is there.
fn rings(sockets: &str) -> usize {
    let protocol = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    sockets.lines().skip(1).filter(|line| protocol(line).as_deref() != Some(WATCH)).count()
}

/// The protocol of a watch: the first of IEEE 802 for local experiments.
const WATCH: &str = "88b5";

impl Process {
    fn read(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/fd");
        let descriptors = fs::read_dir(&path).with_context(|| path.clone())?.count();
        Ok(Self { descriptors, resident_bytes: resident_bytes(pid)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        let process = Process { descriptors: 40, resident_bytes: 9 * 1024 * 1024 };
        Usage { processes: vec![process; 3], packet_sockets: 6, memberships: 20 }
    }

    #[test]
    fn watches_on_interfaces_are_no_rings() {
        let sockets = "sk RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                       00000000 3 3 0003 2 1 0 0 4711\n\
                       00000000 3 3 88b5 2 1 0 0 4712\n";
        assert_eq!(rings(sockets), 1);
    }

    #[test]
    fn who_came_back_is_not_named() {
        let mut now = usage();
        now.processes[0].descriptors -= 1;
        now.processes[0].resident_bytes += limits::soak::SUPERVISOR_GROWTH_BYTES;
        now.processes[1].descriptors += limits::soak::DESCRIPTORS;
        assert_eq!(now.beyond(&usage()), Vec::<String>::new());
    }

    #[test]
    fn who_did_not_is_named_with_both_figures() {
        let mut now = usage();
        now.processes[0].descriptors = 90;
        now.processes[2].resident_bytes *= 4;
        now.packet_sockets = 8;
        now.memberships = 19;
        assert_eq!(
            now.beyond(&usage()),
            [
                "the supervisor has 90 descriptors, and had 40",
                "worker 1 has 36864 KiB in memory, and had 9216",
                "there are 8 packet sockets, and were 6",
                "there are 19 memberships, and were 20",
            ]
        );
    }
}
