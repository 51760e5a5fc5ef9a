//! The system calls that a worker makes once it relays, and with which arguments.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use seccompiler::{
    BackendError, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompRule,
};

use crate::uring::REGISTER_FILES_UPDATE;

/// `PACKET_STATISTICS` (`linux/if_packet.h`).
const PACKET_STATISTICS: u64 = 6;

/// Advice of an allocator about its own memory (madvise(2)).
const ADVICE: [libc::c_int; 6] = [
    libc::MADV_DONTNEED,
    libc::MADV_FREE,
    libc::MADV_HUGEPAGE,
    libc::MADV_NOHUGEPAGE,
    libc::MADV_DODUMP,
    libc::MADV_DONTDUMP,
];

/// The settings that the worker's calls depend on.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// How it sends.
    pub sends: Sends,
    /// Whether it rests, as real-time workers do.
    pub rests: bool,
    /// The command socket.
    pub commands: RawFd,
    /// The log pipe.
    pub log: RawFd,
    /// The descriptor that orders faults.
    #[cfg(feature = "faults")]
    pub faults: RawFd,
}

/// By which calls datagrams are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// `io_uring_enter`, by a ring that is restricted itself.
    Uring,
    /// `sendmmsg`.
    Sendmmsg,
}

/// For each allowed call the arguments that it may have, any of several; none: all.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

impl Calls {
    /// As seccompiler wants it.
    pub(super) fn rules(&self) -> Result<Rules, BackendError> {
        let mut rules = Rules::new();
        let mut allow = |call: libc::c_long, only: Vec<SeccompRule>| rules.insert(call, only);
        // To and from the network. What matters for speed has no conditions: the kernel then
        // remembers the answer and runs no filter (Linux 5.11).
        match self.sends {
            Sends::Uring => {
                allow(libc::SYS_io_uring_enter, vec![]);
                let update = is(1, Len::Dword, REGISTER_FILES_UPDATE.into())?;
                allow(libc::SYS_io_uring_register, vec![rule([update])?]);
            }
            Sends::Sendmmsg => drop(allow(libc::SYS_sendmmsg, vec![])),
        }
        allow(libc::SYS_ppoll, vec![]);
        // Frames longer than a slot; from whom is not asked.
        allow(libc::SYS_recvfrom, vec![rule([is(4, Len::Qword, 0)?])?]);
        let packet = is(1, Len::Dword, libc::SOL_PACKET as u64)?;
        let statistics = is(2, Len::Dword, PACKET_STATISTICS)?;
        // The error of a socket whose interface went down.
        let socket = is(1, Len::Dword, libc::SOL_SOCKET as u64)?;
        let error = is(2, Len::Dword, libc::SO_ERROR as u64)?;
        allow(libc::SYS_getsockopt, vec![rule([packet, statistics])?, rule([socket, error])?]);
        // To and from the supervisor.
        allow(libc::SYS_recvmsg, vec![rule([descriptor(self.commands)?])?]);
        let written = [self.log, libc::STDERR_FILENO].map(|fd| rule([descriptor(fd)?]));
        allow(libc::SYS_write, written.into_iter().collect::<Result<_, _>>()?);
        allow(libc::SYS_close, vec![]);
        // Before it closes one, Rust's library asks in debug builds whether it is open.
        let whether_open = is(1, Len::Dword, libc::F_GETFD as u64)?;
        allow(libc::SYS_fcntl, vec![rule([whether_open])?]);
        // Memory, but none that could be run.
        let writable = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let no_code = SeccompCondition::new(2, Len::Qword, Op::MaskedEq(!writable), 0)?;
        allow(libc::SYS_mmap, vec![rule([no_code])?]);
        // Allocators give memory back and ask for large pages, where they are told to
        // (`GLIBC_TUNABLES`) or are not the C library's (`LD_PRELOAD`).
        let advice = ADVICE.map(|advice| rule([is(2, Len::Dword, advice as u64)?]));
        allow(libc::SYS_madvise, advice.into_iter().collect::<Result<_, _>>()?);
        allow(libc::SYS_munmap, vec![]);
        allow(libc::SYS_mremap, vec![]);
        allow(libc::SYS_brk, vec![]);
        // Keys of hash tables; the clock, where the kernel does not let it be read without a call.
        allow(libc::SYS_getrandom, vec![]);
        allow(libc::SYS_clock_gettime, vec![]);
        if self.rests {
            allow(libc::SYS_clock_nanosleep, vec![]);
        }
        // A wait goes on after the process was stopped; and the end, with its signal stack.
        allow(libc::SYS_restart_syscall, vec![]);
        allow(libc::SYS_sigaltstack, vec![]);
        allow(libc::SYS_exit_group, vec![]);
        #[cfg(feature = "faults")]
        allow(libc::SYS_pread64, vec![rule([descriptor(self.faults)?])?]);
        Ok(rules)
    }
}

fn rule<const N: usize>(all_of: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(all_of.into())
}

fn is(argument: u8, len: Len, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, len, Op::Eq, value)
}

fn descriptor(number: RawFd) -> Result<SeccompCondition, BackendError> {
    is(0, Len::Dword, number as u64)
}
