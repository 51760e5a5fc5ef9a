//! Events of real changes, and readers of them that do not read.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mcr_api::control::{Added, Command, Event, EventKind, Removed, Request, Response, Subscribed};
use mcr_api::control::{ErrorCode, RuleReference};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{hiccup, link};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::fixture::{Relay, SOON, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    let usual = [Variant::usual()];
    let suite = matrix(suite, "events::changes_are_told_in_order", &both, changes_in_order);
    let suite = matrix(suite, "events::a_worker_that_is_behind_is_told", &usual, behind);
    matrix(suite, "events::who_never_reads_holds_up_nobody", &usual, never_reads)
        .trial("events::the_configuration_file_is_told", configuration)
        .trial("events::there_is_room_for_clients_that_ask", room_for_others)
}

/// A client that is told events.
struct Reader {
    stream: BufReader<UnixStream>,
    /// The last event that it was told of.
    reached: u64,
}

impl Reader {
    fn subscribe(daemon: &Daemon, after: Option<u64>) -> Result<Self> {
        let mut stream = daemon.connect()?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(&Request { id: 1, command: Command::Subscribe { after } }.to_line())?;
        let mut stream = BufReader::new(stream);
        let mut answer = String::new();
        stream.read_line(&mut answer)?;
        let Subscribed { latest } = serde_json::from_str::<Response<_>>(&answer)?.result?;
        Ok(Self { stream, reached: after.unwrap_or(latest) })
    }

    /// The next event, which follows the one before it without a gap; `None` at the end.
    fn next(&mut self) -> Result<Option<Event>> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => return Err(error.into()),
            Ok(length) if length > 0 => {}
            _ => return Ok(None),
        }
        let event: Event = serde_json::from_str(&line).context(line)?;
        self.reached += event.missed.unwrap_or(1);
        ensure!(event.sequence == self.reached, "{event:?} is not number {}", self.reached);
        Ok(Some(event))
    }

    /// Waits for an event of this kind whose line holds `words`; others may come before it.
    fn wait_for(&mut self, kind: EventKind, words: &str) -> Result<Event> {
        let mut others = Vec::new();
        loop {
            let event = self.next().with_context(|| format!("no {kind} {words:?}: {others:#?}"))?;
            let event = event.context("the subscription ended")?;
            if event.kind == kind && String::from_utf8(event.to_line())?.contains(words) {
                return Ok(event);
            }
            others.push(event);
        }
    }
}

/// A rule's life, an interface's, and a worker's, each event after what it follows from.
fn changes_in_order(variant: Variant) -> Result<()> {
    let relay = Relay::start(variant, RelayTopology::builder().build()?, &[])?;
    let input = SocketAddr::new(variant.family.group(1), 5_000);
    let output = SocketAddr::new(variant.family.output_group(1), 6_000);
    let mut video = rule(input, "in0", &[endpoint(output, "out0")]);
    video.name = Some("video".into());
    let mut reader = Reader::subscribe(&relay.daemon, None)?;
    let id = relay.add_active(&video)?.rule;
    let added = reader.next()?.context("an event")?;
    ensure!(added.kind == EventKind::RuleAdded && added.about.rule == Some(id), "{added:?}");
    ensure!(added.about.name.as_deref() == Some("video"), "{added:?}");
    let active = reader.next()?.context("an event")?;
    ensure!(active.kind == EventKind::RuleActive && active.about.rule == Some(id), "{active:?}");
    ensure!(active.time_ns >= added.time_ns && active.time >= added.time, "{added:?} {active:?}");
    relay.add(&rule(input, "absent0", &[endpoint(output, "out0")]))?;
    reader.wait_for(EventKind::RulePending, "absent0 does not exist")?;
    let net = &relay.net.relay;
    link::set_mtu(net, "in0", 1_400)?;
    reader.wait_for(EventKind::InterfaceChanged, "MTU 1400")?;
    link::set_down(net, "in0")?;
    reader.wait_for(EventKind::InterfaceDown, "\"in0\"")?;
    reader.wait_for(EventKind::RulePending, "in0 is down")?;
    link::rename(net, "in0", "in9")?;
    reader.wait_for(EventKind::InterfaceRenamed, "interface in0 is called in9 now")?;
    reader.wait_for(EventKind::RuleProblem, "in0 does not exist")?;
    link::rename(net, "in9", "absent0")?;
    reader.wait_for(EventKind::InterfaceRenamed, "interface in9 is called absent0 now")?;
    link::rename(net, "absent0", "in0")?;
    link::set_up(net, "in0")?;
    reader.wait_for(EventKind::InterfaceUp, "\"in0\"")?;
    reader.wait_for(EventKind::RuleActive, "video")?;
    let pid = relay.workers()?.workers[0].pid.context("the worker runs")?;
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
    let exited = reader.wait_for(EventKind::WorkerExited, "killed by signal 9")?;
    ensure!(exited.about.worker == Some(0), "{exited:?}");
    reader.wait_for(EventKind::WorkerStarted, "\"worker\":0")?;
    reader.wait_for(EventKind::WorkerReady, "\"worker\":0")?;
    relay.remove(id)?;
    reader.wait_for(EventKind::RuleRemoved, "video")?;
    shown(&relay.daemon, reader.reached)?;
    relay.stop().map(drop)
}

/// The client prints what is kept, for people and for programs.
fn shown(daemon: &Daemon, latest: u64) -> Result<()> {
    let text = daemon.mcrctl(&["events"])?;
    let text = String::from_utf8(text.stdout)?;
    ensure!(text.contains("  rule_added  ") && text.contains("  worker_exited  "), "{text}");
    let json = daemon.mcrctl(&["events", "--json"])?;
    let lines = String::from_utf8(json.stdout)?;
    let events: Vec<Event> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let last = events.last().context("some events")?;
    ensure!(last.sequence >= latest, "{latest} is not yet there: {last:?}");
    ensure!(events.len() == text.lines().count(), "{text}\n{lines}");
    Ok(())
}

/// Drift, its repair, and a worker that stands still.
fn behind(variant: Variant) -> Result<()> {
    let relay = Relay::start_fallible(variant, RelayTopology::builder().build()?, &[])?;
    let mut reader = Reader::subscribe(&relay.daemon, None)?;
    relay.daemon.order_faults("0 drop 1")?;
    let input = SocketAddr::new(variant.family.group(1), 5_000);
    let output = SocketAddr::new(variant.family.output_group(1), 6_000);
    let made = rule(input, "in0", &[endpoint(output, "out0")]);
    let _: Added = relay.daemon.ask(&Command::AddRule { rule: made })?;
    let event = reader.wait_for(EventKind::WorkerBehind, "\"worker\":0")?;
    ensure!(event.message.contains("holds generation"), "{event:?}");
    relay.daemon.order_faults("")?;
    reader.wait_for(EventKind::WorkerRepaired, "\"worker\":0")?;
    let pid = relay.workers()?.workers[0].pid.context("the worker runs")?;
    kill(Pid::from_raw(pid as i32), Signal::SIGSTOP)?;
    reader.wait_for(EventKind::WorkerStalled, "its loop stood still")?;
    reader.wait_for(EventKind::WorkerExited, "killed by signal 9")?;
    reader.wait_for(EventKind::WorkerReady, "\"worker\":0")?;
    relay.stop().map(drop)
}

/// Rules that are added and removed while a subscriber reads nothing: with three events each more
/// than its socket, the channel and a batch under way hold together.
const RULES: u16 = 1_000;

/// An answer takes milliseconds; this is for a machine that is busy with other trials.
const PROMPTLY: Duration = Duration::from_secs(2);

fn never_reads(variant: Variant) -> Result<()> {
    let relay = Relay::start(variant, RelayTopology::builder().build()?, &[])?;
    let mut lazy = Reader::subscribe(&relay.daemon, None)?;
    let mut reader = Reader::subscribe(&relay.daemon, None)?;
    let output = SocketAddr::new(variant.family.output_group(1), 6_000);
    let mut ids = BTreeSet::new();
    for n in 0..RULES {
        let input = SocketAddr::new(variant.family.group(1), 5_000 + n);
        let made = rule(input, "in0", &[endpoint(output, "out0")]);
        let begun = Instant::now();
        let added: Added = relay.daemon.ask(&Command::AddRule { rule: made })?;
        hiccup::bound("a rule is added", begun, PROMPTLY)?;
        reader.wait_for(EventKind::RuleActive, &format!("\"rule\":{},", added.rule))?;
        ids.insert(added.rule);
    }
    for id in ids {
        let rule = RuleReference::Id(id);
        let _: Removed = relay.daemon.ask(&Command::RemoveRule { rule })?;
        reader.wait_for(EventKind::RuleRemoved, &format!("\"rule\":{id},"))?;
    }
    let all = reader.reached;
    let mut missed = None;
    // Each event follows the one before it, or the count of those between says so.
    while missed.is_none() && lazy.reached < all {
        let Some(event) = lazy.next()? else {
            // It took too long: the daemon has let go of it.
            return relay.stop().map(drop);
        };
        missed = event.missed;
    }
    ensure!(missed.is_some(), "all {all} events were kept for one who did not read");
    while lazy.reached < all && lazy.next()?.is_some() {}
    relay.stop().map(drop)
}

const LOCAL: &str = "[[rule]]\ninput = \"239.1.1.1:5000@lo\"\noutputs = [\"127.0.0.1:7000@lo\"]\n";

fn configuration() -> Result<()> {
    let directory = TempDir::new()?;
    let file = directory.path().join("mcr.toml");
    fs::write(&file, LOCAL)?;
    let path = file.to_str().context("temporary paths are text")?;
    let namespace = Namespace::new("relay")?;
    let mut daemon = Daemon::start(&namespace, &["--cores", "0", "--config", path])?;
    // All that has been since the start.
    let mut reader = Reader::subscribe(&daemon, Some(0))?;
    reader.wait_for(EventKind::RuleAdded, "239.1.1.1:5000@lo")?;
    reader.wait_for(EventKind::WorkerReady, "\"worker\":0")?;
    fs::write(&file, "sauce = 1\n")?;
    daemon.signal(Signal::SIGHUP)?;
    let refused = reader.wait_for(EventKind::ConfigurationRefused, "nothing was changed")?;
    ensure!(refused.message.contains(&format!("{path}:1: ")), "{refused:?}");
    fs::write(&file, LOCAL.replace("7000", "7001"))?;
    daemon.signal(Signal::SIGHUP)?;
    reader.wait_for(EventKind::RuleRemoved, "239.1.1.1:5000@lo")?;
    reader.wait_for(EventKind::RuleAdded, "239.1.1.1:5000@lo")?;
    reader.wait_for(EventKind::ConfigurationReloaded, "1 rules new, 1 gone")?;
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    // And then there are no more.
    while reader.next()?.is_some() {}
    Ok(())
}

/// More subscribers than there may be are refused, and other clients still have a place.
fn room_for_others() -> Result<()> {
    let daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])?;
    let mut readers = Vec::new();
    let refused = loop {
        match Reader::subscribe(&daemon, None) {
            Ok(reader) => readers.push(reader),
            Err(refused) => break refused,
        }
        ensure!(readers.len() < 1_000, "there is no limit");
    };
    let Some(body) = refused.downcast_ref::<mcr_api::control::ErrorBody>() else {
        bail!("{refused:#}");
    };
    ensure!(body.code == ErrorCode::Busy, "{body:?}");
    let version = daemon.mcrctl(&["version"])?;
    ensure!(version.status.success(), "{version:?}");
    let followed = daemon.mcrctl(&["events", "--follow"])?;
    ensure!(!followed.status.success(), "{followed:?}");
    drop(readers);
    mcr_lab::wait::until("their places are free again", SOON, || {
        Ok(Reader::subscribe(&daemon, None).is_ok())
    })
}
