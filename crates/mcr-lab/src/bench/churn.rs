//! Rules changed while a flow runs: how many changes a second MCR takes, and what the flow loses.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mcr_api::control::{Command, Request, Response, RuleReference};
use mcr_api::rule::{OutputSpec, RuleSpec};
use serde::Serialize;
use serde_json::Value;

use super::awake::AwakeCores;
use super::bed::Bed;
use super::measure::Method;
use super::peers::{Other, Peer};
use super::scenario::Scenario;
use super::step::{self, StepReport, Times};
use crate::limits;

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Churn {
    /// Datagrams a second of the flow, whose rule never changes.
    pub(super) per_second: f64,
    /// Changes a second that MCR answered: as many rules added as removed.
    pub(super) changes_per_second: f64,
    /// Datagrams of the flow sent meanwhile.
    pub(super) sent: u64,
    /// Of them lost.
    pub(super) lost: u64,
    /// Lost of as many just before, without changes: what the machine itself does.
    pub(super) lost_before: u64,
}

/// Measures it at a share of `clean`, the clean rate of MCR's usual scenario.
pub(super) fn measure(awake: &AwakeCores, method: Method, clean: f64) -> Result<Churn> {
    let mut bed = Bed::build(&Scenario::default(), awake)?;
    let relay = Peer::McrUring.start(&bed, Other::default())?;
    let mcr = relay.mcr()?;
    let rate = clean * limits::CHURN_LOAD;
    let before = offer(&mut bed, 1, rate, method)?;
    let stop = AtomicBool::new(false);
    let (during, changes, elapsed) = thread::scope(|scope| -> Result<_> {
        let start = Instant::now();
        let clients: Vec<_> = (0..limits::CHURN_CONNECTIONS)
            .map(|client| {
                let stream = mcr.first()?.connect()?;
                let stop = &stop;
                Ok(scope.spawn(move || change_rules(stream, client, stop)))
            })
            .collect::<Result<_>>()?;
        let during = offer(&mut bed, 2, rate, method);
        stop.store(true, Ordering::Relaxed);
        let mut changes = 0;
        for client in clients {
            changes += client.join().map_err(|_| anyhow::anyhow!("a client has panicked"))??;
        }
        Ok((during?, changes, start.elapsed()))
    })?;
    Ok(Churn {
        per_second: during.offered.per_second(),
        changes_per_second: changes as f64 / elapsed.as_secs_f64(),
        sent: during.expected,
        lost: during.lost(),
        lost_before: before.lost(),
    })
}

fn offer(bed: &mut Bed, number: u32, rate: f64, method: Method) -> Result<StepReport> {
    let times = Times {
        warm_up: Duration::from_millis(method.warm_up_ms),
        measured: Duration::from_millis(3 * method.latency_ms),
    };
    step::run(bed, number, rate, times)
}

/// By turns a client adds its rule and removes it.
fn change(client: usize, number: u64) -> Command {
    let name = format!("churn-{client}");
    if !number.is_multiple_of(2) {
        return Command::RemoveRule { rule: RuleReference::Name(name) };
    }
    let rule = RuleSpec {
        name: Some(name),
        input: format!("239.9.0.{client}:5000@in0"),
        source: None,
        outputs: vec![OutputSpec::Text(format!("239.10.0.{client}:5000@out0"))],
        exclusive: false,
    };
    Command::AddRule { rule }
}

/// Adds a rule and removes it again, until told to stop; returns the number of changes.
fn change_rules(mut stream: UnixStream, client: usize, stop: &AtomicBool) -> Result<u64> {
    let mut answers = BufReader::new(stream.try_clone()?);
    let interval =
        Duration::from_secs(1) * limits::CHURN_CONNECTIONS as u32 / limits::CHURN_PER_SECOND as u32;
    let (start, mut changes) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) || !changes.is_multiple_of(2) {
        // A client that is late does not catch up by a burst: the changes are missing then.
        thread::sleep((interval * changes as u32).saturating_sub(start.elapsed()));
        let request =
            serde_json::to_string(&Request { id: changes, command: change(client, changes) })?;
        stream.write_all(format!("{request}\n").as_bytes()).context("asking for a change")?;
        let mut answer = String::new();
        answers.read_line(&mut answer).context("the answer to a change")?;
        let answer: Response<Value> = serde_json::from_str(&answer)?;
        answer.result.with_context(|| request)?;
        changes += 1;
    }
    Ok(changes)
}
