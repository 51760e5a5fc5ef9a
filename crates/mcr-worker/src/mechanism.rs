//! How sends and waits reach the kernel. Which way it is, is resolved once at start; from then on
//! the loop is compiled for that way alone.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use mcr_sys::gather::Gather;
use mcr_sys::poll::Poll;
use mcr_sys::send::{Outcome, SendRequest};
use mcr_sys::uring::Uring;

/// A way of sending and waiting.
pub(crate) trait Mechanism {
    /// Sends all and tells how each ended, in order; never waits for room in a queue.
    fn send_all<'a>(
        &mut self,
        gather: &Gather<'_>,
        sends: impl Iterator<Item = SendRequest<'a>>,
        done: impl FnMut(usize, Outcome),
    );

    /// Takes a socket to send by in at a place, instead of any that is there.
    fn admit(&mut self, place: u32, socket: BorrowedFd<'_>) -> io::Result<()>;

    /// Frees a place, before its socket is closed.
    fn dismiss(&mut self, place: u32);

    /// Has [`Self::wait`] end when the descriptor can be read.
    fn watch(&mut self, token: u32, descriptor: BorrowedFd<'_>);

    /// Ends a watch, before its descriptor is closed.
    fn unwatch(&mut self, token: u32);

    /// Leaves a descriptor out of waits until it is watched anew.
    fn mute(&mut self, token: u32);

    /// Waits for any watched descriptor, or until the time is over.
    fn wait(&mut self, timeout: Duration);

    /// Whether the last wait found that the descriptor can be read.
    fn fired(&self, token: u32) -> bool;

    /// System calls made since this was last asked.
    fn take_system_calls(&mut self) -> u64;

    /// Tries what a sandbox forbids.
    #[cfg(feature = "faults")]
    fn attempt(&mut self, act: mcr_sys::forbidden::Act) -> io::Result<()>;
}

macro_rules! mechanism {
    ($name:ty) => {
        impl Mechanism for $name {
            fn send_all<'a>(
                &mut self,
                gather: &Gather<'_>,
                sends: impl Iterator<Item = SendRequest<'a>>,
                done: impl FnMut(usize, Outcome),
            ) {
                Self::send_all(self, gather, sends, done);
            }

            fn admit(&mut self, place: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
                Self::admit(self, place, socket)
            }

            fn dismiss(&mut self, place: u32) {
                Self::dismiss(self, place);
            }

            fn watch(&mut self, token: u32, descriptor: BorrowedFd<'_>) {
                Self::watch(self, token, descriptor);
            }

            fn unwatch(&mut self, token: u32) {
                Self::unwatch(self, token);
            }

            fn mute(&mut self, token: u32) {
                Self::mute(self, token);
            }

            fn wait(&mut self, timeout: Duration) {
                Self::wait(self, timeout);
            }

            fn fired(&self, token: u32) -> bool {
                Self::fired(self, token)
            }

            fn take_system_calls(&mut self) -> u64 {
                Self::take_system_calls(self)
            }

            #[cfg(feature = "faults")]
            fn attempt(&mut self, act: mcr_sys::forbidden::Act) -> io::Result<()> {
                Self::attempt(self, act)
            }
        }
    };
}

mechanism!(Uring);
mechanism!(Poll);
