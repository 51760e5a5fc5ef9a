//! The io_uring way of sending.
//!
//! All sends of a batch go to the kernel in one `io_uring_enter`. They are sent with
//! `MSG_DONTWAIT`, so each completes, sent or refused, within that same call: nothing is in flight
//! when a function here returns, and so the borrow checker alone keeps what the kernel reads alive.
//!
//! seccomp does not see what a ring is asked to do. So this one is restricted before it begins
//! (`IORING_REGISTER_RESTRICTIONS`, `io_uring_register(2)`): it sends messages by the sockets at
//! its places, and refuses everything else, until its end.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::types::Fixed;
use io_uring::{IoUring, opcode, squeue};

use crate::error::SetupError;
use crate::gather::Gather;
use crate::limits;
use crate::process::descriptor_limit;
use crate::send::{self, Carrier, Chunk, Errno, Outcome, SendRequest};
use crate::watches::Watches;

/// `IORING_REGISTER_FILES_UPDATE` (`linux/io_uring.h`), which the io-uring crate keeps to itself.
pub(crate) const REGISTER_FILES_UPDATE: u8 = 6;
/// `IOSQE_FIXED_FILE` (`linux/io_uring.h`): the file is one of those registered.
const FIXED_FILE: u8 = 1;
/// No file at a place (`io_uring_register(2)`).
const NO_FILE: i32 = -1;

/// One io_uring instance, for the thread that made it.
pub struct Uring {
    ring: IoUring,
    chunk: Chunk,
    watches: Watches,
    system_calls: u64,
}

impl Uring {
    /// Makes the ring, with the newest flags that the kernel has, and with so many places for
    /// sockets, or as many as this process may have descriptors.
    ///
    /// # Errors
    /// With the likely cause: switched off by sysctl, forbidden by a seccomp profile, too old.
    pub fn new(places: usize) -> Result<Self, SetupError> {
        let ring = build(|b| b.setup_single_issuer().setup_defer_taskrun())
            .or_else(|_| build(|b| b.setup_coop_taskrun()))
            .or_else(|_| build(|b| b))
            .and_then(|ring| restrict(&ring, places).map(|()| ring))
            .map_err(|cause| {
                let hint = likely_cause(&cause);
                SetupError { what: "setting up io_uring".into(), cause, hint }
            })?;
        let chunk = Chunk::with_room_for(limits::SENDS_AT_ONCE as usize);
        Ok(Self { ring, chunk, watches: Watches::default(), system_calls: 0 })
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

    /// Takes a socket to send by in at a place, instead of any that is there.
    ///
    /// # Errors
    /// `EINVAL`: there are fewer places. `EBADF`: the descriptor is none.
    pub fn admit(&mut self, place: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.set_place(place, socket.as_raw_fd())
    }

    /// Frees a place: the ring holds its socket no longer.
    pub fn dismiss(&mut self, place: u32) {
        // It fails only where there is no such place.
        _ = self.set_place(place, NO_FILE);
    }

    fn set_place(&mut self, place: u32, descriptor: i32) -> io::Result<()> {
        self.system_calls += 1;
        self.ring.submitter().register_files_update(place, &[descriptor]).map(drop)
    }

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

    /// System calls made since this was last asked.
    pub fn take_system_calls(&mut self) -> u64 {
        std::mem::take(&mut self.system_calls)
    }

    /// Tries what a sandbox forbids; where it is the ring's to do, has the ring do it.
    ///
    /// # Errors
    /// What it was refused with.
    #[cfg(any(test, feature = "faults"))]
    pub fn attempt(&mut self, act: crate::forbidden::Act) -> io::Result<()> {
        use crate::forbidden::Act;
        use io_uring::types::Fd;
        let entry = match act {
            Act::UringRegister => return self.ring.submitter().unregister_files(),
            Act::UringOpen => {
                let path = c"/etc/passwd".as_ptr();
                opcode::OpenAt::new(Fd(libc::AT_FDCWD), path).flags(libc::O_RDONLY).build()
            }
            Act::UringSocket => opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).build(),
            Act::UringSendElsewhere => {
                opcode::Send::new(Fd(libc::STDERR_FILENO), std::ptr::null(), 0).build()
            }
            other => return other.attempt(),
        };
        // SAFETY: what it points to is static, or nothing.
        unsafe { self.push(&entry) };
        self.enter(1);
        match self.ring.completion().next().map_or(0, |entry| entry.result()) {
            refused @ ..0 => Err(io::Error::from_raw_os_error(-refused)),
            _ => Ok(()),
        }
    }

    fn push_chunk(&mut self) {
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;
        for index in 0..self.chunk.sockets().len() {
            let socket = Fixed(self.chunk.sockets()[index].place);
            let header = &raw const self.chunk.messages()[index].msg_hdr;
            let send = opcode::SendMsg::new(socket, header).flags(flags).build();
            // SAFETY: the header and all that it points to live until `complete` has seen the end
            // of every send; `carry_out` calls it right after.
            unsafe { self.push(&send.user_data(index as u64)) };
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
                if let Some(outcome) = self.chunk.outcomes.get_mut(entry.user_data() as usize) {
                    pending -= 1;
                    *outcome = usize::try_from(entry.result())
                        .map_err(|_| Errno(entry.result().saturating_neg()));
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
    builder.setup_r_disabled();
    flags(&mut builder).build(limits::SENDS_AT_ONCE)
}

/// Makes the places, all empty, leaves the ring nothing but to send by what is at them, and has it
/// begin.
fn restrict(ring: &IoUring, places: usize) -> io::Result<()> {
    let most = usize::try_from(descriptor_limit()?).unwrap_or(usize::MAX);
    let submitter = ring.submitter();
    submitter.register_files(&vec![NO_FILE; places.min(most)])?;
    submitter.register_restrictions(&mut [
        Restriction::sqe_op(opcode::SendMsg::CODE),
        Restriction::sqe_flags_required(FIXED_FILE),
        Restriction::register_op(REGISTER_FILES_UPDATE),
    ])?;
    submitter.register_enable_rings()
}

/// What passes by itself: a signal, or completions to be reaped first.
fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::EINTR, libc::EAGAIN, libc::EBUSY];
    error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
}

/// io_uring refused its own queue. Unwinding would free what requests in it point to, so the
/// process ends here, once the panic has been told; its supervisor starts another.
fn die(error: &io::Error) -> ! {
    /// Dropped when the unwinding begins, in the innermost frame.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            std::process::exit(limits::EXIT_CODE_OF_PANICS);
        }
    }
    let _end = End;
    panic!("io_uring_enter failed: {error}")
}

fn likely_cause(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::ENOSYS => Some("the kernel is built without io_uring"),
        libc::EPERM | libc::EACCES => {
            Some("io_uring is forbidden: see kernel.io_uring_disabled, or a seccomp profile")
        }
        libc::EINVAL => Some("Linux 5.10 or later is needed for io_uring"),
        libc::ENOMEM => Some("raise the locked-memory limit (ulimit -l)"),
        libc::EMFILE => Some("too many open files: raise the limit (ulimit -n)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;
    use crate::forbidden::Act;

    #[test]
    fn the_ring_does_nothing_but_send_by_what_is_at_its_places() {
        let Ok(mut uring) = Uring::new(2) else {
            println!("SKIP: io_uring is refused here");
            return;
        };
        for act in [Act::UringOpen, Act::UringSocket, Act::UringSendElsewhere, Act::UringRegister] {
            let refused = uring.attempt(act).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EACCES), "{act}: {refused}");
        }
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        uring.admit(1, socket.as_fd()).unwrap();
        uring.dismiss(1);
        let beyond = uring.admit(2, socket.as_fd()).unwrap_err();
        assert_eq!(beyond.raw_os_error(), Some(libc::EINVAL));
    }
}
