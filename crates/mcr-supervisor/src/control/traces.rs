//! The commands that trace.

use std::num::NonZeroU32;
use std::time::Duration;

use mcr_api::control::{
    Answer, ErrorBody, ErrorCode, RuleReference, TraceOrder, TraceReading, TraceSubject,
    TracesEnded, Tracing,
};
use mcr_api::limits::{MAX_TRACE_SECONDS, TRACE_SECONDS};
use mcr_core::endpoint::InterfaceName;
use mcr_core::ledger::Header;

use super::{Applying, Reply};
use crate::state::State;
use crate::supervisor::Supervisor;
use crate::traces::{Of, Wanted, cursor, read};

/// Begins a trace, or prolongs it.
pub(super) fn enable(supervisor: &mut Supervisor, order: TraceOrder) -> Reply {
    let TraceOrder { rule, interface, one_in, datagrams, seconds } = order;
    let of = match subject(&supervisor.state, rule.as_ref(), interface) {
        Ok(Some(of)) => of,
        Ok(None) => return invalid("a trace is of a \"rule\" or of an \"interface\"").into(),
        Err(error) => return Err(error).into(),
    };
    if let Of::Interface(name) = &of
        && !is_read(&supervisor.state, name)
    {
        let cause = format!("no active rule has its input on {name}, so nothing is read there");
        return Err(ErrorBody::new(ErrorCode::NotFound, cause)).into();
    }
    let seconds = seconds.map_or(TRACE_SECONDS, NonZeroU32::get);
    if seconds > MAX_TRACE_SECONDS {
        return invalid(&format!("a trace ends after at most {MAX_TRACE_SECONDS} seconds")).into();
    }
    let cursor = cursor(supervisor.workers.trace_sources());
    let time = Duration::from_secs(seconds.into());
    let wanted = Wanted { of, one_in: one_in.unwrap_or(NonZeroU32::MIN), datagrams, time };
    if let Err(error) = supervisor.traces.enable(wanted) {
        return Err(ErrorBody::new(ErrorCode::Limit, error)).into();
    }
    supervisor.carry_traces_out();
    Reply {
        result: Ok(Answer::Tracing(Tracing { cursor, seconds, applied: false })),
        applying: Some(Applying {
            shown_by: Header::Traces,
            number: supervisor.traces.revision(),
            ledgers: supervisor.workers.serving().cloned().collect(),
        }),
        subscription: None,
    }
}

/// Ends traces.
pub(super) fn disable(supervisor: &mut Supervisor, which: TraceSubject) -> Reply {
    let of = match subject(&supervisor.state, which.rule.as_ref(), which.interface) {
        Ok(of) => of,
        Err(error) => return Err(error).into(),
    };
    let ended = supervisor.traces.disable(of.as_ref());
    supervisor.carry_traces_out();
    Ok(Answer::TracesEnded(TracesEnded { ended })).into()
}

/// Tells what has been recorded.
pub(super) fn events(supervisor: &Supervisor, reading: TraceReading) -> Reply {
    let Supervisor { state, workers, traces, .. } = supervisor;
    let TraceReading { rule, interface, cursor } = reading;
    let of = match subject(state, rule.as_ref(), interface) {
        Ok(of) => of,
        Err(error) => return Err(error).into(),
    };
    let mut answer = read(workers.trace_sources(), &cursor, of.as_ref(), &state.interfaces);
    answer.running = traces.len();
    Ok(Answer::Traces(answer)).into()
}

/// The subject that a client names; `None`: it names none.
fn subject(
    state: &State,
    rule: Option<&RuleReference>,
    interface: Option<String>,
) -> Result<Option<Of>, ErrorBody> {
    match (rule, interface) {
        (None, None) => Ok(None),
        (Some(reference), None) => Ok(Some(Of::Rule(state.rule(reference)?.id))),
        (None, Some(name)) => match name.parse() {
            Ok(name) => Ok(Some(Of::Interface(name))),
            Err(error) => Err(ErrorBody::new(ErrorCode::Invalid, error)),
        },
        (Some(_), Some(_)) => {
            let cause = "either \"rule\" or \"interface\", not both";
            Err(ErrorBody::new(ErrorCode::Invalid, cause))
        }
    }
}

fn is_read(state: &State, name: &InterfaceName) -> bool {
    let interface = state.interfaces.named(name);
    interface.is_some_and(|interface| state.holdings.ingresses.is_open_on(interface.index))
}

fn invalid(cause: &str) -> Result<Answer, ErrorBody> {
    Err(ErrorBody::new(ErrorCode::Invalid, cause))
}
