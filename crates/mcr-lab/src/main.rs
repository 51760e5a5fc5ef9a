//! `mcr-lab`: the laboratory's command line.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Parser;
use mcr_lab::calibrate::{Calibration, calibrate};
use mcr_lab::user_namespace::become_root_in_user_namespace;

/// Makes networks, traffic and measurements for MCR, all by itself.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Measure what the test bed carries without the relay: sender, veth pair, sink.
    Calibrate(Calibration),
}

fn main() -> Result<()> {
    // First of all: a process with threads may not make a user namespace.
    become_root_in_user_namespace()?;
    match Command::parse() {
        Command::Calibrate(calibration) => calibrate(&calibration),
    }
}
