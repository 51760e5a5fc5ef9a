//! `mcrctl stats --watch`: the statistics again and again.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::args::Args;
use crate::client::{ClientError, Connection};
use crate::render;

/// Cursor to the upper left, and all below it erased (ECMA-48, CUP and ED).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows them until the program is ended, or the daemon.
pub(crate) fn run(args: &Args, interval: Duration) -> anyhow::Result<()> {
    let command = args.action.command();
    let mut connection = Connection::new(&args.control);
    let is_screen = io::stdout().is_terminal() && !args.json;
    for round in 0_u64.. {
        let asked = Instant::now();
        let answer: Value = connection.read(&command)?;
        let document = if args.json {
            format!("{answer}\n")
        } else {
            render::text(&args.action, answer).map_err(ClientError::NotUnderstood)?.output
        };
        let before = match (is_screen, args.json, round) {
            (true, _, _) => CLEAR,
            (false, true, _) | (_, _, 0) => "",
            (false, false, _) => "\n",
        };
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(format!("{before}{document}").as_bytes());
        written.and_then(|()| stdout.flush()).context("standard output")?;
        drop(stdout);
        thread::sleep(interval.saturating_sub(asked.elapsed()));
    }
    Ok(())
}
