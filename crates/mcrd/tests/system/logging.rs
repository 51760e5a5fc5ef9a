//! The daemon's log: its formats, its levels while it runs, and what is said again and again.

mod journal;

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use mcr_api::control::Steering;
use mcr_api::log::{Area, Entry, Level};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::topology::RelayTopology;
use mcr_lab::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::fixture::{Relay, SOON, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let usual = [Variant::usual()];
    let suite = matrix(suite, "logging::json_is_an_object_a_line", &usual, json_lines);
    matrix(suite, "logging::levels_reach_the_workers", &usual, levels_reach_the_workers)
        .trial("logging::the_journal_has_fields", journal::has_fields)
        .trial("logging::the_file_says_format_and_levels", the_file_says)
        .trial("logging::an_unknown_area_is_told_the_others", unknown_area)
        .trial("logging::what_is_said_again_is_counted", said_again)
}

/// What the log says of rules, interfaces and workers can be asked for by name.
fn json_lines(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    let relay = Relay::start(variant, net, &["--log-format", "json"])?;
    let input = SocketAddr::new(variant.family.group(1), 5_000);
    let output = SocketAddr::new(variant.family.output_group(1), 6_000);
    let id = relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?.rule;
    mcr_lab::link::set_down(&relay.net.relay, "in0")?;
    relay.daemon.wait_for_log("interface in0 is down", SOON)?;
    let pid = relay.workers()?.workers[0].pid.context("the worker runs")?;
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
    relay.daemon.wait_for_log("took over in", SOON)?;
    let entries = relay.daemon.log_lines().iter().map(|line| entry(line)).collect::<Result<_>>()?;
    let entries: Vec<Entry> = entries;
    let find = |what: &str, is: &dyn Fn(&Entry) -> bool| -> Result<Entry> {
        let found = entries.iter().find(|entry| is(entry)).cloned();
        found.with_context(|| format!("no {what} in {entries:#?}"))
    };
    find("ready line", &|entry| entry.message.starts_with("ready: "))?;
    let added = find("rule", &|entry| entry.rule == Some(id))?;
    ensure!((added.level, added.area) == (Level::Info, Area::Rules), "{added:?}");
    let down = find("interface", &|entry| entry.interface.as_deref() == Some("in0"))?;
    ensure!((down.level, down.area) == (Level::Info, Area::Interfaces), "{down:?}");
    let exit = find("worker", &|entry| entry.worker == Some(0))?;
    ensure!((exit.level, exit.area) == (Level::Warn, Area::Workers), "{exit:?}");
    ensure!(entries.is_sorted_by_key(|entry| &entry.time), "{entries:#?}");
    relay.stop().map(drop)
}

fn entry(line: &str) -> Result<Entry> {
    serde_json::from_str(line).with_context(|| format!("no entry: {line}"))
}

/// What the commands' area says at the level for faults comes from workers, too, from the moment on
/// in which that level was asked for, also from those that start later, and no longer than it is
/// asked for.
fn levels_reach_the_workers(variant: Variant) -> Result<()> {
    let relay = Relay::start(variant, RelayTopology::builder().build()?, &[])?;
    let daemon = &relay.daemon;
    // All of them the first worker's, and where they are not divided also the second's.
    let all = (5_000..).map(|port| SocketAddr::new(variant.family.group(1), port));
    let mut inputs = all.filter(|input| relay.owner(*input).is_none_or(|owner| owner == 0));
    let workers = if variant.steering == Steering::Hash { 0..1 } else { 0..2 };
    let output = SocketAddr::new(variant.family.output_group(1), 6_000);
    let mut add = || -> Result<u64> {
        let input = inputs.next().context("there are more ports than rules")?;
        Ok(relay.add(&rule(input, "in0", &[endpoint(output, "out0")]))?.rule)
    };
    let told =
        |worker: u32, id: u64| format!("[commands] worker {worker}: rule {id}: its route is set");
    let quiet = add()?;
    let shown = set_level(daemon, &["commands", "debug"])?;
    ensure!(shown == "all areas: info; commands: debug\n", "{shown}");
    let loud = add()?;
    for worker in workers.clone() {
        daemon.wait_for_log(&told(worker, loud), SOON)?;
        // A pipe keeps the order: it would have come before.
        ensure!(!daemon.log_contains(&told(worker, quiet)), "{:#?}", daemon.log_lines());
    }
    let pid = relay.workers()?.workers[0].pid.context("the worker runs")?;
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
    // Its successor is told of all rules.
    daemon.wait_for_log("[commands] worker 0: a synchronisation is whole", SOON)?;
    relay.wait_in_sync()?;
    set_level(daemon, &["info"])?;
    let quiet = add()?;
    set_level(daemon, &["debug"])?;
    let loud = add()?;
    for worker in workers.clone() {
        daemon.wait_for_log(&told(worker, loud), SOON)?;
        ensure!(!daemon.log_contains(&told(worker, quiet)), "{:#?}", daemon.log_lines());
    }
    relay.stop().map(drop)
}

fn set_level(daemon: &Daemon, words: &[&str]) -> Result<String> {
    let output = daemon.mcrctl(&[&["log-level"], words].concat())?;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn lone_daemon(arguments: &[&str]) -> Result<Daemon> {
    Daemon::start(&Namespace::new("relay")?, &[&["--cores", "0"], arguments].concat())
}

const LOCAL: [&str; 4] = ["add", "239.1.1.1:5000@lo", "--to", "127.0.0.1:7000@lo"];

fn the_file_says() -> Result<()> {
    let directory = TempDir::new()?;
    let file = directory.path().join("mcr.toml");
    let text = "[log]\nformat = \"json\"\nlevel = \"error\"\nareas = { commands = \"debug\" }\n";
    fs::write(&file, text)?;
    let path = file.to_str().context("temporary paths are text")?;
    let mut daemon = lone_daemon(&["--config", path])?;
    ensure!(daemon.mcrctl(&LOCAL)?.status.success(), "a rule");
    daemon.wait_for_log("worker 0: rule 1: its route is set", SOON)?;
    for line in daemon.log_lines() {
        let entry = entry(&line)?;
        // Who changed what is told whatever the levels.
        let said = matches!(entry.area, Area::Commands | Area::Audit)
            || entry.message.starts_with("ready: ");
        ensure!(said, "below its level: {entry:?}");
    }
    // Read again with other levels, and then the same: what was set meanwhile stays.
    fs::write(&file, text.replace("error", "info"))?;
    ensure!(daemon.mcrctl(&["reload"])?.status.success(), "reading it again");
    daemon.wait_for_log("read again: ", SOON)?;
    set_level(&daemon, &["warn"])?;
    ensure!(daemon.mcrctl(&["reload"])?.status.success(), "reading it again");
    let shown = set_level(&daemon, &["panic", "warn"])?;
    ensure!(shown == "all areas: warn\n", "{shown}");
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    let again = daemon.log_lines().iter().filter(|line| line.contains("read again")).count();
    ensure!(again == 1, "{:#?}", daemon.log_lines());
    Ok(())
}

fn unknown_area() -> Result<()> {
    let daemon = lone_daemon(&[])?;
    let request = r#"{"id":1,"command":"SetLogLevel","area":"egrss","level":"debug"}"#;
    let answer: Value = daemon.control(request)?;
    let (code, message) = (&answer["error"]["code"], &answer["error"]["message"]);
    ensure!(code == "invalid", "{answer}");
    let message = message.as_str().unwrap_or_default();
    ensure!(Area::ALL.iter().all(|area| message.contains(area.name())), "{answer}");
    let refused = daemon.mcrctl(&["log-level", "egrss", "debug"])?;
    ensure!(refused.status.code() == Some(64), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr);
    ensure!(told.contains("there is no area \"egrss\""), "{told}");
    Ok(())
}

/// The same refusal a hundred times: once as it is, and then how often.
fn said_again() -> Result<()> {
    const TIMES: u64 = 100;
    let mut daemon = lone_daemon(&["--log-format", "json"])?;
    for _ in 0..TIMES {
        daemon.control(r#"{"id":1,"command":"Reload"}"#)?;
    }
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    wait::until("the log has all of it", SOON, || Ok(daemon.log_contains("(repeated ")))?;
    let mut said = 0;
    let mut lines = 0;
    for line in daemon.log_lines() {
        let entry = entry(&line)?;
        if entry.message.contains("without a configuration file") {
            lines += 1;
            said += entry.repeated.unwrap_or(1);
            ensure!(entry.repeated.is_none_or(|n| entry.message.contains(&format!("{n} times"))));
        }
    }
    // One line more for each ten seconds of a machine that is very busy.
    ensure!(said == TIMES && lines < TIMES / 10, "{said} in {lines}: {:#?}", daemon.log_lines());
    Ok(())
}
