//! Socket buffers, which the kernel makes smaller than asked for without a word.

use mcr_api::control::BufferStats;
use mcr_sys::packet::LONG_FRAME_QUEUE_BYTES;
use tracing::warn;

use crate::limits;

/// A kind of buffer, its limit, and the smallest one that the kernel gave so far.
#[derive(Debug)]
pub(crate) struct Buffers {
    name: &'static str,
    sysctl: &'static str,
    wanted: usize,
    smallest: Option<usize>,
}

impl Buffers {
    /// Those of egress sockets: they bound how many datagrams leave at once.
    pub(crate) fn send() -> Self {
        Self {
            name: "send buffers",
            sysctl: "net.core.wmem_max",
            wanted: limits::SEND_BUFFER_BYTES,
            smallest: None,
        }
    }

    /// Those of packet sockets, for frames longer than a slot of a ring.
    pub(crate) fn long_frames() -> Self {
        Self {
            name: "queues for long frames",
            sysctl: "net.core.rmem_max",
            wanted: LONG_FRAME_QUEUE_BYTES,
            smallest: None,
        }
    }

    /// The kernel gave one of so many bytes. Says so where it is the first that is too small.
    pub(crate) fn note(&mut self, bytes: usize) {
        if let Some(warning) = self.warning(bytes) {
            warn!("{warning}");
        }
        self.smallest = Some(self.smallest.map_or(bytes, |smallest| smallest.min(bytes)));
    }

    fn warning(&self, bytes: usize) -> Option<String> {
        let Self { name, sysctl, wanted, smallest } = self;
        let is_told = smallest.is_some_and(|smallest| smallest < *wanted);
        (bytes < *wanted && !is_told).then(|| {
            format!(
                "{name} have {} KiB instead of {} KiB, which {sysctl} limits, so that bursts may \
                 be lost: set {sysctl}={wanted} (packaging/mcr.sysctl.conf), or give mcrd \
                 CAP_NET_ADMIN",
                bytes / 1024,
                wanted / 1024
            )
        })
    }

    /// For `GetStats`.
    pub(crate) fn stats(&self) -> BufferStats {
        BufferStats {
            wanted_bytes: self.wanted as u64,
            smallest_bytes: self.smallest.unwrap_or(self.wanted) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_buffer_is_told_once() {
        let mut buffers = Buffers::send();
        assert_eq!(buffers.warning(limits::SEND_BUFFER_BYTES), None);
        buffers.note(limits::SEND_BUFFER_BYTES);
        let told = buffers.warning(212_992).unwrap();
        let begin = "send buffers have 208 KiB instead of 4096 KiB, which net.core.wmem_max limits";
        assert!(told.starts_with(begin), "{told}");
        buffers.note(212_992);
        assert_eq!(buffers.warning(212_992), None);
        assert_eq!(buffers.stats().smallest_bytes, 212_992);
        assert_eq!(Buffers::send().stats().smallest_bytes, limits::SEND_BUFFER_BYTES as u64);
    }

    #[test]
    fn the_packaged_limits_are_enough() {
        let file = include_str!("../../../../packaging/mcr.sysctl.conf");
        for buffers in [Buffers::send(), Buffers::long_frames()] {
            let value = file.lines().find_map(|line| line.strip_prefix(buffers.sysctl));
            let value = value.and_then(|value| value.trim().strip_prefix('='));
            let value: usize = value.expect("a line of its own").trim().parse().unwrap();
            assert!(value >= buffers.wanted, "{}: {value}", buffers.sysctl);
        }
    }
}
