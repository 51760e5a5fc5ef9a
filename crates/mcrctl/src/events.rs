//! `mcrctl events`: what has happened, and what happens.

use std::io::{self, Write};

use anyhow::Context;
use mcr_api::control::{Command, Event, Events};

use crate::args::Args;
use crate::client::{self, ClientError, stream::Stream};
use crate::render;

/// Prints the latest events, and with `follow` each that comes, until either side ends.
pub(crate) fn run(args: &Args, follow: bool) -> anyhow::Result<()> {
    if follow {
        let mut stream = Stream::open(&args.control, 0)?;
        loop {
            print(args, &stream.next()?)?;
        }
    }
    let answer = client::ask(&args.control, Command::GetEvents {})?;
    let Events { events } = serde_json::from_value(answer).map_err(ClientError::NotUnderstood)?;
    events.iter().try_for_each(|event| print(args, event))
}

/// Whoever reads is shown each event at once.
fn print(args: &Args, event: &Event) -> anyhow::Result<()> {
    let line = if args.json { event.to_line() } else { render::events::line(event).into_bytes() };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).context("standard output")
}
