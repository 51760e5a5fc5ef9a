//! Traces: each step in the life of a datagram, for rules and for what no rule wants.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{
    Command, RuleReference, TraceCursor, TraceEvent, TraceOrder, TraceReading, TraceStep,
    TraceSubject, Traces, TracesEnded, Tracing,
};
use mcr_lab::frame::{Checksum, FrameBuilder};
use mcr_lab::generator::Generator;
use mcr_lab::harness::{Skip, Suite};
use mcr_lab::raw_sender::RawSender;
use mcr_lab::{identity, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Relay, SOON, on_core, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let both = Variant::both_families();
    suite = matrix(suite, "traces::lives", &Variant::all(), lives);
    suite = matrix(suite, "traces::a_drop_is_its_rules", &both, a_drop_is_its_rules);
    suite = matrix(suite, "traces::what_no_rule_wants", &both, what_no_rule_wants);
    suite = matrix(suite, "traces::samples", &both, samples);
    suite = matrix(suite, "traces::a_file_for_wireshark", &both, a_file_for_wireshark);
    let usual = [Variant::usual()];
    suite = matrix(suite, "traces::a_flood_is_kept_at_its_newest", &usual, a_flood);
    matrix(suite, "traces::outlives_a_worker", &usual, outlives_a_worker)
}

/// Datagrams traced.
const TRACED: u64 = 10;

/// Datagrams sent, of which more than are traced.
const SENT: u64 = 3 * TRACED;

/// A second's worth of datagrams, so that none is lost in the test bed.
const RATE: u64 = 2_000;

fn input(relay: &Relay) -> SocketAddr {
    SocketAddr::new(relay.variant.family.group(1), 5000)
}

fn output(relay: &Relay, n: u8) -> SocketAddr {
    SocketAddr::new(relay.variant.family.output_group(n), 6000)
}

/// From one core, so that one worker handles all.
fn send(relay: &Relay, count: u64) -> Result<()> {
    let generator = Generator::new(&relay.net.source, "src0").rate(RATE).count(count);
    on_core(relay.cores[0], || generator.flow(0, input(relay)).run()).map(drop)
}

fn enable(relay: &Relay, order: &TraceOrder) -> Result<Vec<TraceCursor>> {
    let tracing: Tracing = relay.daemon.ask(&Command::EnableTrace(order.clone()))?;
    if !tracing.applied {
        // A slow machine: the same once more answers when it is in force.
        wait::until("every worker traces", SOON, || {
            let again: Tracing = relay.daemon.ask(&Command::EnableTrace(order.clone()))?;
            Ok(again.applied)
        })?;
    }
    Ok(tracing.cursor)
}

fn of_rule(rule: u64) -> TraceOrder {
    TraceOrder { rule: Some(RuleReference::Id(rule)), ..TraceOrder::default() }
}

fn read(relay: &Relay, cursor: &[TraceCursor]) -> Result<Traces> {
    let reading = TraceReading { cursor: cursor.to_vec(), ..TraceReading::default() };
    relay.daemon.ask(&Command::GetTrace(reading))
}

/// The events of each datagram, in their order.
fn by_datagram(events: &[TraceEvent]) -> BTreeMap<(u32, u64), Vec<&TraceEvent>> {
    let mut lives: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in events {
        lives.entry((event.worker, event.datagram)).or_default().push(event);
    }
    lives
}

fn lives(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let outputs = [endpoint(output(relay, 1), "out0"), endpoint(output(relay, 2), "missing0")];
        let rule = relay.add(&rule(input(relay), "in0", &outputs))?.rule;
        let order = TraceOrder { datagrams: Some(TRACED), ..of_rule(rule) };
        let cursor = enable(relay, &order)?;
        send(relay, SENT)?;
        let mut traces = Traces::default();
        wait::until("the trace ends by itself", SOON, || {
            traces = read(relay, &cursor)?;
            Ok(traces.running == 0)
        })?;
        relay.settled(SENT)?;
        ensure!(traces.missed == 0, "{}", traces.missed);
        let times: Vec<u64> = traces.events.iter().map(|event| event.time_ns).collect();
        ensure!(times.is_sorted(), "{times:?}");
        let lives = by_datagram(&traces.events);
        ensure!(lives.len() as u64 == TRACED, "{} lives", lives.len());
        for life in lives.values() {
            check_life(relay, rule, life).with_context(|| format!("{life:#?}"))?;
        }
        // All of it again, and nothing after it.
        ensure!(read(relay, &cursor)?.events == traces.events, "it stays");
        ensure!(read(relay, &traces.cursor)?.events.is_empty(), "there is no more");
        Ok(())
    })
}

fn check_life(relay: &Relay, rule: u64, life: &[&TraceEvent]) -> Result<()> {
    let mut steps: Vec<&TraceStep> = life.iter().map(|event| &event.step).collect();
    ensure!(steps.remove(0) == &TraceStep::Received);
    ensure!(steps.remove(0) == &TraceStep::Forwarded { outputs: 2 });
    let error = "no_interface".into();
    let rest = [
        TraceStep::Handed { output: 0 },
        TraceStep::Failed { output: 1, error, errno: 0 },
        TraceStep::Sent { output: 0 },
    ];
    ensure!(rest.iter().all(|step| steps.contains(&step)) && steps.len() == rest.len());
    for event in life {
        ensure!((event.rule, event.interface.as_str()) == (Some(rule), "in0"));
        let own = matches!(event.step, TraceStep::Received | TraceStep::Forwarded { .. });
        let destination = match event.step {
            TraceStep::Failed { .. } => output(relay, 2),
            _ if own => input(relay),
            _ => output(relay, 1),
        };
        ensure!(event.destination == Some(destination));
        let source = event.source.map(|source| source.ip());
        let family = relay.variant.family;
        ensure!(!own || source == Some(family.source(0)));
        ensure!(event.step != TraceStep::Sent { output: 0 } || source == Some(family.egress(0)));
        let head = event.length.min(96) as usize;
        ensure!(event.head.len() == 2 * head && event.length > 42);
    }
    Ok(())
}

fn a_drop_is_its_rules(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let outputs = [endpoint(output(relay, 1), "out0")];
        let rule = relay.add_active(&rule(input(relay), "in0", &outputs))?.rule;
        let cursor = enable(relay, &of_rule(rule))?;
        let source = SocketAddr::new(variant.family.source(0), 4000);
        let frame = FrameBuilder::udp(source, input(relay)).payload(&[1; 50]);
        let sender = RawSender::open(&relay.net.source, "src0")?;
        sender.send(&frame.checksum(Checksum::Bad).build())?;
        wait::until("the drop is traced", SOON, || {
            let events = read(relay, &cursor)?.events;
            let steps: Vec<_> = events.iter().map(|event| &event.step).collect();
            let reason = "bad_checksum".into();
            Ok(steps == [&TraceStep::Received, &TraceStep::Dropped { reason }]
                && events.iter().all(|event| event.rule == Some(rule)))
        })?;
        let subject =
            TraceSubject { rule: Some(RuleReference::Id(rule)), ..TraceSubject::default() };
        let ended: TracesEnded = relay.daemon.ask(&Command::DisableTrace(subject))?;
        ensure!(ended.ended == 1 && read(relay, &[])?.running == 0);
        Ok(())
    })
}

fn what_no_rule_wants(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let of_interface =
            |name: &str| TraceOrder { interface: Some(name.into()), ..TraceOrder::default() };
        ensure!(enable(relay, &of_interface("in0")).is_err(), "nothing reads there");
        let outputs = [endpoint(output(relay, 1), "out0")];
        relay.add_active(&rule(input(relay), "in0", &outputs))?;
        let source = SocketAddr::new(variant.family.source(0), 4000);
        let stranger = SocketAddr::new(variant.family.group(9), 5999);
        let sender = RawSender::open(&relay.net.source, "src0")?;
        let frame = FrameBuilder::udp(source, stranger).payload(&[1; 50]).build();
        sender.send(&frame)?;
        let cursor = enable(relay, &of_interface("in0"))?;
        let mut seen = Vec::new();
        wait::until("the stranger is traced", SOON, || {
            sender.send(&frame)?;
            seen = read(relay, &cursor)?.events;
            Ok(!seen.is_empty())
        })?;
        let strange = |event: &&TraceEvent| {
            (event.rule, event.destination, event.source) == (None, Some(stranger), Some(source))
        };
        ensure!(seen.iter().filter(strange).count() >= 2, "{seen:#?}");
        let dropped = TraceStep::Dropped { reason: "no_rule".into() };
        ensure!(seen.iter().any(|event| event.step == dropped));
        let _: TracesEnded = relay.daemon.ask(&Command::DisableTrace(TraceSubject::default()))?;
        // The kernel's filter keeps strangers out again.
        let before = identity::stats(&relay.daemon)?.totals.received;
        sender.send(&frame)?;
        send(relay, 1)?;
        relay.settled(before + 1)?;
        ensure!(identity::stats(&relay.daemon)?.totals.drops["no_rule"] > 0);
        Ok(())
    })
}

fn samples(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let outputs = [endpoint(output(relay, 1), "out0")];
        let rule = relay.add_active(&rule(input(relay), "in0", &outputs))?.rule;
        let cursor = enable(relay, &TraceOrder { one_in: NonZeroU32::new(10), ..of_rule(rule) })?;
        send(relay, 100)?;
        relay.settled(100)?;
        let lives = by_datagram(&read(relay, &cursor)?.events).len();
        ensure!(lives == 10, "{lives} of 100");
        Ok(())
    })
}

/// More events than are kept: the newest are there, whole, and how many are not is said.
fn a_flood(variant: Variant) -> Result<()> {
    /// Times four events.
    const DATAGRAMS: u64 = 2_000;
    Relay::run(variant, |relay| {
        let outputs = [endpoint(output(relay, 1), "out0")];
        let rule = relay.add_active(&rule(input(relay), "in0", &outputs))?.rule;
        let cursor = enable(relay, &of_rule(rule))?;
        send(relay, DATAGRAMS)?;
        relay.settled(DATAGRAMS)?;
        let traces = read(relay, &cursor)?;
        let kept = traces.events.len() as u64;
        ensure!(kept == 4_096 && traces.missed == 4 * DATAGRAMS - kept, "{}", traces.missed);
        let newest = traces.events.iter().map(|event| event.datagram).max();
        ensure!(newest == Some(DATAGRAMS), "{newest:?}");
        Ok(())
    })
}

fn outlives_a_worker(variant: Variant) -> Result<()> {
    let net = mcr_lab::topology::RelayTopology::builder().build()?;
    let mut relay = Relay::start(variant, net, &[])?;
    let outputs = [endpoint(output(&relay, 1), "out0")];
    let rule = relay.add_active(&rule(input(&relay), "in0", &outputs))?.rule;
    let cursor = enable(&relay, &of_rule(rule))?;
    let pid = relay.workers()?.workers[0].pid.context("it runs")?;
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
    wait::until("the next one runs", SOON, || {
        let worker = &relay.workers()?.workers[0];
        Ok(worker.restarts == 1 && worker.in_sync)
    })?;
    let mut sent = 0;
    wait::until("it traces", SOON, || {
        send(&relay, 1)?;
        sent += 1;
        Ok(!read(&relay, &cursor)?.events.is_empty())
    })?;
    ensure!(relay.daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

/// What `mcrctl trace` prints and writes; Wireshark's own reader is the witness.
fn a_file_for_wireshark(variant: Variant) -> Result<()> {
    const PACKETS: usize = 5;
    Relay::run(variant, |relay| {
        let outputs = [endpoint(output(relay, 1), "out0")];
        let rule = relay.add_active(&rule(input(relay), "in0", &outputs))?.rule.to_string();
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("trace.pcapng");
        let file = file.to_str().context("a path of this test's")?;
        let packets = PACKETS.to_string();
        let steady = || relay.generator().rate(RATE).count(2 * RATE);
        let traffic = relay.start_sending(steady, input(relay))?;
        let arguments =
            ["trace", &rule, "--packets", &packets, "--seconds", "60", "--pcapng", file];
        let shown = relay.daemon.mcrctl(&arguments)?;
        traffic.finish()?;
        ensure!(shown.status.success(), "{shown:?}");
        let text = String::from_utf8(shown.stdout)?;
        let sent = format!("sent to {}", outputs[0]);
        ensure!(text.matches(&sent).count() == PACKETS, "{text}");
        ensure!(read(relay, &[])?.running == 0, "it has ended its trace");
        let family = if variant.family.group(1).is_ipv4() { "ip.dst" } else { "ipv6.dst" };
        let fields = ["frame.interface_name", "frame.comment", "frame.time_epoch", family];
        let mut tshark = process::Command::new("tshark");
        tshark.args(["-r", file, "-T", "fields", "-E", "separator=|"]);
        tshark.args(fields.iter().flat_map(|field| ["-e", field]));
        let Ok(read) = tshark.output() else {
            return Err(Skip::Forbidden("tshark is not installed".into()).into());
        };
        let packets = String::from_utf8(read.stdout)?;
        ensure!(read.status.success() && packets.lines().count() == PACKETS, "{packets}");
        for line in packets.lines() {
            let found: Vec<&str> = line.split('|').collect();
            let [interface, comment, time, destination] = found[..] else {
                anyhow::bail!("{line}");
            };
            ensure!(interface == "in0" && comment.contains(&sent), "{line}");
            ensure!(destination == input(relay).ip().to_string(), "{line}");
            let (_, fraction) = time.split_once('.').context("a fraction")?;
            ensure!(fraction.len() == 9, "nanoseconds: {line}");
        }
        // Not the same thousand each time, as it would be if microseconds were kept.
        ensure!(packets.lines().any(|line| !line.contains("000|")), "{packets}");
        Ok(())
    })
}
