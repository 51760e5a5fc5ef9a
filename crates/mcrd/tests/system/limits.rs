//! What is asked for beyond a limit: said, with the limit and the remedy, and healed by it.

use anyhow::{Result, ensure};
use mcr_api::control::{Added, Command, Removed, RuleReference, RuleStatus, Rules};
use mcr_api::rule::{OutputSpec, RuleSpec};
use mcr_core::limits;
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::wait;

use crate::fixture::SOON;

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite
        .trial("limits::kinds_of_egress_sockets", kinds_of_egress_sockets)
        .trial("limits::outputs_of_a_rule", outputs_of_a_rule)
}

/// Each kind of egress has its socket for every worker: by TTL and DSCP there are many.
fn rule(number: usize, kinds: impl Iterator<Item = usize>) -> RuleSpec {
    let output = |kind: usize| {
        let (ttl, dscp) = (1 + kind % 255, kind / 255);
        OutputSpec::Text(format!("239.2.{}.1:{}@lo,ttl={ttl},dscp={dscp}", number, 1 + kind))
    };
    RuleSpec {
        name: None,
        input: format!("239.1.{number}.1:5000@lo"),
        source: None,
        outputs: kinds.map(output).collect(),
        exclusive: false,
    }
}

fn kinds_of_egress_sockets() -> Result<()> {
    let mut daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])?;
    let kinds = limits::OUTPUTS_PER_RULE;
    let rules = limits::EGRESSES / kinds;
    let add = |rule: RuleSpec| daemon.ask::<Added>(&Command::AddRule { rule });
    let mut first = None;
    for number in 0..rules {
        let added = add(rule(number, number * kinds..(number + 1) * kinds))?;
        ensure!(added.problems.is_empty(), "{:?}", added.problems);
        first.get_or_insert(added.rule);
    }
    let beyond = add(rule(rules, limits::EGRESSES..=limits::EGRESSES))?;
    let said = "limit reached: 4096 kinds of egress sockets; remove rules";
    ensure!(beyond.problems.len() == 1 && beyond.problems[0].contains(said), "{beyond:?}");
    // A kind that is there is not a new one.
    let shared = add(rule(rules + 1, 0..1))?;
    ensure!(shared.problems.is_empty(), "{shared:?}");
    let rule = RuleReference::Id(first.unwrap_or_default());
    let _: Removed = daemon.ask(&Command::RemoveRule { rule })?;
    wait::until("the rule beyond the limit has its socket", SOON, || {
        let Rules { rules } = daemon.ask(&Command::ListRules {})?;
        let is_well = |rule: &RuleStatus| rule.id == beyond.rule && rule.problems.is_empty();
        Ok(rules.iter().any(is_well))
    })?;
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

fn outputs_of_a_rule() -> Result<()> {
    let mut daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])?;
    let too_many = rule(0, 0..=limits::OUTPUTS_PER_RULE);
    let refused = daemon.ask::<Added>(&Command::AddRule { rule: too_many });
    let why = refused.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(why.contains("1025 outputs") && why.contains("1024"), "{why:?}");
    ensure!(daemon.ask::<Rules>(&Command::ListRules {})?.rules.is_empty(), "it is there");
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}
