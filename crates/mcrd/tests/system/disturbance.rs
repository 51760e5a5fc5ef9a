//! Changes on one interface beside traffic on another, and many interfaces at once: nobody waits
//! for calls that wait in the kernel.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, Reloaded, RuleState, Rules, Selection, Stats};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{hiccup, link, wait};
use tempfile::TempDir;

use crate::fixture::{Relay, SOON, Share, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let usual = [Variant::usual()];
    suite = matrix(suite, "disturbance::another_interface_changes", &usual, another_changes);
    suite.trial("disturbance::two_hundred_interfaces", two_hundred_interfaces)
}

/// Datagrams a second of each worker's stream.
const RATE: u64 = 5_000;

/// Slots of the rings: they hold what comes in 25 ms, less than one change took when the loops
/// waited for grace periods.
const RINGS: &str = "[rings]\nslots = 128\n";
const RING_BYTES: u64 = 128 * 2_048;

/// Enough datagrams for every round.
const ENDLESS: u64 = 120 * RATE;

/// Rounds of which one must pass: the machine itself may stand still in others.
const ROUNDS: usize = 8;

/// How long the supervisor's loop may be busy in one turn.
const LONGEST_TURN: Duration = Duration::from_millis(20);

/// Rules come and go, the link flaps, the MTU changes, and the file is read again: ten times each
/// on `in1`. The rings of `in0` must not overflow.
fn another_changes(variant: Variant) -> Result<()> {
    let directory = TempDir::new()?;
    let file = directory.path().join("mcr.toml");
    fs::write(&file, RINGS)?;
    let net = RelayTopology::builder().ingress_links(2).build()?;
    let arguments = ["--config", file.to_str().context("temporary paths are text")?];
    let mut relay = Relay::start_alone_with(variant, net, &arguments)?;
    relay.try_out(|relay| {
        let begun = Instant::now();
        let input = (variant.family.group(1), 5000).into();
        let output = endpoint((variant.family.output_group(1), 6000).into(), "out0");
        relay.add_active(&rule(input, "in0", std::slice::from_ref(&output)))?;
        let generator = || relay.generator().rate(RATE).count(ENDLESS);
        let traffic = relay.start_sending(generator, input)?;
        let changes: [(&str, &dyn Fn() -> Result<()>); 4] = [
            ("rules come and go", &|| come_and_go(relay, &output)),
            ("the link flaps", &|| link::flap(&relay.net.relay, "in1", 1)),
            ("the MTU changes", &|| other_mtu(relay)),
            ("the file is read again", &|| other_file(relay, &file, &output)),
        ];
        let quiet = (variant.family.group(7), 7000).into();
        let kept = relay.add_active(&rule(quiet, "in1", std::slice::from_ref(&output)))?;
        wait::until(
            "the rings and the spare ones have the size that the file asks for",
            SOON,
            || {
                let stats: Stats = relay.daemon.ask(&Command::GetStats(Selection::default()))?;
                Ok(stats.ring_memory_bytes == 2 * (relay.cores.len() as u64 + 1) * RING_BYTES)
            },
        )?;
        for (what, change) in changes {
            lose_nothing(relay, what, change)?;
        }
        relay.remove(kept.rule)?;
        lose_nothing(relay, "the only rule comes and goes", &|| come_and_go(relay, &output))?;
        let sent = traffic.stop()?;
        relay.settled(sent)?;
        short_turns(&relay.daemon, begun)
    })?;
    relay.stop().map(drop)
}

/// Makes a change ten times in a round; in one of some rounds nothing is dropped.
fn lose_nothing(relay: &Relay, what: &str, change: &dyn Fn() -> Result<()>) -> Result<()> {
    let mut losses = Vec::new();
    for _ in 0..ROUNDS {
        let before = kernel_drops(relay)?;
        for _ in 0..10 {
            change()?;
        }
        // The workers count the kernel's drops ten times a second.
        std::thread::sleep(Duration::from_millis(250));
        let lost = kernel_drops(relay)? - before;
        losses.push(lost);
        if lost == 0 {
            println!("{what}, ten times: lost {losses:?}");
            return Ok(());
        }
    }
    anyhow::bail!("{what}, ten times: lost {losses:?} datagrams of another interface")
}

fn kernel_drops(relay: &Relay) -> Result<u64> {
    let stats: Stats = relay.daemon.ask(&Command::GetStats(Selection::default()))?;
    Ok(stats.totals.kernel_drops)
}

fn come_and_go(relay: &Relay, output: &str) -> Result<()> {
    let input = (relay.variant.family.group(9), 9000).into();
    let added = relay.add_active(&rule(input, "in1", &[output.to_owned()]))?;
    relay.remove(added.rule)
}

/// To another size of slots, and back.
fn other_mtu(relay: &Relay) -> Result<()> {
    for mtu in [3_000, 1_500] {
        link::set_mtu(&relay.net.relay, "in1", mtu)?;
        relay.wait_in_sync()?;
    }
    Ok(())
}

fn other_file(relay: &Relay, file: &Path, output: &str) -> Result<()> {
    let input = endpoint((relay.variant.family.group(8), 8000).into(), "in1");
    let rule = format!("{RINGS}[[rule]]\ninput = \"{input}\"\noutputs = [\"{output}\"]\n");
    for text in [&rule, RINGS] {
        fs::write(file, text)?;
        let _: Reloaded = relay.daemon.ask(&Command::Reload {})?;
    }
    Ok(())
}

/// No turn of the supervisor's loop took long since `begun`, but for what the machine stood still.
fn short_turns(daemon: &Daemon, begun: Instant) -> Result<()> {
    let workers: mcr_api::control::Workers = daemon.ask(&Command::ListWorkers {})?;
    let longest = Duration::from_micros(workers.supervisor_longest_turn_us);
    let stood_still = hiccup::stood_still(begun);
    println!("the supervisor's longest turn: {longest:?}");
    ensure!(
        longest <= LONGEST_TURN + stood_still,
        "a turn took {longest:?}, while the machine stood still for {stood_still:?} in all"
    );
    Ok(())
}

/// Ends of veth pairs, each with a rule.
const INTERFACES: usize = 200;

/// Interfaces in the file at the start; the rest comes by a reload.
const AT_START: usize = 160;

/// How long a start and an end may take.
const QUICK: Duration = Duration::from_secs(1);

/// How long a client may wait meanwhile.
const ANSWERED: Duration = Duration::from_millis(50);

/// Times that the whole is tried, of which one must keep every bound: the host of a virtual machine
/// gives memory late now and then.
const ATTEMPTS: usize = 3;

fn two_hundred_interfaces() -> Result<()> {
    let _machine = Share::all();
    let mut outcome = start_reload_and_end();
    for _ in 1..ATTEMPTS {
        if let Err(error) = &outcome {
            println!("tried again: {error:#}");
            outcome = start_reload_and_end();
        }
    }
    outcome
}

fn start_reload_and_end() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    for pair in (0..INTERFACES).step_by(2) {
        let [near, far] = [pair, pair + 1].map(|number| format!("v{number}"));
        link::veth_pair((&namespace, &near), (&namespace, &far))?;
        link::set_up(&namespace, &near)?;
        link::set_up(&namespace, &far)?;
    }
    link::wait_until_up(&namespace, &format!("v{}", INTERFACES - 1))?;
    let directory = TempDir::new()?;
    let file = directory.path().join("mcr.toml");
    fs::write(&file, rules(AT_START)?)?;
    let begun = Instant::now();
    let path = file.to_str().context("temporary paths are text")?;
    let mut daemon = Daemon::start(&namespace, &["--cores", "0,1", "--config", path])?;
    let ready = hiccup::bound("the start", begun, QUICK)?;
    all_active(&daemon, AT_START)?;
    fs::write(&file, rules(INTERFACES)?)?;
    let slowest = std::thread::scope(|scope| {
        let reload = scope.spawn(|| daemon.ask::<Reloaded>(&Command::Reload {}));
        let mut slowest = Duration::ZERO;
        loop {
            let asked = Instant::now();
            let Rules { rules } = daemon.ask(&Command::ListRules {})?;
            slowest = slowest.max(hiccup::bound("a list", asked, ANSWERED)?);
            if rules.len() == INTERFACES && reload.is_finished() {
                break;
            }
        }
        reload.join().expect("it does not panic")?;
        anyhow::Ok(slowest)
    })?;
    all_active(&daemon, INTERFACES)?;
    short_turns(&daemon, begun)?;
    let ending = Instant::now();
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    let ended = hiccup::bound("the end", ending, QUICK)?;
    println!("{INTERFACES} interfaces: ready {ready:?}, list {slowest:?} at most, ended {ended:?}");
    Ok(())
}

fn rules(count: usize) -> Result<String> {
    let mut text = String::new();
    for number in 0..count {
        let input = format!("239.1.{}.{}:5000@v{number}", number / 250, 1 + number % 250);
        writeln!(text, "[[rule]]\ninput = \"{input}\"\noutputs = [\"239.2.2.2:6000@v0\"]")?;
    }
    Ok(text)
}

fn all_active(daemon: &Daemon, count: usize) -> Result<()> {
    let Rules { rules } = daemon.ask(&Command::ListRules {})?;
    let active = rules.iter().filter(|rule| rule.state == RuleState::Active).count();
    ensure!(active == count, "{active} of {count} rules are active: {:?}", rules.first());
    Ok(())
}
