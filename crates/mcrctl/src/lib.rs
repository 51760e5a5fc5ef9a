//! `mcrctl`: asks a running `mcrd` over its control socket and prints the answer.
#![forbid(unsafe_code)]

mod args;
mod client;
mod events;
mod limits;
mod render;
mod top;
mod trace;
mod units;
mod watch;

use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use clap::Parser;
use sysexits::ExitCode;

#[cfg(feature = "fuzzing")]
pub use trace::captured;

use args::{Action, Args, Question};
use client::ClientError;

/// The program.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(usage) => return explain(&usage),
    };
    match run(&args) {
        Ok(()) => ExitCode::Ok,
        Err(error) if is_broken_pipe(&error) => ExitCode::Ok,
        Err(error) => {
            // Where even standard error is gone, the exit code is all that can be said.
            let _ = writeln!(io::stderr(), "mcrctl: {error:#}");
            let client = error.downcast_ref::<ClientError>();
            client.map_or(ExitCode::IoErr, ClientError::exit_code)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Action::Question(question) => match question {
            Question::Stats(stats) if stats.watch => watch::run(args, question, stats.interval),
            _ => ask(args, question),
        },
        Action::Trace(trace) => trace::run(&args.control, trace, args.json),
        Action::Events { follow } => events::run(args, *follow),
        Action::Top { interval } => top::run(args, *interval),
    }
}

fn ask(args: &Args, question: &Question) -> anyhow::Result<()> {
    let answer = client::ask(&args.control, question.command())?;
    let shown = if args.json {
        render::json(&answer)
    } else {
        render::text(question, answer).map_err(ClientError::NotUnderstood)?
    };
    shown.print().context("standard output")
}

/// Prints the help, or what is wrong with the command line.
fn explain(usage: &clap::Error) -> ExitCode {
    let _ = usage.print();
    if usage.use_stderr() { ExitCode::Usage } else { ExitCode::Ok }
}

/// Whether the reader of our output has seen enough, as `head` has.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)
}
