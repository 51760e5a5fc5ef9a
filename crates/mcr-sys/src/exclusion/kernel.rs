//! bpf(2).

use crate::abi::bpf::{self, Instruction, LinkCreate, NAME_BYTES, ProgramLoad};
use crate::limits;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The licence as the kernel is told it: the helpers in use ask for none in particular.
const LICENSE: &[u8] = b"MIT OR Apache-2.0\0";

/// Has the verifier check a program and the kernel take it. An error of the verifier's ends with
/// its last words.
pub(super) fn load(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let mut attribute = ProgramLoad {
        prog_type: bpf::BPF_PROG_TYPE_SCHED_CLS,
        insn_cnt: instructions.len() as u32,
        insns: address(instructions.as_ptr()),
        license: address(LICENSE.as_ptr()),
        prog_name: name("mcr_exclusive"),
        ..ProgramLoad::default()
    };
    // SAFETY: `insns` is the address of `insn_cnt` live instructions and `license` that of a text
    // with its terminating zero; the kernel only reads both.
    let first = unsafe { create(bpf::BPF_PROG_LOAD, &mut attribute) };
    match first {
        Err(error) if is_verifiers(&error) => {}
        outcome => return outcome,
    }
    // Only who is refused asks why: a log too short for all that is said would refuse, too.
    let mut log = vec![0_u8; limits::VERIFIER_LOG_BYTES];
    attribute.log_level = 1;
    attribute.log_size = log.len() as u32;
    attribute.log_buf = address(log.as_mut_ptr());
    // SAFETY: as above, and `log_buf` is the address of `log_size` bytes that nothing else uses.
    let second = unsafe { create(bpf::BPF_PROG_LOAD, &mut attribute) };
    second.map_err(|error| io::Error::new(error.kind(), format!("{error}: {}", last_words(&log))))
}

fn is_verifiers(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES | libc::E2BIG))
}

/// The last lines of the log but for its statistics.
fn last_words(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or_default());
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("processed ")).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

/// Runs a program on every frame that arrives on an interface, until the link is closed or the
/// interface goes.
pub(super) fn link_at_ingress(program: BorrowedFd, ifindex: u32) -> io::Result<OwnedFd> {
    let mut attribute = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: ifindex,
        attach_type: bpf::BPF_TCX_INGRESS,
        flags: 0,
    };
    // SAFETY: the attribute holds no address.
    unsafe { create(bpf::BPF_LINK_CREATE, &mut attribute) }
}

/// Runs a program once on a frame that is said to have arrived on an interface of the calling
/// thread's namespace, and returns its verdict.
#[cfg(test)]
pub(super) fn test_run(program: BorrowedFd, frame: &[u8], ifindex: u32) -> io::Result<i32> {
    let mut context = [0_u8; bpf::sk_buff::BYTES];
    let at = bpf::sk_buff::IFINDEX as usize;
    context[at..at + 4].copy_from_slice(&ifindex.to_ne_bytes());
    let mut attribute = bpf::TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: address(frame.as_ptr()),
        ctx_size_in: context.len() as u32,
        ctx_in: address(context.as_ptr()),
        ..bpf::TestRun::default()
    };
    // SAFETY: both addresses are those of as many live bytes as are named, which the kernel only
    // reads; it is given no place to write to but the attribute.
    unsafe { call(bpf::BPF_PROG_TEST_RUN, &mut attribute) }?;
    Ok(attribute.retval.cast_signed())
}

/// [`call`] for the commands that make something: its descriptor, closed on exec as all of bpf(2).
///
/// # Safety
/// As for [`call`]; `command` is one that returns a new descriptor.
pub(super) unsafe fn create<A>(command: libc::c_long, attribute: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let descriptor = unsafe { call(command, attribute) }?;
    // SAFETY: the kernel has just made it, for this call alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as libc::c_int) })
}

/// One call of bpf(2).
///
/// # Safety
/// `A` is the structure that `command` reads, and each address in it is that of memory that the
/// kernel may use as `command` does, until the call returns.
pub(super) unsafe fn call<A>(command: libc::c_long, attribute: &mut A) -> io::Result<libc::c_long> {
    let bytes = size_of::<A>() as libc::c_ulong;
    // SAFETY: `attribute` is exclusively borrowed and `bytes` long; the rest is the caller's
    // promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// An address as the attributes hold it. What it points at must outlive the call.
///
/// The provenance is exposed, for the kernel follows the number: of memory whose address alone got
/// out the compiler may think that nobody reads or writes it there.
pub(super) fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// A name as the attributes hold it: for `bpftool`, and for whoever wonders what drops frames.
pub(super) fn name(text: &str) -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    // The last byte stays zero.
    let bytes = &text.as_bytes()[..text.len().min(NAME_BYTES - 1)];
    name[..bytes.len()].copy_from_slice(bytes);
    name
}
