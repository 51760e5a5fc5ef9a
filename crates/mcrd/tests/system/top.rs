//! `mcrctl top` in a real terminal, and `mcrctl stats --watch`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::program;
use mcr_lab::terminal::Terminal;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::fixture::{Relay, SOON, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let variants = Variant::both_families();
    matrix(suite, "top::a_flow_is_seen", &variants, a_flow_is_seen)
        .trial("top::a_daemon_comes_and_goes", a_daemon_comes_and_goes)
        .trial("top::a_signal_gives_the_terminal_back", a_signal_gives_the_terminal_back)
        .trial("top::without_a_terminal_it_says_so", without_a_terminal_it_says_so)
        .trial("top::statistics_are_refreshed", statistics_are_refreshed)
}

/// Datagrams a second of each stream, and how many: longer than the trial takes.
const RATE: u64 = 2_000;
const DATAGRAMS: u64 = 60 * RATE;

/// The usual size of a terminal.
const SIZE: (u16, u16) = (24, 80);

fn top(control: &Path) -> Result<Terminal> {
    let mut command = Command::new(program::mcrctl()?);
    command.arg("--control").arg(control).args(["top", "--interval", "0.25"]);
    Terminal::start(&command, SIZE.0, SIZE.1)
}

fn a_flow_is_seen(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let family = variant.family;
        let input = SocketAddr::new(family.group(1), 5000);
        let output = endpoint(SocketAddr::new(family.output_group(1), 6000), "out0");
        let mut video = rule(input, "in0", std::slice::from_ref(&output));
        video.name = Some("video".into());
        relay.add_active(&video)?;
        let steady = || relay.generator().rate(RATE).count(DATAGRAMS);
        let traffic = relay.start_sending(steady, input)?;
        let mut terminal = top(relay.daemon.control_path())?;
        terminal.wait_for_line("the rule's rates in and out", SOON, |line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let rates = words.iter().skip(3).filter(|word| word.ends_with('k'));
            words.starts_with(&["1", "video"]) && rates.count() == 2
        })?;
        ensure!(terminal.is_taken()?, "the terminal is not the program's");
        terminal.press("\r")?;
        terminal.wait_for_line("its output's rate", SOON, |line| {
            line.starts_with(&output) && line.contains("k ")
        })?;
        let source = family.source(0).to_string();
        let is_source = |line: &str| line.starts_with("last ") && line.contains(&source);
        terminal.wait_for_line("who sends", SOON, is_source)?;
        terminal.press("2")?;
        terminal.wait_for_line("a worker", SOON, |line| line.contains("running"))?;
        terminal.press("4")?;
        terminal.wait_for_line("a ring", SOON, |line| line.starts_with("in0 "))?;
        terminal.press("q")?;
        let status = terminal.wait_for_end(SOON)?;
        ensure!(status.success(), "{status}");
        traffic.stop().map(drop)
    })
}

fn a_daemon_comes_and_goes() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let directory = TempDir::with_prefix("mcr-top-")?;
    let control = directory.path().join("control.sock");
    let mut daemon = Daemon::start_at(&namespace, &control, &["--cores", "0"])?;
    let mut terminal = top(&control)?;
    let is_up = |line: &str| line.starts_with("mcrd up ");
    let is_rules = |line: &str| line.contains("no rules: ");
    terminal.wait_for_line("the daemon", SOON, is_up)?;
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    terminal.wait_for_line("that it is gone", SOON, |line| line.starts_with("no mcrd listens"))?;
    terminal.wait_for_line("the last picture", SOON, is_rules)?;
    let mut daemon = Daemon::start_at(&namespace, &control, &["--cores", "0"])?;
    terminal.wait_for_line("that it is back", SOON, is_up)?;
    // Ctrl-C.
    terminal.press("\x03")?;
    let status = terminal.wait_for_end(SOON)?;
    ensure!(status.success(), "{status}");
    ensure!(daemon.terminate()?.success(), "the second daemon's end");
    Ok(())
}

fn a_signal_gives_the_terminal_back() -> Result<()> {
    let daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])?;
    let mut terminal = top(daemon.control_path())?;
    terminal.wait_for_line("the daemon", SOON, |line| line.starts_with("mcrd up "))?;
    ensure!(terminal.is_taken()?, "the terminal is not the program's");
    terminal.signal(Signal::SIGTERM)?;
    let status = terminal.wait_for_end(SOON)?;
    ensure!(status.signal() == Some(Signal::SIGTERM as i32), "{status}");
    Ok(())
}

fn without_a_terminal_it_says_so() -> Result<()> {
    let daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])?;
    let output = daemon.mcrctl(&["top"])?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success() && output.stdout.is_empty(), "{}", output.status);
    ensure!(said.starts_with("mcrctl: top needs a terminal"), "{said}");
    Ok(())
}

fn statistics_are_refreshed() -> Result<()> {
    let daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])?;
    let mut command = Command::new(program::mcrctl()?);
    command.arg("--control").arg(daemon.control_path());
    command.args(["--json", "stats", "--watch", "--interval", "0.2"]);
    let mut watch = command.stdout(Stdio::piped()).spawn()?;
    let stdout = watch.stdout.take().context("its output is piped")?;
    let uptimes = BufReader::new(stdout).lines().take(3).map(|line| {
        let document: Value = serde_json::from_str(&line?)?;
        document["uptime_s"].as_f64().context("an uptime")
    });
    let uptimes: Result<Vec<f64>> = uptimes.collect();
    watch.kill()?;
    watch.wait()?;
    let uptimes = uptimes?;
    ensure!(uptimes.len() == 3 && uptimes.is_sorted_by(|a, b| a < b), "{uptimes:?}");
    Ok(())
}
