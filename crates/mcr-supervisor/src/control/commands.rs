//! The effect of each command on the state.

use std::sync::Arc;

use mcr_api::control::{
    Answer, Command, ErrorBody, ErrorCode, Events, PROTOCOL_VERSION, Removed, RuleReference,
    Selection, Stats, Subscribed, Version, Workers as WorkersAnswer,
};
use mcr_api::log::{Area, Level};
use mcr_api::rule::RuleSpec;
use mcr_core::ids::RuleId;
use mcr_core::ledger::Header;
use mcr_core::rule::Rule;
use mcr_core::rule_set::Refused;
use tokio::sync::oneshot;
use tracing::info;

use super::{Applying, Asker, Done, Part, Peer, Reply, traces};
use crate::audit::{By, Change};
use crate::log::RULES;
use crate::stats::report;
use crate::supervisor::Supervisor;

/// Carries a command out where its client may ask for it, but for what takes longer: that is
/// answered, and audited, when it is done.
pub(crate) fn answer(
    supervisor: &mut Supervisor,
    command: Command,
    from: Arc<Peer>,
    asker: oneshot::Sender<Reply>,
) {
    let is_allowed = command.access() <= from.access;
    let change = Change::of(&command, By::Client(from));
    let asker = Asker { change, reply: Some(asker) };
    if !is_allowed {
        return asker.answer(&mut supervisor.audit, Err(forbidden()).into());
    }
    let reply = match command {
        Command::Reload {} => return supervisor.reload(asker),
        Command::GetVersion {} => version(),
        Command::AddRule { rule } => match add_rule(supervisor, rule) {
            Ok((rule, created)) => {
                let rules = std::iter::once(rule);
                return supervisor.answer_later(asker, Done::Added { rule, created }, rules);
            }
            Err(refused) => Err(refused).into(),
        },
        Command::RemoveRule { rule } => remove_rule(supervisor, &rule),
        Command::ListRules {} => {
            return supervisor.answer_in_slices(asker, Part::Rules(Vec::new()));
        }
        Command::ListWorkers {} => {
            let holdings = &supervisor.state.holdings;
            Ok(Answer::Workers(WorkersAnswer {
                generation: holdings.generation(),
                steering: holdings.steering().to_string(),
                supervisor_longest_turn_us: supervisor.turns.longest().as_micros() as u64,
                workers: supervisor.workers.statuses(holdings),
            }))
            .into()
        }
        Command::GetStats(selection) => match get_stats(supervisor, &selection) {
            Ok(stats) if selection.rule.is_none() => {
                return supervisor.answer_in_slices(asker, Part::Stats(stats, selection));
            }
            stats => stats.map(Answer::Stats).into(),
        },
        Command::GetEvents {} => {
            Ok(Answer::Events(Events { events: supervisor.state.news.recent() })).into()
        }
        Command::Subscribe { after } => subscribe(supervisor, after),
        Command::SetLogLevel { area, level } => set_log_level(supervisor, area.as_deref(), level),
        Command::EnableTrace(order) => traces::enable(supervisor, order),
        Command::DisableTrace(which) => traces::disable(supervisor, which),
        Command::GetTrace(reading) => traces::events(supervisor, reading),
    };
    asker.answer(&mut supervisor.audit, reply);
}

fn forbidden() -> ErrorBody {
    let cause = "this socket is for looking only: whoever may change things uses the control \
                 socket itself (mcrctl --control), as root or as a member of its group";
    ErrorBody::new(ErrorCode::Forbidden, cause)
}

fn version() -> Reply {
    Ok(Answer::Version(Version {
        version: env!("CARGO_PKG_VERSION").into(),
        protocol: PROTOCOL_VERSION,
    }))
    .into()
}

/// The rule's id, and whether it is new.
fn add_rule(supervisor: &mut Supervisor, spec: RuleSpec) -> Result<(RuleId, bool), ErrorBody> {
    let rule = Rule::try_from(spec).map_err(ErrorBody::from)?;
    let input = rule.input.to_string();
    let Supervisor { state, workers, .. } = supervisor;
    let added = state.add_rule(rule, workers);
    let added = added.map_err(|refused| ErrorBody::new(code(&refused), refused))?;
    if added.created {
        info!(target: RULES, rule = added.id.0, "rule {} added: {input}", added.id);
    }
    Ok((added.id, added.created))
}

/// All but the rules, where more than one is asked for.
fn get_stats(supervisor: &Supervisor, selection: &Selection) -> Result<Box<Stats>, ErrorBody> {
    let rule = selection.rule.as_ref().map(|rule| supervisor.state.rule(rule)).transpose()?;
    let rule = rule.map(|declared| declared.id);
    let selected = report::Selected { rule, interface: selection.interface.as_deref() };
    Ok(Box::new(report::stats(supervisor, &selected)))
}

fn remove_rule(supervisor: &mut Supervisor, reference: &RuleReference) -> Reply {
    let Supervisor { state, workers, sampler, .. } = supervisor;
    let id = match state.rule(reference) {
        Ok(declared) => declared.id,
        Err(error) => return Err(error).into(),
    };
    let removed = state.remove_rule(id, workers).expect("it is there");
    sampler.forget(removed.id);
    let id = removed.id.0;
    info!(target: RULES, rule = id, "rule {id} removed: {}", removed.rule.input);
    let answer = Answer::Removed(Removed { rule: removed.id.0, applied: false });
    Reply { applying: Some(applying(supervisor)), ..Ok(answer).into() }
}

fn subscribe(supervisor: &Supervisor, after: Option<u64>) -> Reply {
    match supervisor.state.news.subscribe(after) {
        Ok(subscription) => {
            let answer = Answer::Subscribed(Subscribed { latest: subscription.latest });
            Reply { subscription: Some(subscription), ..Ok(answer).into() }
        }
        Err(refused) => Err(ErrorBody::new(ErrorCode::Busy, refused)).into(),
    }
}

fn set_log_level(supervisor: &mut Supervisor, area: Option<&str>, level: Level) -> Reply {
    let area: Option<Area> = match area.map(str::parse).transpose() {
        Ok(area) => area,
        Err(unknown) => return Err(ErrorBody::new(ErrorCode::Invalid, unknown)).into(),
    };
    if area == Some(Area::Audit) {
        let cause = "audit lines are always logged, whatever the levels";
        return Err(ErrorBody::new(ErrorCode::Invalid, cause)).into();
    }
    let mut levels = supervisor.log.levels().clone();
    levels.set(area, level);
    supervisor.set_log_levels(levels.clone());
    Ok(Answer::LogLevels(levels)).into()
}

/// The position that the workers have yet to reach.
pub(crate) fn applying(supervisor: &Supervisor) -> Applying {
    Applying {
        shown_by: Header::Generation,
        number: supervisor.state.holdings.generation(),
        ledgers: supervisor.workers.serving().cloned().collect(),
    }
}

/// The kind of a refusal.
pub(crate) fn code(refused: &Refused) -> ErrorCode {
    match refused {
        Refused::Invalid(_) => ErrorCode::Invalid,
        Refused::InputTaken { .. } | Refused::NameTaken { .. } => ErrorCode::Conflict,
        Refused::Chain(_) => ErrorCode::Chain,
        Refused::TooManyRules | Refused::TooManyOutputs { .. } => ErrorCode::Limit,
    }
}
