//! Workers that fail: stopped, panicking, exiting, deaf, or told something else than was said. Each
//! fault befalls the first worker alone, under a flow on every core: what the first one loses is
//! bounded by the trial, and the second one loses nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Added, Command, RuleReference, Rules, WorkerState, WorkerStatus};
use mcr_api::rule::RuleSpec;
use mcr_core::limits::OUTPUTS_PER_RULE;
use mcr_lab::generator::RunningGenerator;
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{hiccup, program, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Relay, SOON, on_core, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Datagrams a second of each core's flow.
const RATE: u64 = 2_000;

/// Enough datagrams that a flow does not end before its trial.
const ENDLESS: u64 = 300 * RATE;

/// Datagrams that must come to a sink to show that all goes well.
const WELL: u64 = RATE / 10;

/// A stalled worker is noticed within a second; and as much again for a machine that is busy.
const STALL: Duration = Duration::from_secs(1 + 1);

/// A worker that holds something else is repaired within two ticks of the supervisor, which are
/// half a second; and as much again for a machine that is busy.
const REPAIR: Duration = Duration::from_secs(1);

/// A client is answered within this time while a worker's socket is full, on a busy machine, too.
const PROMPTLY: Duration = Duration::from_millis(500);

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let usual = [Variant::usual()];
    let suite = suite.trial("faults::the_product_cannot_be_told_to_fail", product_is_innocent);
    let suite = matrix(suite, "faults::a_stopped_worker_is_replaced", &usual, stopped);
    let suite = matrix(suite, "faults::a_client_is_told_of_a_late_worker", &usual, late);
    let suite = matrix(suite, "faults::panics_at_start_back_off", &usual, |variant| {
        dies_at_start(variant, "panic", "exit code 101")
    });
    let suite = matrix(suite, "faults::exits_in_a_loop_back_off", &usual, |variant| {
        dies_at_start(variant, "exit", "exit code 0")
    });
    let suite = matrix(suite, "faults::lost_commands_are_repaired", &usual, |variant| {
        repaired(variant, "drop 17")
    });
    let suite = matrix(suite, "faults::garbled_commands_are_repaired", &usual, |variant| {
        repaired(variant, "garble 17")
    });
    let suite = matrix(suite, "faults::altered_commands_are_repaired", &usual, |variant| {
        repaired(variant, "alter 17")
    });
    let suite = matrix(suite, "faults::a_full_socket_holds_nobody_up", &usual, full_socket);
    matrix(suite, "faults::who_cannot_be_repaired_is_replaced", &usual, beyond_repair)
}

/// A relay of the build that can fail, with a flow through each of its workers.
struct Trial {
    relay: Relay,
    sink: Sink,
    flows: Vec<RunningGenerator>,
    input: SocketAddr,
}

impl Trial {
    fn start(variant: Variant) -> Result<Self> {
        let relay = Relay::start_fallible(variant, RelayTopology::builder().build()?, &[])?;
        let inputs = relay.inputs(variant.family.group(1));
        let output = SocketAddr::new(variant.family.output_group(1), 6000);
        for input in BTreeSet::from_iter(&inputs) {
            relay.add_active(&rule(*input, "in0", &[endpoint(output, "out0")]))?;
        }
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        let mut flows = Vec::new();
        for ((stream, &core), &input) in (0..).zip(&relay.cores).zip(&inputs) {
            let generator = relay.generator().rate(RATE).count(ENDLESS).flow(stream, input);
            flows.push(on_core(core, || generator.start())?);
        }
        let trial = Self { relay, sink, flows, input: inputs[0] };
        trial.flows()?;
        Ok(trial)
    }

    /// Goes through the fault, and after it all must be well: every worker in sync, both flows
    /// relayed, the second one whole, the first one whole but for what the trial names.
    fn run(mut self, fault: impl FnOnce(&mut Self) -> Result<FirstFlow>) -> Result<()> {
        let done = fault(&mut self).and_then(|first| self.finish(first));
        let log = self.relay.daemon.log_lines().join("\n");
        done.with_context(|| format!("mcrd's log:\n{log}\n"))?;
        ensure!(self.relay.daemon.terminate()?.success(), "the daemon's end");
        Ok(())
    }

    fn finish(&mut self, first: FirstFlow) -> Result<()> {
        self.relay.wait_in_sync()?;
        self.flows()?;
        let mut sent = Vec::new();
        for flow in self.flows.drain(..) {
            sent.push(flow.stop()?.total());
        }
        self.relay.settled(sent.iter().sum())?;
        let report = self.sink.report()?;
        for (stream, sent) in (0..).zip(sent) {
            let flow = report.stream(stream);
            let untouched = stream > 0 || first == FirstFlow::Untouched;
            ensure!(!untouched || flow.is_perfect(sent), "of {sent}: {report:#?}");
            ensure!((flow.duplicated, flow.reordered, flow.corrupt) == (0, 0, 0), "{report:#?}");
        }
        Ok(())
    }

    /// Waits until more of every flow has come.
    fn flows(&self) -> Result<()> {
        let before = self.sink.report()?;
        wait::until("every flow goes through", SOON, || {
            let now = self.sink.report()?;
            let more = |stream| now.stream(stream).unique - before.stream(stream).unique;
            Ok((0..self.flows.len() as u32).all(|stream| more(stream) >= WELL))
        })
    }

    /// The first worker, at which all faults are directed.
    fn rules(&self) -> Result<usize> {
        Ok(self.relay.daemon.ask::<Rules>(&Command::ListRules {})?.rules.len())
    }

    fn first(&self) -> Result<WorkerStatus> {
        Ok(self.relay.workers()?.workers[0].clone())
    }

    fn signal_first(&self, signal: Signal) -> Result<()> {
        let pid = self.first()?.pid.context("the first worker has no process")?;
        Ok(kill(Pid::from_raw(pid as i32), signal)?)
    }

    fn order(&self, fault: &str) -> Result<()> {
        self.relay.daemon.order_faults(&format!("0 {fault}\n"))
    }

    fn forgive(&self) -> Result<()> {
        self.relay.daemon.order_faults("")
    }

    /// The `n`th of the rules beside the flows' own.
    fn other_rule(&self, n: u16) -> RuleSpec {
        let input = SocketAddr::new(self.input.ip(), 10_000 + n);
        let output = SocketAddr::new(self.relay.variant.family.output_group(2), 10_000 + n);
        rule(input, "in0", &[endpoint(output, "out0")])
    }

    /// The `n`th of the rules whose commands are the longest.
    fn wide_rule(&self, n: u16) -> RuleSpec {
        let input = SocketAddr::new(self.input.ip(), 20_000 + n);
        let group = self.relay.variant.family.output_group(3);
        let ports = (0..OUTPUTS_PER_RULE as u16).map(|output| 10_000 + output);
        let to = |port| endpoint(SocketAddr::new(group, port), "out0");
        rule(input, "in0", &ports.map(to).collect::<Vec<_>>())
    }

    fn add(&self, n: u16) -> Result<Added> {
        self.relay.daemon.ask(&Command::AddRule { rule: self.other_rule(n) })
    }
}

/// What became of the flow through the worker that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstFlow {
    Untouched,
    Interrupted,
}

fn product_is_innocent() -> Result<()> {
    let holds = |program| -> Result<bool> {
        let mark = b"this build fails when it is told to";
        Ok(fs::read(program)?.windows(mark.len()).any(|window| window == mark))
    };
    ensure!(holds(program::mcrd_faults()?)?, "the mark is not found where it must be");
    ensure!(!holds(program::mcrd()?)?, "the product can be told to fail");
    Ok(())
}

/// Alive, but silent.
fn stopped(variant: Variant) -> Result<()> {
    Trial::start(variant)?.run(|trial| {
        let begun = Instant::now();
        trial.signal_first(Signal::SIGSTOP)?;
        trial.relay.daemon.wait_for_log("because its loop stood still", SOON)?;
        let noticed = hiccup::bound("a stopped worker is noticed", begun, STALL)?;
        println!("a stopped worker was noticed and ended after {noticed:?}");
        wait::until("it is replaced", SOON, || Ok(trial.first()?.restarts == 1))?;
        let exit = trial.first()?.last_exit;
        ensure!(
            exit.as_deref() == Some("killed by signal 9, because its loop stood still"),
            "{exit:?}"
        );
        Ok(FirstFlow::Interrupted)
    })
}

/// A worker that stands still has not taken a rule over, and the client is told.
fn late(variant: Variant) -> Result<()> {
    Trial::start(variant)?.run(|trial| {
        ensure!(trial.add(0)?.applied, "both workers run");
        trial.signal_first(Signal::SIGSTOP)?;
        let added = trial.add(1)?;
        ensure!(added.created && !added.applied, "{added:?}");
        wait::until("it is replaced", SOON, || Ok(trial.first()?.restarts == 1))?;
        trial.relay.wait_in_sync()?;
        ensure!(trial.first()?.rules == trial.relay.shares()?[0], "{:?}", trial.first()?);
        ensure!(trial.add(2)?.applied, "the new worker takes rules over");
        Ok(FirstFlow::Interrupted)
    })
}

/// It dies, and each that takes its place dies at its start.
fn dies_at_start(variant: Variant, fault: &str, exit: &str) -> Result<()> {
    Trial::start(variant)?.run(|trial| {
        trial.order(fault)?;
        trial.signal_first(Signal::SIGKILL)?;
        for wait in ["at once", "in 100 ms", "in 200 ms", "in 400 ms", "in 800 ms", "in 1600 ms"] {
            trial.relay.daemon.wait_for_log(&format!("another one starts {wait}"), SOON)?;
        }
        let status = trial.first()?;
        ensure!(status.state == WorkerState::BackingOff && status.pid.is_none(), "{status:?}");
        ensure!(status.backoff_left_ms.is_some_and(|left| left <= 1600), "{status:?}");
        ensure!(status.last_exit.as_deref() == Some(exit), "{status:?}");
        // The kill's replacement and four more; the sixth is awaited.
        ensure!(status.restarts == 5, "{status:?}");
        if fault == "panic" {
            // Why it ended stands before that it did.
            let log = trial.relay.daemon.log_lines();
            let find = |words: &str| log.iter().position(|line| line.contains(words));
            let panic = find("[panic] worker 0: ").context("no last words")?;
            ensure!(log[panic].contains("ERROR") && log[panic].contains("a panic to order"));
            ensure!(find("exit code 101").is_some_and(|end| panic < end), "{log:#?}");
        }
        trial.forgive()?;
        wait::until("it is replaced", SOON, || Ok(trial.first()?.state == WorkerState::Running))?;
        ensure!(trial.first()?.restarts == 6, "{:?}", trial.first()?);
        Ok(FirstFlow::Interrupted)
    })
}

/// Rules come and go while some of what the first worker is told goes wrong.
fn repaired(variant: Variant, fault: &str) -> Result<()> {
    const RULES: u16 = 40;
    Trial::start(variant)?.run(|trial| {
        trial.order(fault)?;
        for n in 0..RULES {
            let added = trial.add(n)?.rule;
            if n % 2 == 0 {
                let rule = RuleReference::Id(added);
                let _: serde_json::Value = trial.relay.daemon.ask(&Command::RemoveRule { rule })?;
            }
        }
        trial.forgive()?;
        let begun = Instant::now();
        trial.relay.wait_in_sync()?;
        let took = hiccup::bound("the worker is repaired", begun, REPAIR)?;
        println!("{fault}: in sync {took:?} after the fault's end, {:?}", trial.first()?);
        let now = trial.relay.workers()?.workers;
        let shares = trial.relay.shares()?;
        ensure!(now.iter().map(|worker| worker.rules).eq(shares.clone()), "{now:?}, {shares:?}");
        ensure!(now[0].repairs > 0 && now[0].restarts == 0, "{now:?}");
        ensure!((now[1].repairs, now[1].restarts) == (0, 0), "{now:?}");
        Ok(FirstFlow::Untouched)
    })
}

/// A worker that reads nothing cannot be repaired.
fn beyond_repair(variant: Variant) -> Result<()> {
    Trial::start(variant)?.run(|trial| {
        trial.order("deaf")?;
        ensure!(!trial.add(0)?.applied, "it cannot have heard of the rule");
        wait::until("it is given up", SOON, || Ok(trial.first()?.restarts > 0))?;
        let status = trial.first()?;
        let exit = "killed by signal 9, because it did not take over the rule set";
        ensure!(status.last_exit.as_deref() == Some(exit), "{status:?}");
        // The first attempt found it behind; two more did not help.
        ensure!(status.repairs == 3, "{status:?}");
        trial.forgive()?;
        trial.relay.wait_in_sync()?;
        Ok(FirstFlow::Interrupted)
    })
}

/// More commands than the socket of a worker that reads none can take.
fn full_socket(variant: Variant) -> Result<()> {
    const RULES: u16 = 24;
    Trial::start(variant)?.run(|trial| {
        let before = trial.rules()?;
        trial.order("deaf")?;
        let trial = &*trial;
        thread::scope(|scope| -> Result<()> {
            let adds: Vec<_> = (0..RULES)
                .map(|n| {
                    let rule = trial.wide_rule(n);
                    scope.spawn(move || trial.relay.daemon.ask(&Command::AddRule { rule }))
                })
                .collect();
            // On a slow machine a tick may come before the socket is full; what is said from then
            // on belongs to the synchronisation, which waits for room and loses nothing.
            wait::until("commands are lost, or held back", SOON, || {
                let first = trial.first()?;
                Ok(first.commands_lost + first.repairs > 0)
            })?;
            let begun = Instant::now();
            trial.relay.workers()?;
            hiccup::bound("another client is answered", begun, PROMPTLY)?;
            wait::until("the other worker has all", SOON, || {
                let now = trial.relay.workers()?.workers;
                let shares = trial.relay.shares()?;
                let all = trial.rules()? == before + usize::from(RULES);
                Ok(all && now[1].in_sync && now[1].rules == shares[1])
            })?;
            trial.forgive()?;
            let join = |add: ScopedJoinHandle<Result<Added>>| add.join().expect("no panic");
            let added = adds.into_iter().map(join).collect::<Result<Vec<_>>>()?;
            ensure!(added.iter().all(|added| added.created), "{added:?}");
            Ok(())
        })?;
        trial.relay.wait_in_sync()?;
        let first = trial.first()?;
        println!("after the full socket: {first:?}");
        let share = trial.relay.shares()?[0];
        ensure!(first.rules == share && first.repairs > 0, "{first:?} of {share}");
        // On a machine so slow that a second went by, it was taken to be stuck.
        let replaced = first.restarts > 0;
        Ok(if replaced { FirstFlow::Interrupted } else { FirstFlow::Untouched })
    })
}
