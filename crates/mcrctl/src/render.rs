//! The daemon's answers as text for people and as JSON for programs.

pub(crate) mod events;
mod stats;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::{self, Write};

use mcr_api::control::{
    Added, Confinement, PROTOCOL_VERSION, Reloaded, Removed, RuleState, RuleStatus, Rules, Stats,
    Steering, Version, WorkerState, WorkerStatus, Workers,
};
use mcr_api::rule::{OutputObject, OutputSpec};
use serde_json::Value;

use crate::args::Question;
use table::{Column::Left, Column::Right, table};

/// The output of a command and its stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// For standard output.
    pub(crate) output: String,
    /// For standard error, one line each.
    pub(crate) notes: Vec<String>,
}

impl Shown {
    /// Prints the notes and then the output.
    pub(crate) fn print(&self) -> io::Result<()> {
        for note in &self.notes {
            // A note that cannot be shown is no reason to keep the answer back.
            let _ = writeln!(io::stderr(), "mcrctl: {note}");
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(self.output.as_bytes())?;
        stdout.flush()
    }
}

impl From<String> for Shown {
    fn from(output: String) -> Self {
        Self { output, notes: Vec::new() }
    }
}

/// The answer's body as one JSON document.
pub(crate) fn json(body: &Value) -> Shown {
    format!("{body:#}\n").into()
}

/// The answer to a question for people; an error where it is not one to that.
pub(crate) fn text(question: &Question, body: Value) -> Result<Shown, serde_json::Error> {
    Ok(match question {
        Question::Add(_) => added(&serde_json::from_value(body)?),
        Question::Remove { .. } => removed(&serde_json::from_value(body)?),
        Question::Reload => reloaded(&serde_json::from_value(body)?),
        Question::List => rules(&serde_json::from_value::<Rules>(body)?).into(),
        Question::Workers => workers(&serde_json::from_value::<Workers>(body)?).into(),
        Question::Stats(_) => stats::stats(&serde_json::from_value::<Stats>(body)?).into(),
        Question::LogLevel { .. } => events::levels(&serde_json::from_value(body)?).into(),
        Question::Version => version(&serde_json::from_value(body)?),
    })
}

fn added(added: &Added) -> Shown {
    let rule = added.rule;
    let mut notes = Vec::new();
    if !added.created {
        notes.push(format!("the same rule is there already: {rule}"));
    }
    if !added.applied {
        notes.push(format!("rule {rule} has not reached every worker yet"));
    }
    if added.state == RuleState::Pending && added.problems.is_empty() {
        notes.push(format!("rule {rule} is pending"));
    }
    let problems = added.problems.iter();
    notes.extend(problems.map(|problem| format!("rule {rule} ({}): {problem}", added.state)));
    Shown { output: format!("{rule}\n"), notes }
}

fn removed(removed: &Removed) -> Shown {
    let rule = removed.rule;
    let note = format!("not every worker has dropped rule {rule} yet");
    Shown {
        output: format!("removed rule {rule}\n"),
        notes: if removed.applied { vec![] } else { vec![note] },
    }
}

fn reloaded(reloaded: &Reloaded) -> Shown {
    let Reloaded { new, gone, kept, applied } = reloaded;
    let note = "the changes have not reached every worker yet".to_owned();
    Shown {
        output: format!("rules new: {new}, gone: {gone}, untouched: {kept}\n"),
        notes: if *applied { vec![] } else { vec![note] },
    }
}

fn version(daemon: &Version) -> Shown {
    let client = env!("CARGO_PKG_VERSION");
    let mut notes = Vec::new();
    if daemon.protocol != PROTOCOL_VERSION {
        notes.push(format!(
            "this program speaks protocol {PROTOCOL_VERSION}, the daemon {}: install the same \
             version of both",
            daemon.protocol
        ));
    }
    Shown { output: format!("mcrctl {client}\nmcrd   {}\n", daemon.version), notes }
}

fn rules(answer: &Rules) -> String {
    if answer.rules.is_empty() {
        return "no rules\n".into();
    }
    let mut rules = table(&[
        ("ID", Right),
        ("NAME", Left),
        ("STATE", Left),
        ("INPUT", Left),
        ("OUTPUTS", Left),
    ]);
    for status in &answer.rules {
        rules.add_row(rule(status));
    }
    let mut text = table::text(&rules);
    for status in &answer.rules {
        for problem in &status.problems {
            writeln!(text, "rule {}: {problem}", status.id).expect("a String takes all");
        }
    }
    text
}

fn rule(status: &RuleStatus) -> [String; 5] {
    let rule = &status.rule;
    let mut input = rule.input.clone();
    if let Some(source) = rule.source {
        write!(input, "\nfrom {source}").expect("a String takes all");
    }
    if rule.exclusive {
        input += "\nexclusive";
    }
    let outputs: Vec<_> = rule.outputs.iter().map(output).collect();
    [
        status.id.to_string(),
        rule.name.clone().unwrap_or_default(),
        status.state.to_string(),
        input,
        outputs.join("\n"),
    ]
}

/// The output as it is given on the command line.
fn output(output: &OutputSpec) -> String {
    let object = match output {
        OutputSpec::Text(text) => return text.clone(),
        OutputSpec::Object(object) => object,
    };
    let OutputObject { to, ttl, dscp, source, source_port, multicast_loop } = object;
    let mut text = to.clone();
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            write!(text, ",{name}={value}").expect("a String takes all");
        }
    };
    option("ttl", ttl.map(|n| n.to_string()));
    option("dscp", dscp.map(|n| n.to_string()));
    option("source", source.map(|a| a.to_string()));
    option("source-port", source_port.map(|n| n.to_string()));
    if *multicast_loop == Some(true) {
        text += ",loop";
    }
    text
}

fn workers(answer: &Workers) -> String {
    let mut workers = table(&[
        ("WORKER", Right),
        ("CORE", Right),
        ("PID", Right),
        ("STATE", Left),
        ("IO", Left),
        ("SYNC", Left),
        ("RULES", Right),
        ("BEAT", Right),
        ("LONGEST TURN", Right),
        ("RESTARTS", Right),
        ("LAST EXIT", Left),
    ]);
    for status in &answer.workers {
        workers.add_row(worker(status));
    }
    let mut text = table::text(&workers);
    if answer.steering == Steering::Hash.to_string() {
        text += "steered by hash: each worker has its share of the rules\n";
    }
    let longest = answer.supervisor_longest_turn_us as f64 / 1e3;
    writeln!(text, "supervisor: longest turn {longest:.1} ms").expect("a String takes all");
    for status in &answer.workers {
        for trouble in troubles(status) {
            writeln!(text, "worker {}: {trouble}", status.worker).expect("a String takes all");
        }
    }
    text
}

/// A note for the operator about a worker, seldom needed.
pub(crate) fn troubles(status: &WorkerStatus) -> impl Iterator<Item = String> {
    let start = status.backoff_left_ms.map(|left| format!("starts again in {left} ms"));
    let told = |count, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let overload = status.overloaded.then(|| {
        "its rings overflow although it never rests: give it more cores (--cores) or fewer outputs"
            .to_owned()
    });
    let lost = told(status.commands_lost, "commands did not fit its socket");
    let repairs = told(status.repairs, "times sent the full rule set, since it held another one");
    let sandbox = status.confinement.as_ref().and_then(Confinement::trouble);
    [start, overload, lost, repairs, sandbox].into_iter().flatten()
}

/// A worker's state in a word.
pub(crate) fn state(status: &WorkerStatus) -> String {
    if status.overloaded && status.state == WorkerState::Running {
        return "overloaded".into();
    }
    status.state.to_string()
}

fn worker(status: &WorkerStatus) -> [String; 11] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let longest_turn = status.longest_turn_us > 0;
    [
        status.worker.to_string(),
        status.core.to_string(),
        or_dash(status.pid.map(|pid| pid.to_string())),
        state(status),
        or_dash(status.io.map(|io| io.name().into())),
        if status.in_sync { "yes" } else { "no" }.into(),
        status.rules.to_string(),
        or_dash(status.heartbeat_age_ms.map(|age| format!("{age} ms"))),
        or_dash(longest_turn.then(|| format!("{:.1} ms", status.longest_turn_us as f64 / 1e3))),
        status.restarts.to_string(),
        or_dash(status.last_exit.clone()),
    ]
}
