//! The second act: MCR with one rule of three outputs, and traffic to it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mcr_api::control::{Added, Command, RuleState, Stats};

use super::Options;
use super::console::{ProgressLine, grouped};
use super::stage::{self, OUTPUTS, Output, Stage};
use super::tables;
use crate::account::StreamReport;
use crate::daemon::Daemon;
use crate::generator::{Generator, GeneratorReport};
use crate::interface_counters::interface_counters;
use crate::interrupt::Interrupt;
use crate::sink::Sink;
use crate::{identity, limits, wait};

/// The stream whose every datagram is accounted for.
const STREAM: u32 = 0;

/// How the relaying went.
#[derive(Debug, Clone)]
pub(super) struct Relayed {
    /// What the source sent.
    pub(super) generator: GeneratorReport,
    /// The daemon's counters when all was over.
    pub(super) stats: Stats,
    /// What arrived where, in the order of [`OUTPUTS`].
    pub(super) arrivals: Vec<Arrivals>,
    /// What the test bed's own links lost, by the interface that sent.
    pub(super) link_drops: BTreeMap<&'static str, u64>,
}

/// What arrived at one output.
#[derive(Debug, Clone)]
pub(super) struct Arrivals {
    /// The output.
    pub(super) output: Output,
    /// Its receiver's book.
    pub(super) stream: StreamReport,
    /// Datagrams that are no test payload.
    pub(super) strays: u64,
    /// Lost at the receiver's socket: the test bed's loss.
    pub(super) socket_drops: u64,
}

/// Adds the rule, sends, and accounts. The sinks are given back, to go on receiving.
pub(super) fn run(
    stage: &Stage,
    daemon: &Daemon,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<(Relayed, Vec<Sink>)> {
    let sinks = OUTPUTS.iter().map(|output| stage.sink_of(*output)).collect::<Result<Vec<_>>>()?;
    add_rule(daemon)?;
    let before = link_drops(stage)?;
    let rate = options.rate.map_or_else(|| default_rate(&sinks), Ok)?;
    let traffic = stage
        .unroutable_traffic(STREAM)
        .rate(rate)
        .count(rate * options.seconds)
        .payload_bytes(options.payload);
    let generator = send(traffic, &sinks, interrupt)?;
    let mut link_drops = link_drops(stage)?;
    let stats = final_stats(daemon, generator.total() - (link_drops["src0"] - before["src0"]))?;
    wait_for_arrivals(&sinks, &stats);
    link_drops = self::link_drops(stage)?;
    for (ifname, drops) in &mut link_drops {
        *drops -= before[ifname];
    }
    let arrivals = OUTPUTS.into_iter().zip(&sinks).map(arrivals).collect::<Result<_>>()?;
    Ok((Relayed { generator, stats, arrivals, link_drops }, sinks))
}

fn add_rule(daemon: &Daemon) -> Result<()> {
    let added: Added = daemon.ask(&Command::AddRule { rule: stage::rule() })?;
    let problems = added.problems.join("; ");
    ensure!(added.state == RuleState::Active && problems.is_empty(), "the rule waits: {problems}");
    ensure!(added.applied, "the workers have not taken the rule");
    Ok(())
}

/// As fast as the receivers can be trusted to read: what overruns their sockets is lost by the
/// test bed and says nothing about the relay.
fn default_rate(sinks: &[Sink]) -> Result<u64> {
    for sink in sinks {
        let bytes = sink.receive_buffer_bytes()?;
        if bytes < limits::SMALL_BUFFER_BYTES {
            println!("{}", tables::slowed_down(bytes));
            return Ok(limits::DEMO_RATE_SMALL_BUFFERS);
        }
    }
    Ok(limits::DEMO_RATE)
}

fn send(traffic: Generator, sinks: &[Sink], interrupt: &Interrupt) -> Result<GeneratorReport> {
    let start = Instant::now();
    let running = traffic.start()?;
    let mut line = ProgressLine::new();
    while !running.is_finished() {
        line.show(&progress(start.elapsed(), running.sent(), sinks.iter().map(Sink::received)));
        interrupt.pause(limits::PROGRESS_INTERVAL)?;
    }
    running.finish()
}

/// One line of at most 80 columns.
pub(super) fn progress(
    elapsed: Duration,
    sent: u64,
    delivered: impl Iterator<Item = u64>,
) -> String {
    let delivered: Vec<String> = delivered.map(grouped).collect();
    format!(
        "   {:4.1} s  sent {}  delivered {}",
        elapsed.as_secs_f64(),
        grouped(sent),
        delivered.join(" | ")
    )
}

/// The counters once they have settled; where they do not, as they are: the findings say so.
fn final_stats(daemon: &Daemon, expected_received: u64) -> Result<Stats> {
    identity::wait_until_settled(daemon, expected_received).or_else(|_| identity::stats(daemon))
}

/// What was sent to an output needs a moment until it has been read there.
fn wait_for_arrivals(sinks: &[Sink], stats: &Stats) {
    let outputs = stats.rules.iter().flat_map(|rule| &rule.outputs);
    for (sink, output) in sinks.iter().zip(outputs) {
        // What does not come is found missing.
        let _ = wait::until("the last datagrams arrive", limits::DEMO_ARRIVAL, || {
            Ok(sink.received() + sink.report()?.socket_drops >= output.sent)
        });
    }
}

fn arrivals((output, sink): (Output, &Sink)) -> Result<Arrivals> {
    let report = sink.report()?;
    Ok(Arrivals {
        output,
        stream: report.stream(STREAM),
        strays: report.stray_count,
        socket_drops: report.socket_drops,
    })
}

/// What each link lost since it was made.
fn link_drops(stage: &Stage) -> Result<BTreeMap<&'static str, u64>> {
    let (source, relay) = (&stage.net.source, &stage.net.relay);
    [(source, "src0"), (relay, "out0"), (relay, "out1")]
        .into_iter()
        .map(|(namespace, ifname)| Ok((ifname, interface_counters(namespace, ifname)?.tx_dropped)))
        .collect()
}
