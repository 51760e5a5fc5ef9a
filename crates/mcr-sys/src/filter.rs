//! Socket filters: classic BPF programs as typed code (`linux/filter.h`).
//!
//! A filter decides in the kernel, before a frame is copied anywhere. The admission filter is an
//! optimisation: it may let through more than the rules want, because the forwarding decision is
//! made again, exactly, by the worker; it must never let through less.

mod admission;
mod assembler;
#[cfg(any(test, feature = "fuzzing", feature = "lab"))]
mod interpreter;
mod steering;
#[cfg(test)]
mod tests;

pub use crate::limits::MAX_HASHED_MEMBERS;
pub use admission::{Admission, Interval, LinkHeader};

use crate::{limits, option};
use assembler::Assembler;
use libc::sock_filter;
use std::io;
#[cfg(feature = "lab")]
use std::ops::RangeInclusive;
use std::os::fd::AsFd;

/// A complete classic BPF program of at most 4096 instructions.
#[derive(Debug, Clone)]
pub struct Program {
    instructions: Vec<sock_filter>,
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        let words = |p: &Self| -> Vec<_> {
            p.instructions.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect()
        };
        words(self) == words(other)
    }
}

impl Eq for Program {}

impl Program {
    /// Lets nothing in: for sockets that exist for their side effects (membership,
    /// sending), on which the kernel would otherwise queue copies that nobody reads.
    pub fn drop_all() -> Self {
        let mut assembler = Assembler::default();
        assembler.give(0);
        assembler.finish()
    }

    /// Keeps the first `kept_bytes` of frames of these lengths in bytes, and lets no other in. (A
    /// filter's verdict is how many bytes are kept.)
    #[cfg(feature = "lab")]
    pub fn keep(lengths: &RangeInclusive<u32>, kept_bytes: u32) -> Self {
        let mut assembler = Assembler::default();
        let drop = assembler.give(0);
        let keep = assembler.give(kept_bytes);
        let not_longer = assembler.branch(libc::BPF_JGT, *lengths.end(), drop, keep);
        let next = assembler.branch(libc::BPF_JGE, *lengths.start(), not_longer, drop);
        assembler.load_length(next);
        assembler.finish()
    }

    /// Admits the UDP frames that `admission` names, and little else; see [`Admission`].
    pub fn admit(admission: &Admission) -> Self {
        Self::admit_within(admission, limits::MAX_INSTRUCTIONS)
    }

    /// [`Program::admit`] in at most `instructions` instructions, for kernels whose
    /// `net.core.optmem_max` (20 KiB before Linux 6.7) refuses a longer one with `ENOMEM`. Where
    /// the exact program is longer, it becomes coarser and so admits more: first without ports,
    /// then with neighbouring intervals merged, then all UDP of a wanted family.
    pub fn admit_within(admission: &Admission, instructions: usize) -> Self {
        Self::fitted(admission, instructions).0
    }

    /// [`Program::admit_within`], with what the program admits. Longer than `instructions` only
    /// where it cannot be coarser.
    pub fn fitted(admission: &Admission, instructions: usize) -> (Self, Admission) {
        let instructions = instructions.min(limits::MAX_INSTRUCTIONS);
        let mut program = admission.compile();
        let mut admission = admission.clone();
        while program.len() > instructions && admission.coarsen() {
            program = admission.compile();
        }
        (program, admission)
    }

    /// The shortest program that admits everything wanted, with what it admits: all UDP of each
    /// wanted family.
    pub fn coarsest(admission: &Admission) -> (Self, Admission) {
        let mut admission = admission.clone();
        admission.admit_families();
        (admission.compile(), admission)
    }

    /// The verdict of a reference machine on a frame that comes in: how many bytes of it are kept.
    #[cfg(any(feature = "fuzzing", feature = "lab"))]
    pub fn judge(&self, frame: &[u8]) -> u32 {
        let packet_type = u32::from(libc::PACKET_HOST);
        interpreter::run(self, &interpreter::Input { frame, network: 0, packet_type, cpu: 0 })
    }

    /// Instructions in the program.
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Never true: a program has at least its verdict.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// Makes this the socket's filter (`SO_ATTACH_FILTER`), atomically in place of another.
    ///
    /// `ENOMEM`: the program is too long for `net.core.optmem_max`; the old filter stays.
    pub fn attach(&self, socket: &impl AsFd) -> io::Result<()> {
        self.set_as_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER)
    }

    /// Hands the program to a socket option that takes a `struct sock_fprog`.
    pub(crate) fn set_as_option(
        &self,
        socket: &impl AsFd,
        level: libc::c_int,
        name: libc::c_int,
    ) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: self.instructions.len() as u16,
            // The kernel copies the instructions and writes nothing.
            filter: self.instructions.as_ptr().cast_mut(),
        };
        option::set(socket, level, name, &program)
    }
}
