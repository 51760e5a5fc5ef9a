//! `mcr-lab`: the laboratory's command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use mcr_lab::calibrate::{Calibration, calibrate};
use mcr_lab::user_namespace::become_root_in_user_namespace;
use mcr_lab::{bench, demo, dependencies, document, soak, unsafe_inventory};

/// Makes networks, traffic and measurements for MCR, all by itself.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// See MCR deliver what Linux alone cannot.
    Demo(demo::Options),
    /// Measure what MCR carries, beside what a user would otherwise take.
    Bench(bench::Options),
    /// Keep up one rate through one or more relays in turns, for profilers and comparisons.
    Steady(bench::steady::Options),
    /// Let everything go wrong while a relay runs, and see whether anybody notices.
    Soak(soak::Options),
    /// Measure what the test bed carries without the relay: sender, veth pair, sink.
    Calibrate(Calibration),
    /// Make the tables of docs/observing.md and the counts of crates/mcr-sys/unsafe.toml anew from
    /// the code.
    Document,
    /// Say what the shipped programs are built of, and check the notes about unsafe code in it.
    Dependencies,
}

// Whatever makes namespaces comes first: a process with threads may not make a user namespace.
fn main() -> Result<ExitCode> {
    match Command::parse() {
        Command::Calibrate(calibration) => {
            become_root_in_user_namespace()?;
            calibrate(&calibration)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench(options) => {
            bench::run(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Steady(options) => {
            bench::steady::run(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Document => {
            document::run()?;
            unsafe_inventory::run()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Dependencies => {
            dependencies::run()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(options) => demo::run(&options),
        Command::Soak(options) => soak::run(&options),
    }
}
