//! The system calls of the supervisor, and of a worker until it confines itself.

use std::io;

use libc::c_long;
use seccompiler::{
    BackendError, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompRule,
};

use super::super::calls::Rules;
use super::{SupervisorConfinement, filter};
use crate::abi::bpf;
use crate::sandbox::User;

/// `clone(2)`'s flags for new namespaces, `CLONE_NEWTIME` among them, where it stands for a signal.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// Calls with any arguments. First what a relay's life is made of; the kernel remembers the answer
/// for these (Linux 5.11), so that workers lose no time by a filter that they inherit.
#[rustfmt::skip]
const FREE: &[c_long] = &[
    // Waiting, and moving data.
    libc::SYS_ppoll, libc::SYS_sendmmsg, libc::SYS_io_uring_enter, libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl, libc::SYS_epoll_create1, libc::SYS_eventfd2, libc::SYS_futex,
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64,
    libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_sendto, libc::SYS_sendmsg,
    libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
    libc::SYS_clock_gettime, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_restart_syscall, libc::SYS_sched_yield,
    // Sockets and descriptors.
    libc::SYS_socketpair, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4,
    libc::SYS_connect, libc::SYS_shutdown, libc::SYS_getsockname, libc::SYS_getpeername,
    libc::SYS_setsockopt, libc::SYS_getsockopt,
    libc::SYS_close, libc::SYS_close_range, libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl,
    libc::SYS_ioctl, libc::SYS_pipe2, libc::SYS_memfd_create, libc::SYS_ftruncate,
    libc::SYS_io_uring_setup, libc::SYS_io_uring_register,
    // Files, as far as Landlock lets it.
    libc::SYS_openat, libc::SYS_lseek, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64,
    libc::SYS_getcwd, libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_renameat,
    libc::SYS_renameat2, libc::SYS_flock, libc::SYS_umask,
    libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_fchownat,
    // Memory.
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk,
    // Threads and processes.
    libc::SYS_execve, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4, libc::SYS_waitid,
    libc::SYS_kill, libc::SYS_tgkill, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal,
    libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_set_tid_address,
    libc::SYS_rseq, libc::SYS_membarrier, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn, libc::SYS_sigaltstack, libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity, libc::SYS_setpriority, libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_getparam,
    libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid,
    libc::SYS_getgid, libc::SYS_getegid, libc::SYS_uname, libc::SYS_getrandom,
    libc::SYS_prlimit64, libc::SYS_prctl,
    // Giving up more.
    libc::SYS_capget, libc::SYS_capset, libc::SYS_seccomp, libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self,
];

/// The older names of some, which this machine's C library uses.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[c_long] = &[
    libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_open, libc::SYS_stat, libc::SYS_lstat,
    libc::SYS_access, libc::SYS_readlink, libc::SYS_mkdir, libc::SYS_unlink, libc::SYS_rename,
    libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_dup2, libc::SYS_pipe,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// Has the kernel refuse every other call (`EPERM`): the supervisor's death would be an outage.
pub(super) fn load(confinement: &SupervisorConfinement) -> io::Result<()> {
    let no_such_call = SeccompAction::Errno(libc::ENOSYS as u32);
    // Its flags are in memory, where no filter reads them. The C library then uses clone(2).
    let clone3 = [(libc::SYS_clone3, vec![])].into();
    let rules = rules(confinement).map_err(io::Error::other)?;
    filter::load(clone3, no_such_call, SeccompAction::Allow)?;
    filter::load(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))
}

/// As seccompiler wants it.
pub(super) fn rules(confinement: &SupervisorConfinement) -> Result<Rules, BackendError> {
    let mut rules: Rules = FREE.iter().chain(OLDER).map(|call| (*call, vec![])).collect();
    // For the other filter to refuse, so that it is refused as a call that there is not.
    rules.insert(libc::SYS_clone3, vec![]);
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![without(0, NAMESPACES)?])?]);
    let code = libc::PROT_EXEC as u64;
    let write = libc::PROT_WRITE as u64;
    // The loader maps code; but memory that can be written cannot be run, nor made to be.
    let mapped = [without(2, write)?, without(2, code)?];
    let mapped: Result<_, _> =
        mapped.into_iter().map(|only| SeccompRule::new(vec![only])).collect();
    rules.insert(libc::SYS_mmap, mapped?);
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![without(2, code)?])?]);
    let families =
        [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET];
    rules.insert(libc::SYS_socket, any_of(0, families.map(|family| family as u64))?);
    let commands = [
        bpf::BPF_MAP_CREATE,
        bpf::BPF_MAP_UPDATE_ELEM,
        bpf::BPF_MAP_DELETE_ELEM,
        bpf::BPF_PROG_LOAD,
        bpf::BPF_LINK_CREATE,
    ];
    rules.insert(libc::SYS_bpf, any_of(0, commands.map(|command| command as u64))?);
    // CAP_SETUID and CAP_SETGID are worth the workers' user, and no other.
    let User { uid, gid } = confinement.worker;
    rules.insert(libc::SYS_setgroups, any_of(0, [0])?);
    for (call, id) in [(libc::SYS_setresuid, uid), (libc::SYS_setresgid, gid)] {
        let same = (0..3).map(|argument| is(argument, id.into())).collect::<Result<_, _>>()?;
        rules.insert(call, vec![SeccompRule::new(same)?]);
    }
    if confinement.realtime {
        rules.insert(libc::SYS_sched_setscheduler, any_of(1, [libc::SCHED_FIFO as u64])?);
    }
    Ok(rules)
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Len::Dword, Op::Eq, value)
}

/// None of these bits.
fn without(argument: u8, bits: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Len::Qword, Op::MaskedEq(bits), 0)
}

fn any_of<const N: usize>(
    argument: u8,
    values: [u64; N],
) -> Result<Vec<SeccompRule>, BackendError> {
    values.into_iter().map(|value| SeccompRule::new(vec![is(argument, value)?])).collect()
}
