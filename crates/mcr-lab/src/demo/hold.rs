//! The third act, on request: everything is left standing, for the newcomer to try.

use std::time::Instant;

use anyhow::Result;

use super::console::ProgressLine;
use super::relaying::progress;
use super::stage::{RULE, Stage};
use crate::daemon::Daemon;
use crate::interrupt::Interrupt;
use crate::namespace::Namespace;
use crate::sink::Sink;
use crate::{limits, program};

/// The stream of the slow traffic: the first one's books are closed.
const STREAM: u32 = 9;

/// Keeps slow traffic going until Enter or Ctrl-C.
pub(super) fn hold(
    stage: &Stage,
    daemon: &Daemon,
    sinks: &[Sink],
    interrupt: &Interrupt,
) -> Result<()> {
    println!("{}", invitation(stage, daemon)?);
    let traffic = stage.unroutable_traffic(STREAM).rate(limits::HOLD_RATE);
    // Dropped, not asked how it went: by then the operator may have changed anything by hand.
    let running = traffic.count(limits::MAX_SEQUENCE).start()?;
    interrupt.listen_for_enter()?;
    let start = Instant::now();
    let before: Vec<u64> = sinks.iter().map(Sink::received).collect();
    let mut line = ProgressLine::new();
    while interrupt.event(limits::PROGRESS_INTERVAL)?.is_none() {
        let since = sinks.iter().zip(&before).map(|(sink, before)| sink.received() - before);
        if line.is_live() {
            line.show(&progress(start.elapsed(), running.sent(), since));
        }
    }
    Ok(())
}

/// What to try, in commands that work from another terminal as they stand.
fn invitation(stage: &Stage, daemon: &Daemon) -> Result<String> {
    let (mcrctl, control) = (program::mcrctl()?, daemon.control_path().display());
    let relay = enter(stage, &stage.net.relay);
    let source = enter(stage, &stage.net.source);
    let sink = enter(stage, &stage.net.sinks[1]);
    Ok(format!(
        "
3. Yours to try, with {rate} datagrams a second going on. In another terminal:

   alias mcr='{mcrctl} --control {control}'
   mcr list
   mcr stats
   mcr workers
   mcr add 239.1.1.1:5001@in0 --to 239.4.4.4:6000@out1,ttl=8 --name mine
   mcr remove {RULE}

   Look into the relay, the source and a receiver (with any tool you have):

   {relay} tcpdump -n -i any udp
   {source} ip address
   {sink} ss -ulnp

   Enter or Ctrl-C ends it and cleans up.
",
        rate = limits::HOLD_RATE,
        mcrctl = mcrctl.display(),
    ))
}

/// The command that enters a namespace; nsenter(1) comes with util-linux.
fn enter(stage: &Stage, namespace: &Namespace) -> String {
    let network = namespace.path();
    if stage.own_user_namespace {
        let process = std::process::id();
        // Two lines, for eighty columns.
        format!(
            "nsenter --preserve-credentials --user=/proc/{process}/ns/user \\\n     --net={}",
            network.display()
        )
    } else {
        format!("nsenter --net={}", network.display())
    }
}
