//! `/healthz` and `/readyz` follow what becomes of the workers and of the configured rules.

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, WorkerState, WorkerStatus, Workers};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{identity, link, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::scrape::Exporter;
use super::{ADDRESS, EXPORTING, File};
use crate::fixture::{Relay, SOON, delivered};
use crate::variant::Variant;

/// Registers the trials.
pub(super) fn trials(suite: Suite) -> Suite {
    suite
        .trial("metrics::a_stopped_worker_is_not_ready", a_stopped_worker_is_not_ready)
        .trial("metrics::without_workers_there_is_no_health", without_workers)
        .trial("metrics::a_pending_configured_rule_is_not_ready", a_pending_rule)
        .trial("metrics::without_a_carrier_it_is_not_ready", without_a_carrier)
}

/// Waits until a page answers so, and returns what it says then.
fn wait_for(exporter: &Exporter, path: &str, status: u16) -> Result<String> {
    let mut body = String::new();
    wait::until(&format!("{path} answers {status}"), SOON, || {
        let answer = exporter.get(path)?;
        body = answer.body;
        Ok(answer.status == status)
    })
    .with_context(|| format!("the last answer: {body}"))?;
    Ok(body)
}

fn signal(worker: &WorkerStatus, signal: Signal) -> Result<()> {
    let pid = worker.pid.context("the worker runs")?;
    Ok(kill(Pid::from_raw(pid as i32), signal)?)
}

/// One of two workers stands still: the other relays, so the relay is alive, but not ready.
fn a_stopped_worker_is_not_ready() -> Result<()> {
    let mut relay = Relay::start(Variant::usual(), RelayTopology::builder().build()?, &EXPORTING)?;
    let exporter = super::exporter(&relay)?;
    ensure!(wait_for(&exporter, "/readyz", 200)? == "ready\n");
    signal(&relay.workers()?.workers[0], Signal::SIGSTOP)?;
    let lack = wait_for(&exporter, "/readyz", 503)?;
    ensure!(lack.starts_with("worker 0 on core "), "{lack}");
    ensure!(exporter.get("/healthz")?.status == 200, "the other worker relays");
    wait_for(&exporter, "/readyz", 200)?;
    let found = exporter.scrape()?;
    found.expect("mcr_worker_restarts", &[("worker", "0")], 1)?;
    found.expect("mcr_worker_restarts", &[("worker", "1")], 0)?;
    relay.wait_in_sync()?;
    ensure!(relay.daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

/// The only worker dies so often that the next start is held back.
fn without_workers() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let mut daemon = Daemon::start(&namespace, &["--cores", "0", "--metrics", ADDRESS])?;
    let exporter = Exporter::new(&namespace, ADDRESS)?;
    let worker = || -> Result<WorkerStatus> {
        let workers: Workers = daemon.ask(&Command::ListWorkers {})?;
        workers.workers.into_iter().next().context("a worker")
    };
    ensure!(wait_for(&exporter, "/healthz", 200)? == "alive\n");
    // The waits before a start: none, then 100, 200, 400, 800, 1,600 and 3,200 ms, which are time
    // enough to ask what follows.
    for death in 1..=7 {
        wait::until("the worker relays", SOON, || {
            let worker = worker()?;
            Ok(worker.state == WorkerState::Running && worker.restarts == death - 1)
        })?;
        signal(&worker()?, Signal::SIGKILL)?;
    }
    ensure!(wait_for(&exporter, "/healthz", 503)? == "no worker relays\n");
    let lack = wait_for(&exporter, "/readyz", 503)?;
    ensure!(lack.contains("worker 0 on core 0") && lack.contains("killed by signal 9"), "{lack}");
    let found = exporter.scrape()?;
    found.expect("mcr_worker_up", &[("worker", "0")], 0)?;
    found.expect("mcr_ready", &[], 0)?;
    ensure!(found.count("mcr_worker_heartbeat_age_seconds", &[]) == 0, "{found:?}");
    wait_for(&exporter, "/healthz", 200)?;
    wait_for(&exporter, "/readyz", 200)?;
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

/// A rule of the file waits for its interface; one that a client adds may do so.
fn a_pending_rule() -> Result<()> {
    let file = File::new(&format!(
        "[metrics]\nlisten = \"{ADDRESS}\"\n[[rule]]\nname = \"video\"\n\
         input = \"239.1.1.1:5000@late\"\noutputs = [\"127.0.0.1:7000@lo\"]\n"
    ))?;
    let namespace = Namespace::new("relay")?;
    let mut daemon = Daemon::start(&namespace, &["--cores", "0", "--config", file.text()?])?;
    let exporter = Exporter::new(&namespace, ADDRESS)?;
    let lack = wait_for(&exporter, "/readyz", 503)?;
    let late = "rule 1 (video) is pending: 239.1.1.1:5000@late; interface late does not exist\n";
    ensure!(lack == late, "{lack}");
    ensure!(exporter.get("/healthz")?.status == 200, "it is alive all the same");
    exporter.scrape()?.expect("mcr_rule_active", &[("name", "video")], 0)?;
    link::veth_pair((&namespace, "late"), (&namespace, "peer"))?;
    link::set_up(&namespace, "late")?;
    link::set_up(&namespace, "peer")?;
    wait_for(&exporter, "/readyz", 200)?;
    daemon.mcrctl(&["add", "239.1.1.2:5000@absent", "--to", "127.0.0.1:7000@lo"])?;
    let found = exporter.scrape()?;
    found.expect("mcr_rules", &[("state", "pending")], 1)?;
    ensure!(exporter.get("/readyz")?.status == 200, "a client's rule may wait");
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

/// A cable is pulled at the output of a configured rule, and another one at its input.
fn without_a_carrier() -> Result<()> {
    let file = File::new(&format!(
        "[metrics]\nlisten = \"{ADDRESS}\"\n[[rule]]\nname = \"video\"\n\
         input = \"239.1.1.1:5000@in0\"\noutputs = [\"239.2.2.1:6000@out0\"]\n"
    ))?;
    let net = RelayTopology::builder().build()?;
    let arguments = ["--config", file.text()?];
    Relay::run_on(Variant::usual(), net, &arguments, |relay| {
        let exporter = super::exporter(relay)?;
        let input = "239.1.1.1:5000".parse()?;
        let output = "239.2.2.1:6000".parse()?;
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        delivered(sink, relay.send(input)?)?;
        let before = rings(relay)?;
        let ends = [(&relay.net.sinks[0], "sink0", "out0"), (&relay.net.source, "src0", "in0")];
        for (namespace, far, near) in ends {
            wait_for(&exporter, "/readyz", 200)?;
            link::set_down(namespace, far)?;
            let lack = wait_for(&exporter, "/readyz", 503)?;
            let said = lack.contains("video") && lack.contains(&format!("{near} has no carrier"));
            ensure!(said, "{lack}");
            exporter.scrape()?.expect("mcr_rule_active", &[], u64::from(near == "out0"))?;
            relay.daemon.wait_for_log(&format!("{near} lost its carrier"), SOON)?;
            link::set_up(namespace, far)?;
            wait_for(&exporter, "/readyz", 200)?;
            link::wait_until_up(&relay.net.relay, near)?;
            link::wait_until_up(namespace, far)?;
        }
        ensure!(rings(relay)? >= before, "a ring was opened anew: its counters begin at 0");
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        delivered(sink, relay.send(input)?).map(drop)
    })
}

/// Frames that the rings of `in0` have received since they were opened.
fn rings(relay: &Relay) -> Result<u64> {
    let rings = identity::stats(&relay.daemon)?.rings;
    Ok(rings.iter().filter(|ring| ring.interface == "in0").map(|ring| ring.received).sum())
}
