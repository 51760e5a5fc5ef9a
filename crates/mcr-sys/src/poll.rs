//! The `poll` way of sending and waiting, for where io_uring is refused.
//!
//! Sends to one socket that follow each other share a `sendmmsg`, so that here, too, there is no
//! system call for each packet.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::gather::Gather;
use crate::limits;
use crate::send::{self, Carrier, Chunk, Errno, Outcome, SendRequest, Sender};
use crate::watches::Watches;

/// The `poll` mechanism.
pub struct Poll {
    chunk: Chunk,
    watches: Watches,
    system_calls: u64,
}

impl Default for Poll {
    fn default() -> Self {
        Self::new()
    }
}

impl Poll {
    /// Needs nothing of the kernel.
    pub fn new() -> Self {
        let chunk = Chunk::with_room_for(limits::SENDS_AT_ONCE as usize);
        Self { chunk, watches: Watches::default(), system_calls: 0 }
    }

    /// Sends all, in order, and tells how each ended, in the same order. Never waits for room in
    /// a socket's queue.
    pub fn send_all<'a>(
        &mut self,
        gather: &Gather<'_>,
        sends: impl Iterator<Item = SendRequest<'a>>,
        done: impl FnMut(usize, Outcome),
    ) {
        send::send_all(self, gather, sends, done);
    }

    /// Sends what follows from `from` on by one socket, up to the first refusal; says how many
    /// sends have ended: none only where a signal came first.
    fn send_run(&mut self, from: usize) -> usize {
        let socket = self.chunk.sockets()[from].descriptor;
        let same = |other: &&Sender| other.descriptor == socket;
        let run = self.chunk.sockets()[from..].iter().take_while(same).count();
        let messages = &mut self.chunk.messages()[from..from + run];
        self.system_calls += 1;
        // SAFETY: the headers were filled by `fill`, and what they point to is borrowed for as
        // long as `send_all` runs; the count is that of the slice.
        let sent = unsafe {
            libc::sendmmsg(
                socket,
                messages.as_mut_ptr(),
                run as u32,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        let Ok(sent) = usize::try_from(sent) else {
            let errno = Errno::last();
            if errno.0 == libc::EINTR {
                return 0;
            }
            self.chunk.outcomes[from] = Err(errno);
            return 1;
        };
        for place in from..from + sent {
            let bytes = self.chunk.messages()[place].msg_len as usize;
            self.chunk.outcomes[place] = Ok(bytes);
        }
        sent
    }

    /// Takes a socket to send by in at a place; this mechanism needs no more than its descriptor.
    pub fn admit(&mut self, _place: u32, _socket: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    /// The place is free again.
    pub fn dismiss(&mut self, _place: u32) {}

    /// Watches a descriptor for something to read, under a token that no other watch has. It must
    /// stay open until [`Self::unwatch`].
    pub fn watch(&mut self, token: u32, descriptor: BorrowedFd<'_>) {
        self.watches.watch(token, descriptor);
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, token: u32) {
        self.watches.unwatch(token);
    }

    /// Leaves a descriptor out of waits, however much there is to read, until it is watched anew.
    pub fn mute(&mut self, token: u32) {
        self.watches.mute(token);
    }

    /// Waits until a watched descriptor has something to read, or the time is over.
    pub fn wait(&mut self, timeout: Duration) {
        self.system_calls += self.watches.wait(timeout);
    }

    /// Whether the last wait found that a watched descriptor has something to read.
    pub fn fired(&self, token: u32) -> bool {
        self.watches.fired(token)
    }

    /// Tries what a sandbox forbids.
    ///
    /// # Errors
    /// What it was refused with; `Unsupported` where it takes a ring.
    #[cfg(feature = "faults")]
    pub fn attempt(&mut self, act: crate::forbidden::Act) -> io::Result<()> {
        if act.is_of_ring() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        act.attempt()
    }

    /// System calls made since this was last asked.
    pub fn take_system_calls(&mut self) -> u64 {
        std::mem::take(&mut self.system_calls)
    }
}

impl Carrier for Poll {
    fn chunk(&mut self) -> &mut Chunk {
        &mut self.chunk
    }

    fn carry_out(&mut self, count: usize) {
        let mut ended = 0;
        while ended < count {
            ended += self.send_run(ended);
        }
    }
}
