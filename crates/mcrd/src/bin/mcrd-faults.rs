//! The daemon in a build for tests alone: its workers can be told to fail, see
//! `mcr_worker::faults`. In everything else it is `mcrd`.
#![forbid(unsafe_code)]

#[path = "../main.rs"]
mod daemon;

fn main() -> sysexits::ExitCode {
    daemon::main()
}
