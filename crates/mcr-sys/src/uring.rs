//! The io_uring way of sending and waiting.
//!
//! All sends of a batch go to the kernel in one `io_uring_enter`. They are sent with
//! `MSG_DONTWAIT`, so each completes, sent or refused, within that same call: nothing is in flight
//! when a function here returns, and so the borrow checker alone keeps what the kernel reads alive.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

use crate::error::SetupError;
use crate::gather::Gather;
use crate::limits;
use crate::send::{self, Carrier, Chunk, Errno, Outcome, SendRequest};

/// In `user_data`: the completion is a watch's, and the low bits are its token.
const WATCH: u64 = 1 << 32;
/// In `user_data`: the completion is that of a watch's removal.
const REMOVAL: u64 = 1 << 33;

/// One io_uring instance, for the thread that made it.
pub struct Uring {
    ring: IoUring,
    chunk: Chunk,
    /// By token: the descriptor watched and whether a poll request for it is with the kernel.
    watches: Vec<Option<Watch>>,
    system_calls: u64,
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    descriptor: RawFd,
    armed: bool,
}

impl Uring {
    /// Makes the ring, with the newest flags that the kernel has.
    ///
    /// # Errors
    /// With the likely cause: switched off by sysctl, forbidden by a seccomp profile, too old.
    pub fn new() -> Result<Self, SetupError> {
        let ring = build(|b| b.setup_single_issuer().setup_defer_taskrun())
            .or_else(|_| build(|b| b.setup_coop_taskrun()))
            .or_else(|_| build(|b| b))
            .map_err(|cause| {
                let hint = likely_cause(&cause);
                SetupError { what: "setting up io_uring".into(), cause, hint }
            })?;
        if !ring.params().is_feature_ext_arg() {
            let cause = io::Error::from_raw_os_error(libc::ENOSYS);
            let hint = Some("Linux 5.11 or later is needed for io_uring");
            return Err(SetupError { what: "setting up io_uring".into(), cause, hint });
        }
        let chunk = Chunk::with_room_for(limits::SENDS_AT_ONCE as usize);
        Ok(Self { ring, chunk, watches: Vec::new(), system_calls: 0 })
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

    /// Watches a descriptor for something to read, under a token that no other watch has. It must
    /// stay open until [`Self::unwatch`].
    pub fn watch(&mut self, token: u32, descriptor: BorrowedFd<'_>) {
        let token = token as usize;
        if self.watches.len() <= token {
            self.watches.resize(token + 1, None);
        }
        self.watches[token] = Some(Watch { descriptor: descriptor.as_raw_fd(), armed: false });
    }

    /// Ends a watch. A poll request holds its socket open, so it is taken back here.
    pub fn unwatch(&mut self, token: u32) {
        let Some(watch) = self.watches.get_mut(token as usize).and_then(Option::take) else {
            return;
        };
        if !watch.armed {
            return;
        }
        let target = WATCH | u64::from(token);
        let remove = opcode::PollRemove::new(target).build().user_data(REMOVAL);
        // SAFETY: the request carries no pointer.
        unsafe { self.push(&remove) };
        let (mut removed, mut ended) = (false, false);
        while !(removed && ended) {
            self.enter(1);
            for entry in self.ring.completion() {
                removed |= entry.user_data() == REMOVAL;
                ended |= entry.user_data() == target;
                note_fired(&mut self.watches, entry.user_data());
            }
        }
    }

    /// Waits until a watched descriptor has something to read, or the time is over.
    pub fn wait(&mut self, timeout: Duration) {
        for token in 0..self.watches.len() {
            if let Some(Watch { descriptor, armed: false }) = self.watches[token] {
                let poll = opcode::PollAdd::new(Fd(descriptor), libc::POLLIN as u32).build();
                // SAFETY: the request carries no pointer.
                unsafe { self.push(&poll.user_data(WATCH | token as u64)) };
                self.watches[token] = Some(Watch { descriptor, armed: true });
            }
        }
        let time = Timespec::from(timeout);
        let arguments = SubmitArgs::new().timespec(&time);
        self.system_calls += 1;
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => die(&error),
        }
        for entry in self.ring.completion() {
            note_fired(&mut self.watches, entry.user_data());
        }
    }

    /// Whether a watched descriptor has been found to have something to read since the last wait
    /// began. What is not watched, or not waited for yet, may have.
    pub fn fired(&self, token: u32) -> bool {
        !matches!(self.watches.get(token as usize), Some(Some(Watch { armed: true, .. })))
    }

    /// System calls made since this was last asked.
    pub fn take_system_calls(&mut self) -> u64 {
        std::mem::take(&mut self.system_calls)
    }

    fn push_chunk(&mut self) {
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;
        for place in 0..self.chunk.sockets().len() {
            let socket = Fd(self.chunk.sockets()[place]);
            let header = &raw const self.chunk.messages()[place].msg_hdr;
            let send = opcode::SendMsg::new(socket, header).flags(flags).build();
            // SAFETY: the header and all that it points to live until `complete` has seen the end
            // of every send; `carry_out` calls it right after.
            unsafe { self.push(&send.user_data(place as u64)) };
        }
    }

    /// # Safety
    /// What the entry points to lives until its completion.
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: promised by the caller.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.enter(0);
        }
    }

    /// Submits, and returns only when `count` sends have completed.
    fn complete(&mut self, count: usize) {
        let mut pending = count;
        while pending > 0 {
            self.enter(pending);
            for entry in self.ring.completion() {
                match self.chunk.outcomes.get_mut(entry.user_data() as usize) {
                    Some(outcome) => {
                        pending -= 1;
                        *outcome = usize::try_from(entry.result())
                            .map_err(|_| Errno(entry.result().saturating_neg()));
                    }
                    None => note_fired(&mut self.watches, entry.user_data()),
                }
            }
        }
    }

    fn enter(&mut self, want: usize) {
        self.system_calls += 1;
        match self.ring.submit_and_wait(want) {
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => die(&error),
        }
    }
}

impl Carrier for Uring {
    fn chunk(&mut self) -> &mut Chunk {
        &mut self.chunk
    }

    fn carry_out(&mut self, count: usize) {
        self.push_chunk();
        self.complete(count);
    }
}

fn build(flags: impl Fn(&mut io_uring::Builder) -> &mut io_uring::Builder) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(limits::COMPLETIONS_AT_ONCE);
    flags(&mut builder).build(limits::SENDS_AT_ONCE)
}

fn note_fired(watches: &mut [Option<Watch>], user_data: u64) {
    if user_data & WATCH == 0 {
        return;
    }
    if let Some(Some(watch)) = watches.get_mut((user_data & !WATCH) as usize) {
        watch.armed = false;
    }
}

/// What passes by itself: a signal, the time being over, or completions to be reaped first.
fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::EINTR, libc::ETIME, libc::EAGAIN, libc::EBUSY];
    error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
}

/// io_uring refused its own queue. Unwinding would free what requests in it point to, so the
/// process ends here; its supervisor starts another.
fn die(error: &io::Error) -> ! {
    eprintln!("io_uring_enter failed: {error}");
    std::process::abort()
}

fn likely_cause(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::ENOSYS => Some("the kernel is built without io_uring"),
        libc::EPERM | libc::EACCES => {
            Some("io_uring is forbidden: see kernel.io_uring_disabled, or a seccomp profile")
        }
        libc::ENOMEM => Some("raise the locked-memory limit (ulimit -l)"),
        _ => None,
    }
}
