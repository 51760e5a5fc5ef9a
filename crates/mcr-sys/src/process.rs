//! A process's requests to the kernel for itself: its core, its limits, its end, its clock.

use crate::error::{Doing, SetupError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

/// The calling thread, in the calls that take a thread's or a process's number.
const SELF: Pid = Pid::from_raw(0);

/// Confines the calling thread to one core, and what it starts later.
pub fn pin_to_core(core: usize) -> Result<(), SetupError> {
    let pin = || {
        let mut cores = CpuSet::new();
        cores.set(core)?;
        sched_setaffinity(SELF, &cores)
    };
    pin().map_err(io::Error::from).doing(|| format!("pinning a thread to core {core}"))
}

/// Has the calling thread give way to others (`setpriority(2)`): Linux takes the niceness for a
/// thread's own.
///
/// # Errors
/// `EPERM` where a filter of system calls forbids it.
pub fn be_nice(niceness: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The cores on which the calling thread may run, ascending.
pub fn allowed_cores() -> Vec<usize> {
    // It fails only where a machine has more cores than a CpuSet; there the standard library knows
    // at least how many we may use.
    sched_getaffinity(SELF).map_or_else(
        |_| (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
        |cores| (0..CpuSet::count()).filter(|core| cores.is_set(*core) == Ok(true)).collect(),
    )
}

/// Has the kernel kill this process when the thread that started it ends (`PR_SET_PDEATHSIG` of
/// `prctl(2)`). Start it from a thread that lives as long as the parent itself, and that may send
/// it a signal: where this process has another user, that thread needs `CAP_KILL` in force.
///
/// `parent` is the process number of the expected parent; `NotFound` means that it ended before
/// this call, so that no signal will come.
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if Pid::parent().as_raw() as u32 == parent {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "the parent process has ended"))
    }
}

/// Raises the limit of open descriptors as far as allowed (soft to hard) and returns it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// How many descriptors this process may have open, as it is now (`RLIMIT_NOFILE`).
pub fn descriptor_limit() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// How many bytes of addresses this process may map (`RLIMIT_AS`); `None` is as many as there are.
pub fn address_space_limit() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
    (soft != nix::sys::resource::RLIM_INFINITY).then_some(soft)
}

/// Sets how many descriptors another process may have open, up to what it could allow itself;
/// returns how many it could have until now.
#[cfg(feature = "lab")]
pub fn limit_descriptors(pid: u32, descriptors: u64) -> io::Result<u64> {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let limit = |new: *const libc::rlimit, old: *mut libc::rlimit| {
        // SAFETY: both are null or point to a live rlimit, one to read and one to write.
        let result = unsafe { libc::prlimit(pid as libc::pid_t, libc::RLIMIT_NOFILE, new, old) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    limit(std::ptr::null(), &raw mut before)?;
    let new = libc::rlimit { rlim_cur: descriptors, ..before };
    limit(&raw const new, std::ptr::null_mut())?;
    Ok(before.rlim_cur)
}

/// Has the calling thread run before all that is not real-time (`SCHED_FIFO` at the lowest
/// priority, `sched(7)`), so that neither other programs nor the kernel's own soft-interrupt
/// thread keep it waiting when it wakes. Real-time threads leave the others 5 % of a core
/// (`sched_rt_runtime_us`, and from Linux 6.12 the fair server).
pub fn set_realtime_scheduling() -> Result<(), SetupError> {
    // SAFETY: it only computes.
    let lowest = unsafe { libc::sched_get_priority_min(libc::SCHED_FIFO) };
    set_scheduling(SELF, libc::SCHED_FIFO, lowest).map_err(|cause| SetupError {
        what: "asking for real-time scheduling".into(),
        cause,
        hint: Some("needs CAP_SYS_NICE, or a limit of real-time priority (LimitRTPRIO=1)"),
    })
}

/// Whether [`set_realtime_scheduling`] is allowed, to be said at start.
///
/// # Panics
/// Where no thread can be started.
pub fn realtime_scheduling_permitted() -> Result<(), SetupError> {
    // A thread of its own, which alone is changed.
    std::thread::spawn(set_realtime_scheduling).join().expect("setting a policy does not panic")
}

/// Has a thread, or a process by its first one, run only where nothing else wants the core, or
/// nearly (`SCHED_IDLE`, `sched(7)`); 0 is the calling thread.
#[cfg(feature = "lab")]
pub fn set_idle_scheduling(pid: u32) -> io::Result<()> {
    set_scheduling(Pid::from_raw(pid as i32), libc::SCHED_IDLE, 0)
}

fn set_scheduling(who: Pid, policy: libc::c_int, sched_priority: libc::c_int) -> io::Result<()> {
    let priority = libc::sched_param { sched_priority };
    // SAFETY: the kernel only reads `priority`, which outlives the call.
    match unsafe { libc::sched_setscheduler(who.as_raw(), policy, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes reads and writes on the open file behind `descriptor` non-blocking, also for the other
/// descriptors of that open file.
pub fn set_nonblocking(descriptor: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Takes ownership of a descriptor that this process was started with, at an agreed number from 3
/// up, and makes it close-on-exec. Each number can be adopted once in a process's life.
///
/// `EBADF`: not open. `InvalidInput`: standard input, output or error. `AlreadyExists`: adopted
/// before, or close-on-exec and so not inherited but opened, and owned, by this process itself.
pub fn adopt_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    static ADOPTED: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
    if number <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut adopted = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
    if adopted.contains(&number) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: it asks by number, takes no pointer, and says EBADF where nothing is open: a borrow
    // would have to promise that something is.
    let flags = Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    let flags = FdFlag::from_bits_retain(flags);
    if flags.contains(FdFlag::FD_CLOEXEC) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    adopted.insert(number);
    // SAFETY: it is open, and nobody in this process owns it: it came through exec (whatever Rust
    // opens is close-on-exec), and the set under the lock gives it out once.
    let inherited = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&inherited, FcntlArg::F_SETFD(flags | FdFlag::FD_CLOEXEC))?;
    Ok(inherited)
}

/// Closes the descriptors that this process was started with from a number on: whoever started it
/// may have had more open than it meant to hand down. What was opened since, and what was adopted,
/// stays.
pub fn close_inherited_from(first: RawFd) -> io::Result<()> {
    let open = std::fs::read_dir("/proc/self/fd")?;
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for number in numbers.filter(|number| *number >= first).collect::<Vec<RawFd>>() {
        if let Ok(inherited) = adopt_descriptor(number) {
            drop(inherited);
        }
    }
    Ok(())
}

/// Ignores SIGINT and SIGTERM: for a process whose end another one decides.
pub fn ignore_termination_signals() -> io::Result<()> {
    for number in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: no handler is installed, so none can run in an unsafe place.
        unsafe { signal(number, SigHandler::SigIgn) }?;
    }
    Ok(())
}

/// Nanoseconds on the monotonic clock, the same in all processes of this host
/// (`CLOCK_MONOTONIC`, read without a system call).
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds since 1970, as the host's clock is set (`CLOCK_REALTIME`, read without a system
/// call).
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which is exclusively borrowed. It cannot fail: both
    // clocks exist on every Linux and the pointer is good.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests;
