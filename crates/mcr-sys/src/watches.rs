//! Waiting for frames and commands, by ppoll(2), whichever way datagrams are sent.
//!
//! Not by requests to io_uring: those would hold the sockets open for a while after a worker's
//! death, and its restrictions could then not say that it only ever sends.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use crate::{limits, option};

/// The descriptors to wait for.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// By token; `ppoll` skips entries whose descriptor is negative.
    entries: Vec<libc::pollfd>,
    /// Until when some are left out for an error that stays.
    muted_until: Option<Instant>,
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

    /// Leaves a descriptor out of the waits until it is watched anew.
    pub(crate) fn mute(&mut self, token: u32) {
        if let Some(watch) = self.entries.get_mut(token as usize) {
            watch.fd = MUTED;
        }
    }

    /// Waits until a watched descriptor has something to read, or the time is over. Returns how
    /// many system calls that took: one, and one for each error that was found.
    pub(crate) fn wait(&mut self, timeout: Duration) -> u64 {
        if self.muted_until.is_some_and(|until| Instant::now() >= until) {
            self.muted_until = None;
            self.entries.iter_mut().filter(|watch| watch.fd < MUTED).for_each(turn_over);
        }
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
        let mut system_calls = 1;
        // A packet socket says ENETDOWN when its interface goes down, and until somebody takes the
        // error, each wait ends at once.
        let failed = self.entries.iter_mut().filter(|watch| watch.revents & !libc::POLLIN != 0);
        for watch in failed {
            system_calls += 1;
            let stays = !matches!(take_error(watch.fd), Ok(taken) if taken != 0);
            if stays && watch.revents & libc::POLLIN == 0 {
                turn_over(watch);
                self.muted_until = Some(Instant::now() + limits::MUTED_FOR);
            }
        }
        system_calls
    }

    /// Whether the last wait found that a watched descriptor has something to read.
    pub(crate) fn fired(&self, token: u32) -> bool {
        self.entries.get(token as usize).is_some_and(|watch| watch.revents != 0)
    }
}

/// In place of a descriptor that is never to be waited for again; -1 is that of a free entry. What
/// is below is a descriptor turned over.
const MUTED: RawFd = -2;

/// Leaves a descriptor out of waits, or takes it in again.
fn turn_over(watch: &mut libc::pollfd) {
    watch.fd = MUTED - 1 - watch.fd;
}

/// Takes the error of a watched socket (`SO_ERROR`, socket(7)); 0: it has none.
fn take_error(descriptor: RawFd) -> io::Result<u32> {
    // SAFETY: whoever watches a descriptor keeps it open until the watch ends.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let [error] = option::words(&socket, libc::SOL_SOCKET, libc::SO_ERROR)?;
    Ok(error)
}

fn entry(descriptor: RawFd) -> libc::pollfd {
    libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 }
}

#[cfg(test)]
mod tests;
