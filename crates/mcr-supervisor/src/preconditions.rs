//! The daemon's needs of the machine, told at its start and not by a worker's death.

use std::sync::{Arc, Mutex};
use std::{fs, io, thread};

use mcr_core::ledger::WORDS;
use mcr_sys::process::address_space_limit;

use crate::limits;
use crate::settings::StartError;

/// Workers are started from `/proc/self/exe`, and the sandbox is told by `/proc` what it kept.
pub(crate) fn proc_is_there() -> Result<(), StartError> {
    fs::symlink_metadata("/proc/self/exe").map(drop).map_err(|cause| {
        let message = format!(
            "/proc/self/exe: {cause}; workers are started from there: mount /proc \
             (mount -t proc proc /proc)"
        );
        StartError::Machine(message)
    })
}

/// Every process maps ledgers, and a worker its rings.
pub(crate) fn memory_is_enough(workers: usize) -> Result<(), StartError> {
    let ledgers = workers as u64 * (WORDS * size_of::<u64>()) as u64;
    let needed = ledgers + limits::ADDRESS_SPACE_BYTES;
    match address_space_limit() {
        Some(limit) if limit < needed => Err(StartError::Machine(format!(
            "the address space is limited to {} MiB, and {workers} workers need {} MiB and their \
             rings: raise the limit (ulimit -v, or LimitAS= of the service)",
            limit >> 20,
            needed.div_ceil(1 << 20)
        ))),
        _ => Ok(()),
    }
}

/// Has as many threads at a time as the daemon and its workers will have, and ends them again.
pub(crate) fn processes_are_allowed(workers: usize) -> Result<(), StartError> {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let ended = Arc::new(Mutex::new(ended));
    let start = |_| {
        let ended = Arc::clone(&ended);
        // It waits until `end` is dropped.
        let wait = move || drop(ended.lock().map(|end| end.recv()));
        thread::Builder::new().stack_size(limits::PROBE_STACK_BYTES).spawn(wait)
    };
    let count = workers + limits::THREADS_AT_START;
    let started: Result<Vec<_>, io::Error> = (0..count).map(start).collect();
    drop(end);
    let outcome = started.map(|threads| threads.into_iter().for_each(|one| drop(one.join())));
    outcome.map_err(|cause| {
        StartError::Machine(format!(
            "starting {count} threads and processes: {cause}; raise the limit of this user (ulimit \
             -u, or LimitNPROC= and TasksMax= of the service)"
        ))
    })
}
