//! `mcrd`, the MCR daemon: the supervisor, or, started by that, one of its workers.
#![forbid(unsafe_code)]

mod args;
mod cores;
mod exit;

use args::{Args, Role};
use exit::Failure;
use sysexits::ExitCode;

pub(crate) fn main() -> ExitCode {
    match Args::read().and_then(Args::into_role).and_then(run) {
        Ok(()) => ExitCode::Ok,
        Err(failure) => failure.report(),
    }
}

fn run(role: Role) -> Result<(), Failure> {
    match role {
        Role::Supervisor(settings) => mcr_supervisor::run(settings).map_err(|e| exit::of_start(&e)),
        Role::Worker(arguments) => mcr_worker::run(arguments).map_err(|e| exit::of_worker(&e)),
    }
}
