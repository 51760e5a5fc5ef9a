//! Metrics and health over HTTP: what the real daemon exports is valid, true and never falls, and
//! whoever asks for it hurts nobody.

mod clients;
mod health;
mod scrape;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, Stats, WorkerStatus};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::fixture::{Relay, SOON, delivered, rule};
use crate::startup::refused_start;
use crate::variant::{Variant, endpoint, matrix};
use scrape::Exporter;

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let usual = [Variant::usual()];
    let both = Variant::both_families();
    let suite = matrix(suite, "metrics::they_say_what_get_stats_says", &both, they_are_true);
    let suite = matrix(suite, "metrics::counters_survive_a_worker", &usual, counters_survive);
    let suite = suite
        .trial("metrics::too_many_series_are_counted", too_many_series_are_counted)
        .trial("metrics::they_are_off_by_default", they_are_off_by_default)
        .trial("metrics::an_address_that_cannot_be_had", an_address_that_cannot_be_had);
    clients::trials(health::trials(suite))
}

/// Each relay has a namespace of its own.
const ADDRESS: &str = "127.0.0.1:9464";

const EXPORTING: [&str; 2] = ["--metrics", ADDRESS];

fn exporter(relay: &Relay) -> Result<Exporter> {
    Exporter::new(&relay.net.relay, ADDRESS)
}

fn they_are_true(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    Relay::run_on(variant, net, &EXPORTING, |relay| {
        let family = variant.family;
        let input = SocketAddr::new(family.group(1), 5000);
        let output = SocketAddr::new(family.output_group(1), 6000);
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        let absent = endpoint(SocketAddr::new(family.output_group(2), 6000), "absent");
        let video = rule(input, "in0", &[endpoint(output, "out0"), absent.clone()]);
        let id = relay.add(&video)?.rule.to_string();
        let sent = relay.send(input)?;
        delivered(sink, sent)?;
        let stats = relay.settled(sent.total())?;
        let found = exporter(relay)?.scrape()?;

        let of_rule = [("rule", &*id), ("name", ""), ("input", &*video.input)];
        found.expect("mcr_rule_active", &of_rule, 1)?;
        found.expect("mcr_rule_received_packets", &of_rule, sent.total())?;
        found.expect("mcr_rule_received_bytes", &of_rule, stats.rules[0].bytes)?;
        let to = endpoint(output, "out0");
        let of_output = [("rule", &*id), ("output", &*to)];
        found.expect("mcr_output_sent_packets", &of_output, sent.total())?;
        found.expect("mcr_output_sent_bytes", &of_output, stats.rules[0].outputs[0].bytes)?;
        let lost = [("output", &*absent), ("reason", "no_interface")];
        found.expect("mcr_output_errors", &lost, sent.total())?;
        ensure!(found.count("mcr_output_errors", &[]) == 1, "{found:?}");
        as_stats_say(&found, &stats)?;
        found.expect("mcr_worker_up", &[], variant.workers as u64)?;
        found.expect("mcr_worker_in_sync", &[], variant.workers as u64)?;
        found.expect("mcr_rules", &[("state", "active")], 1)?;
        found.expect("mcr_ready", &[], 1)?;
        found.expect("mcr_metrics_series_omitted", &[], 0)
    })
}

fn as_stats_say(found: &scrape::Scrape, stats: &Stats) -> Result<()> {
    let totals = &stats.totals;
    found.expect("mcr_worker_received_frames", &[], totals.received)?;
    found.expect("mcr_worker_kernel_dropped_frames", &[], totals.kernel_drops)?;
    found.expect("mcr_worker_read_frames", &[], totals.frames_read)?;
    found.expect("mcr_worker_matched_datagrams", &[], totals.matched)?;
    found.expect("mcr_worker_wanted_copies", &[], totals.copies)?;
    found.expect("mcr_worker_sent_copies", &[], totals.sent)?;
    found.expect("mcr_worker_batch_size", &[("worker", "0")], {
        // The buckets are cumulative: a batch is in its own and in every larger one.
        let sizes = &stats.cores[0].batch_sizes;
        let larger = |place| (sizes.len() - place) as u64;
        sizes.iter().enumerate().map(|(place, count)| count * larger(place)).sum()
    })?;
    for (family, counts) in
        [("mcr_worker_drops", &totals.drops), ("mcr_worker_egress_errors", &totals.errors)]
    {
        for (reason, count) in counts {
            found.expect(family, &[("reason", reason)], *count)?;
        }
    }
    for ring in &stats.rings {
        let labels = [("worker", &*ring.worker.to_string()), ("interface", &*ring.interface)];
        found.expect("mcr_ring_received_frames", &labels, ring.received)?;
        found.expect("mcr_ring_slots", &labels, ring.slots)?;
    }
    Ok(())
}

/// One worker is killed under traffic; nothing that was counted is forgotten.
fn counters_survive(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    let mut relay = Relay::start(variant, net, &EXPORTING)?;
    let exporter = exporter(&relay)?;
    let inputs = relay.inputs(variant.family.group(1));
    let output = SocketAddr::new(variant.family.output_group(1), 6000);
    for (number, input) in inputs.iter().enumerate() {
        if !inputs[..number].contains(input) {
            relay.add_active(&rule(*input, "in0", &[endpoint(output, "out0")]))?;
        }
    }
    let endless = || relay.generator().rate(2_000).count(600_000);
    let traffic = relay.start_sending(endless, inputs[0])?;
    let first = || -> Result<WorkerStatus> {
        relay.workers()?.workers.into_iter().next().context("a worker")
    };
    let mut before = exporter.scrape()?;
    let mut grown = |what: &str, is_so: &dyn Fn(&scrape::Scrape) -> Result<bool>| {
        wait::until(what, SOON, || {
            let now = exporter.scrape()?;
            now.has_grown_from(&before)?;
            let is_so = is_so(&now)?;
            before = now;
            Ok(is_so)
        })
    };
    grown("datagrams are relayed", &|now| {
        Ok(now.sum("mcr_worker_sent_copies", &[("worker", "0")])? > 1_000.0)
    })?;
    let counted = exporter.scrape()?.sum("mcr_ring_received_frames", &[("worker", "0")])?;
    let pid = first()?.pid.context("the first worker runs")?;
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
    grown("it is replaced, and nothing is forgotten", &|now| {
        let restarts = now.sum("mcr_worker_restarts", &[("worker", "0")])?;
        Ok(restarts > 0.5 && now.sum("mcr_worker_up", &[("worker", "0")])? > 0.5)
    })?;
    grown("it relays, and its ring goes on counting", &|now| {
        let of_first = [("worker", "0")];
        let is_there = now.count("mcr_ring_received_frames", &of_first) > 0;
        Ok(is_there && now.sum("mcr_ring_received_frames", &of_first)? > counted + 100.0)
    })?;
    traffic.stop()?;
    relay.wait_in_sync()?;
    relay.settled(0)?;
    ensure!(relay.daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

/// A configuration file in a directory of its own.
struct File {
    _directory: TempDir,
    path: PathBuf,
}

impl File {
    fn new(text: &str) -> Result<Self> {
        let directory = TempDir::new()?;
        let path = directory.path().join("mcr.toml");
        fs::write(&path, text)?;
        Ok(Self { _directory: directory, path })
    }

    fn text(&self) -> Result<&str> {
        self.path.to_str().context("temporary paths are text")
    }
}

fn too_many_series_are_counted() -> Result<()> {
    const RULES: usize = 20;
    let rules = (1..=RULES).map(|n| {
        format!(
            "[[rule]]\ninput = \"239.1.1.{n}:5000@lo\"\noutputs = [\"127.0.0.1:{}@lo\"]\n",
            7000 + n
        )
    });
    let rules: String = rules.collect();
    let series_of = |max_series: &str| -> Result<(usize, f64)> {
        let text = format!("[metrics]\nlisten = \"{ADDRESS}\"\n{max_series}\n{rules}");
        let file = File::new(&text)?;
        let namespace = Namespace::new("relay")?;
        let arguments = ["--cores", "0", "--config", file.text()?];
        let mut daemon = Daemon::start(&namespace, &arguments)?;
        let found = Exporter::new(&namespace, ADDRESS)?.scrape()?;
        found.expect("mcr_rules", &[("state", "active")], RULES as u64)?;
        let shown = found.count("mcr_rule_active", &[]);
        ensure!(found.count("mcr_output_sent_packets", &[]) == shown, "{found:?}");
        ensure!(daemon.terminate()?.success(), "the daemon's end");
        Ok((shown, found.sum("mcr_metrics_series_omitted", &[])?))
    };
    let (all, none_omitted) = series_of("")?;
    ensure!(all == RULES && none_omitted == 0.0, "{all}, {none_omitted}");
    let (some, omitted) = series_of("max_series = 100")?;
    ensure!(some > 0 && some < RULES, "{some} of {RULES} rules");
    // Four of each rule, and five of its output.
    let left_out = ((RULES - some) * (4 + 5)) as f64;
    ensure!((omitted - left_out).abs() < 0.5, "{omitted} instead of {left_out}");
    let (none, _) = series_of("max_series = 0")?;
    ensure!(none == 0, "{none}");
    Ok(())
}

fn they_are_off_by_default() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let mut daemon = Daemon::start(&namespace, &["--cores", "0"])?;
    ensure!(Exporter::new(&namespace, ADDRESS)?.connect().is_err(), "somebody listens");
    let listening = namespace.read_proc_net("tcp")?;
    ensure!(listening.lines().count() == 1, "{listening}");
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

fn an_address_that_cannot_be_had() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let mut daemon = Daemon::start(&namespace, &["--cores", "0", "--metrics", ADDRESS])?;
    let directory = TempDir::new()?;
    let control = directory.path().join("control.sock");
    let control = control.to_str().context("temporary paths are text")?;
    for (address, words) in [
        (ADDRESS, ["metrics at 127.0.0.1:9464", "in use", "another program listens there"]),
        ("10.255.1.1:9464", ["metrics at 10.255.1.1:9464", "no interface has", "[metrics] listen"]),
    ] {
        let arguments = ["--control", control, "--cores", "0", "--metrics", address];
        refused_start(&namespace, &arguments)?.expect(69, &words)?;
        ensure!(!PathBuf::from(control).exists(), "a socket was left behind");
    }
    let _: mcr_api::control::Workers = daemon.ask(&Command::ListWorkers {})?;
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}
