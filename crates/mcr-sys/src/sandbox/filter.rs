//! The filter of system calls (seccomp(2)).

use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::calls::{Calls, Rules};

/// Has the kernel kill this process for every call but those.
pub(super) fn kill_for_all_but(calls: &Calls) -> io::Result<()> {
    let rules = calls.rules().map_err(io::Error::other)?;
    load(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

/// Has the kernel do the one for these calls, and the other for all others.
pub(super) fn load(rules: Rules, these: SeccompAction, others: SeccompAction) -> io::Result<()> {
    let machine = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, others, these, machine).map_err(io::Error::other)?;
    apply(&BpfProgram::try_from(filter).map_err(io::Error::other)?)
}

/// Not by seccompiler: without `SECCOMP_FILTER_FLAG_SPEC_ALLOW` kernels before Linux 5.16 slow the
/// process down for good (speculative store bypass), which newer ones do not.
fn apply(program: &BpfProgram) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect();
    let len = instructions.len().try_into().map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    // SAFETY: the program has as many instructions as it says, and they outlive the call, in which
    // the kernel copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
