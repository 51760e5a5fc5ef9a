//! `cargo demo`: what Linux alone cannot deliver, MCR delivers, in namespaces made for it.
//!
//! [`run`] reads from top to bottom like the show: set the stage, let the kernel try, let MCR do
//! it, account for every datagram, and perhaps leave it all standing to be tried by hand.

mod console;
mod findings;
mod hold;

mod kernel_alone;
mod relaying;
#[cfg(test)]
mod samples;
mod stage;
mod tables;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::value_parser;
use nix::unistd::geteuid;

use crate::daemon::Daemon;
use crate::interrupt::{Interrupt, Interrupted};
use crate::user_namespace::{become_root_in_user_namespace, require_namespaces};
use crate::{limits, payload, program};
use findings::findings;
use kernel_alone::KernelAlone;
use stage::Stage;

/// What a shell reports for a program that was ended by SIGINT: 128 + 2.
const EXIT_INTERRUPTED: u8 = 128 + 2;

/// How much traffic the demo relays.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How long to send.
    #[arg(long, default_value_t = 10,
          value_parser = value_parser!(u64).range(1..=limits::MAX_DEMO_SECONDS))]
    seconds: u64,
    /// Datagrams per second [default: 20000, or 5000 where receive buffers are small].
    #[arg(long, value_parser = value_parser!(u64).range(1..=limits::MAX_DEMO_RATE))]
    rate: Option<u64>,
    /// Size of each payload in bytes.
    #[arg(long, default_value_t = 1_000, value_name = "BYTES", value_parser = payload_bytes)]
    payload: usize,
    /// Leave everything standing afterwards, until Enter or Ctrl-C.
    #[arg(long)]
    hold: bool,
}

/// Runs the demo. Call it first in `main`, before any thread; success only if all is as it
/// should be.
pub fn run(options: &Options) -> Result<ExitCode> {
    // Before the user namespace: in it cargo would not find its owner's files.
    println!("Building mcrd and mcrctl, if they are not yet ...");
    program::mcrd()?;
    program::mcrctl()?;
    let own_user_namespace = !geteuid().is_root();
    become_root_in_user_namespace()?;
    require_namespaces()?;
    let interrupt = Interrupt::listen()?;
    let shown =
        Stage::build(own_user_namespace).and_then(|stage| show(&stage, options, &interrupt));
    // The stage is gone by now, whatever came of the show.
    match shown {
        Ok(all_is_well) => {
            println!("Everything is cleaned up.");
            Ok(if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) if error.is::<Interrupted>() || interrupt.has_come() => {
            println!("Interrupted. Everything is cleaned up.");
            Ok(EXIT_INTERRUPTED.into())
        }
        Err(error) => Err(error),
    }
}

/// The whole show; whether all was as it should be.
fn show(stage: &Stage, options: &Options, interrupt: &Interrupt) -> Result<bool> {
    println!("{}", stage::PICTURE);
    let kernel = kernel_alone::run(stage, interrupt)?;
    println!("{}", tables::kernel_alone(&kernel));
    let mut daemon = Daemon::start(&stage.net.relay, &[])?;
    let result = relay(stage, &daemon, &kernel, options, interrupt);
    // Also after a failure: a daemon asked to stop takes its workers along and leaves its groups.
    let stopped = daemon.terminate();
    let all_is_well = result?;
    let status = stopped?;
    ensure!(status.success(), "mcrd did not stop cleanly: {status}");
    Ok(all_is_well)
}

fn relay(
    stage: &Stage,
    daemon: &Daemon,
    kernel: &KernelAlone,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<bool> {
    println!("{}", tables::rule());
    let (relayed, sinks) = relaying::run(stage, daemon, options, interrupt)?;
    let findings = findings(kernel, &relayed);
    println!("{}", tables::relayed(&relayed));
    println!("{}", tables::verdict(&findings));
    if options.hold {
        hold::hold(stage, daemon, &sinks, interrupt)?;
    }
    Ok(findings.is_empty())
}

fn payload_bytes(text: &str) -> Result<usize> {
    let bytes = text.parse()?;
    let bounds = payload::MIN_BYTES..=limits::MAX_DEMO_PAYLOAD;
    ensure!(bounds.contains(&bytes), "{} to {} bytes", bounds.start(), bounds.end());
    Ok(bytes)
}
