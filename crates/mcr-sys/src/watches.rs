//! Waiting for frames and commands, by ppoll(2), whichever way datagrams are sent.
//!
//! Not by requests to io_uring: those would hold the sockets open for a while after a worker's
//! death, and its restrictions could then not say that it only ever sends.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// The descriptors to wait for.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// By token; `ppoll` skips entries whose descriptor is negative.
    entries: Vec<libc::pollfd>,
}

impl Watches {
    /// Watches a descriptor for something to read, under a token that no other watch has. It must
    /// stay open until [`Self::unwatch`].
    pub(crate) fn watch(&mut self, token: u32, descriptor: BorrowedFd<'_>) {
        let token = token as usize;
        if self.entries.len() <= token {
            self.entries.resize(token + 1, entry(-1));
        }
        self.entries[token] = entry(descriptor.as_raw_fd());
    }

    /// Ends a watch.
    pub(crate) fn unwatch(&mut self, token: u32) {
        if let Some(watch) = self.entries.get_mut(token as usize) {
            *watch = entry(-1);
        }
    }

    /// Waits until a watched descriptor has something to read, or the time is over. One system
    /// call.
    pub(crate) fn wait(&mut self, timeout: Duration) {
        let time = libc::timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: the entries are a slice of their own length; the time is a local. Whatever ends
        // the wait, the caller looks at every source.
        unsafe {
            libc::ppoll(
                self.entries.as_mut_ptr(),
                self.entries.len() as libc::nfds_t,
                &raw const time,
                std::ptr::null(),
            )
        };
    }

    /// Whether the last wait found that a watched descriptor has something to read.
    pub(crate) fn fired(&self, token: u32) -> bool {
        self.entries.get(token as usize).is_some_and(|watch| watch.revents != 0)
    }
}

fn entry(descriptor: RawFd) -> libc::pollfd {
    libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 }
}
