//! Steering by hash: each worker has its share of the rules, and all that comes for them.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Result, ensure};
use mcr_api::control::Steering;
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::payload::payload;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;

use crate::fixture::{Relay, delivered, on_core, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    matrix(suite, "steering::each_worker_has_its_share", &both, each_worker_has_its_share)
        .trial("steering::order_is_kept_by_hash", order_is_kept_by_hash)
        .trial("steering::the_file_chooses_and_the_command_line_overrules", the_file_chooses)
}

/// Datagrams of a sender that moves between cores, and how many it sends on one before it moves.
const MOVED: u64 = 20_000;
const ON_ONE_CORE: u64 = 50;

/// A sender moves between cores. By CPU its datagrams come to both workers, which is shown; by hash
/// one worker has them all, and keeps their order.
fn order_is_kept_by_hash() -> Result<()> {
    for steering in [Steering::Cpu, Steering::Hash] {
        let variant = Variant { steering, ..Variant::usual() };
        Relay::run(variant, |relay| {
            let input = SocketAddr::new(variant.family.ingress(0), 5000);
            let output = SocketAddr::new(variant.family.output_group(1), 6000);
            relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
            let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
            let sender =
                relay.net.source.enter(|| UdpSocket::bind((variant.family.source(0), 0)))?;
            for first in (0..MOVED).step_by(ON_ONE_CORE as usize) {
                let core = relay.cores[(first / ON_ONE_CORE % 2) as usize];
                on_core(core, || {
                    for sequence in first..first + ON_ONE_CORE {
                        sender.send_to(&payload(1, sequence, 100), input)?;
                    }
                    Ok(())
                })?;
            }
            let stats = relay.settled(MOVED)?;
            let workers = stats.rules[0].source_workers;
            let flow = sink.finish()?.stream(1);
            println!("{steering}: {workers} workers, {} of {MOVED} reordered", flow.reordered);
            ensure!(flow.unique == MOVED, "{flow:?}");
            match steering {
                Steering::Cpu => ensure!(workers == 2, "{workers} workers"),
                Steering::Hash => ensure!((workers, flow.reordered) == (1, 0), "{flow:?}"),
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Rules, and flows at a time for each core that sends.
const RULES: u8 = 12;

/// Flows from every core at once, to rules of every worker. Each flow arrives whole and in order;
/// each worker has counted what came for its rules, and nothing found none.
fn each_worker_has_its_share(variant: Variant) -> Result<()> {
    Relay::run_on(variant, RelayTopology::builder().build()?, &[], |relay| {
        let input = |n| SocketAddr::new(variant.family.group(n), 5000 + u16::from(n) % 3);
        let output = |n| SocketAddr::new(variant.family.output_group(n), 6000);
        for n in 1..=RULES {
            relay.add_active(&rule(input(n), "in0", &[endpoint(output(n), "out0")]))?;
        }
        let sinks = (1..=RULES)
            .map(|n| Sink::multicast(&relay.net.sinks[0], "sink0", output(n)))
            .collect::<Result<Vec<_>>>()?;
        let traffic = (1..=RULES)
            .map(|n| relay.start_sending(|| relay.generator().rate(1_000).count(250), input(n)))
            .collect::<Result<Vec<_>>>()?;
        let workers = relay.cores.len();
        let (mut rules, mut matched) = (vec![0_u64; workers], vec![0_u64; workers]);
        let mut total = 0;
        for ((n, sink), traffic) in (1..=RULES).zip(sinks).zip(traffic) {
            let sent = traffic.finish()?;
            delivered(sink, sent)?;
            total += sent.total();
            let owner = relay.owner(input(n));
            for worker in (0..workers).filter(|worker| owner.is_none_or(|o| o == *worker)) {
                rules[worker] += 1;
                matched[worker] += owner.map_or(sent.of_each, |_| sent.total());
            }
        }
        ensure!(rules.iter().all(|held| *held > 0), "no test of shares: {rules:?}");
        let held: Vec<u64> = relay.workers()?.workers.iter().map(|w| w.rules).collect();
        ensure!(held == rules, "of {RULES} rules the workers have {held:?}, not {rules:?}");
        let stats = relay.settled(total)?;
        let shares: Vec<u64> = stats.cores.iter().map(|core| core.counters.matched).collect();
        ensure!(shares == matched, "shares {shares:?}, not {matched:?}");
        // A rule that is gone is gone from its worker, and the others' generations go on.
        relay.remove(1)?;
        let left: u64 = relay.workers()?.workers.iter().map(|w| w.rules).sum();
        let gone = relay.owner(input(1)).map_or(workers as u64, |_| 1);
        ensure!(left == rules.iter().sum::<u64>() - gone, "{left} rules are left");
        Ok(())
    })
}

fn the_file_chooses() -> Result<()> {
    let directory = tempfile::TempDir::new()?;
    let path = directory.path().join("mcr.toml");
    std::fs::write(&path, "[steering]\nmode = \"hash\"\n")?;
    let path = path.to_string_lossy();
    let namespace = Namespace::new("relay")?;
    for (more, hash) in [(&[][..], true), (&["--steering", "cpu"], false)] {
        let arguments = [&["--cores", "0", "--config", &path], more].concat();
        let mut daemon = Daemon::start(&namespace, &arguments)?;
        ensure!(daemon.log_contains("1 worker on core 0 steered by hash") == hash);
        let shown = daemon.mcrctl(&["workers"])?;
        let text = String::from_utf8_lossy(&shown.stdout);
        ensure!(text.contains("steered by hash") == hash, "{text}");
        ensure!(daemon.terminate()?.success(), "the daemon's end");
    }
    Ok(())
}
