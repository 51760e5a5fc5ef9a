//! Faults of those who use the control socket.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Added, Command, Removed, Request, RuleReference, RuleState, Version};
use mcr_api::rule::{OutputSpec, RuleSpec};
use mcr_sys::process::monotonic_ns;
use nix::sys::signal::Signal;

use super::{Outcome, Scene, Span};
use crate::limits;
use crate::soak::bed::SILENT;
use crate::soak::flows::LINKS;
use crate::soak::relay::{Relay, signal};
use crate::soak::schedule::Fault;
use crate::soak::window::Concern;

/// Rules that have nothing to do with the flows come and go, on the same interfaces.
pub(super) fn change_rules(scene: &mut Scene) -> Result<()> {
    let daemon = &scene.relay.daemon;
    let mut ids = Vec::new();
    for number in 0..limits::soak::RULES {
        let link = number as u8 % LINKS;
        let output = format!("239.9.1.{number}:9000@out{link}");
        let rule = rule(format!("239.9.0.{number}:9000@in{link}"), vec![output]);
        ids.push(daemon.ask::<Added>(&Command::AddRule { rule })?.rule);
    }
    for id in ids {
        let rule = RuleReference::Id(id);
        daemon.ask::<Removed>(&Command::RemoveRule { rule })?;
    }
    Ok(())
}

/// The only rule of another interface comes and goes, and the rings of that interface with it, as
/// fast as a client is answered.
pub(super) fn churn(scene: &mut Scene) -> Result<()> {
    let daemon = &scene.relay.daemon;
    let [silent, _] = SILENT;
    let only = rule(format!("239.9.3.1:9000@{silent}"), vec!["239.9.4.1:9000@out0".into()]);
    let begun = Instant::now();
    while begun.elapsed() < limits::soak::CHURN {
        let added: Added = daemon.ask(&Command::AddRule { rule: only.clone() })?;
        ensure!(added.state == RuleState::Active, "{:?}", added.problems);
        let rule = RuleReference::Id(added.rule);
        daemon.ask::<Removed>(&Command::RemoveRule { rule })?;
    }
    Ok(())
}

/// Clients that send what is no request, half a one, too long a one; that ask and do not read;
/// and that say nothing. Others are served all the same.
pub(super) fn misbehave(scene: &mut Scene, hold: Duration) -> Result<()> {
    let daemon = &scene.relay.daemon;
    let ask_without_end = "{\"id\":1,\"command\":\"GetStats\"}\n".repeat(limits::soak::PIPELINED);
    let writings: [&[u8]; 5] = [
        b"\x00\xff garbage \n\n{}\n[]\n{\"id\":1}\n",
        b"{\"id\":1,\"command\":\"AddRule\",\"rule\":{",
        &vec![b'x'; 2 * mcr_api::limits::MAX_REQUEST_BYTES],
        ask_without_end.as_bytes(),
        b"",
    ];
    let mut clients = Vec::new();
    for writing in writings {
        let mut client = daemon.connect()?;
        client.set_write_timeout(Some(limits::soak::CLIENT))?;
        // Whether the daemon takes it all, some of it or nothing is its own affair.
        let _ = client.write_all(writing);
        clients.push(client);
    }
    thread::sleep(hold);
    daemon.ask::<Version>(&Command::GetVersion {}).context("beside bad clients")?;
    Ok(())
}

/// A rule with so many kinds of egress that telling a stopped worker of it overflows its command
/// socket. What was lost must be repaired when it goes on; and nothing that it had is touched.
pub(super) fn fill_command_socket(
    scene: &mut Scene,
    fault: &Fault,
    outcome: &mut Outcome,
) -> Result<()> {
    let worker = scene.relay.worker(fault.worker)?;
    let pid = worker.pid.context("a running worker has a process")?;
    let begin_ns = monotonic_ns();
    signal(pid, Signal::SIGSTOP)?;
    let client = begin_to_add(&scene.relay, wide_rule());
    thread::sleep(limits::soak::STANDSTILL);
    signal(pid, Signal::SIGCONT)?;
    let client = client?;
    // A busy machine may have made it stand still for so long that it is replaced; else nothing
    // is lost, since its rings hold what comes meanwhile.
    scene.relay.wait_for_rules(1)?;
    if scene.relay.worker(fault.worker)?.pid != Some(pid) {
        let span = Span::of_replacement(begin_ns, &worker, true);
        outcome.announce(fault, Concern::Worker(fault.worker), span);
        scene.deaths += 1;
    }
    drop(client);
    let rule = RuleReference::Name(WIDE.into());
    scene.relay.daemon.ask::<Removed>(&Command::RemoveRule { rule })?;
    Ok(())
}

/// The name of the rule with very many outputs.
const WIDE: &str = "wide";

fn wide_rule() -> RuleSpec {
    let output = |number: u16| {
        // Each combination of TTL and DSCP needs sockets of its own.
        let (ttl, dscp) = (1 + number % 250, number / 250);
        format!("239.9.2.1:{}@out0,ttl={ttl},dscp={dscp}", 10_000 + number)
    };
    let outputs = (0..limits::soak::WIDE_OUTPUTS).map(output).collect();
    RuleSpec { name: Some(WIDE.into()), ..rule("239.9.0.1:9001@in0".into(), outputs) }
}

pub(super) fn rule(input: String, outputs: Vec<String>) -> RuleSpec {
    let outputs = outputs.into_iter().map(OutputSpec::Text).collect();
    RuleSpec { name: None, input, source: None, outputs, exclusive: false }
}

/// Asks without waiting for the answer, which waits for the workers.
fn begin_to_add(relay: &Relay, rule: RuleSpec) -> Result<UnixStream> {
    let mut client = relay.daemon.connect()?;
    let request = Request { id: 1, command: Command::AddRule { rule } };
    client.write_all(&request.to_line())?;
    Ok(client)
}
