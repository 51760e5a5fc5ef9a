//! The command line.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mcr_api::control::{
    Command, DEFAULT_CONTROL_PATH, RuleReference, Selection, TraceOrder, TraceSubject,
};
use mcr_api::log::{Area, Level};
use mcr_api::rule::{OutputSpec, RuleSpec};

use crate::limits;

/// Tells a running mcrd what to relay, and shows what it does.
#[derive(Debug, Parser)]
#[command(name = "mcrctl", version, arg_required_else_help = true)]
pub(crate) struct Args {
    /// The daemon's control socket.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_CONTROL_PATH)]
    pub(crate) control: PathBuf,

    /// Print the daemon's answer as one JSON document.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) action: Action,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    #[command(flatten)]
    Question(Question),
    /// Show the way of single datagrams: received, dropped and why, sent to which output, and not
    /// sent and why.
    Trace(Trace),
    /// Show events of rules, workers, interfaces and the configuration.
    ///
    /// With --json each event is a JSON object on a line of its own.
    Events {
        /// Wait for new events.
        #[arg(long)]
        follow: bool,
    },
    /// Show live rates, drops and cores on this terminal.
    Top {
        /// Seconds between two updates.
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
        interval: Duration,
    },
}

/// A command of one request.
#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// Add a rule: relay from INPUT to each OUTPUT, and print the rule's id.
    #[command(after_help = ENDPOINTS)]
    Add(Add),
    /// Remove a rule.
    Remove {
        /// The rule's id, or its name.
        #[arg(value_name = "ID|NAME")]
        rule: RuleReference,
    },
    /// Reload the configuration file and apply the differences.
    Reload,
    /// List the rules, their states and their problems.
    List,
    /// List the workers: core, state, and whether each holds every rule.
    Workers,
    /// Show counters: datagrams received, dropped and sent, with the reason of each drop.
    Stats(Stats),
    /// Set the log level of an area, or of all areas.
    #[command(allow_missing_positional = true, after_help = areas())]
    LogLevel {
        /// Area of the log [default: all].
        area: Option<Area>,
        /// Lowest level to log: error, warn, info or debug.
        level: Level,
    },
    /// Show the versions of this program and of the daemon.
    Version,
}

const ENDPOINTS: &str = "\
INPUT and OUTPUT are ADDRESS:PORT@INTERFACE, such as 239.1.1.1:5000@eth0 or
[ff3e::1234]:5000@eth0. Options may follow an OUTPUT:
  ,ttl=N             TTL or hop limit of what is sent (64)
  ,dscp=N            differentiated services code point (0)
  ,source=ADDRESS    source address (the interface's primary one)
  ,source-port=PORT  source port (one that the kernel picks)
  ,loop              also to members on this host";

fn areas() -> String {
    let area = |area: &Area| format!("\n  {:13}  {}", area.name(), area.about());
    let areas: String = Area::ALL.iter().map(area).collect();
    format!("Areas:{areas}")
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// Input of the rule.
    input: String,
    /// Take it from this sender only.
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Output to send to; may be given several times.
    #[arg(long, required = true, value_name = "OUTPUT")]
    to: Vec<String>,
    /// A name for the rule.
    #[arg(long)]
    name: Option<String>,
    /// Keep what it takes from the host's own network stack: no local program and no routing of the
    /// kernel's sees it (Linux 6.6).
    #[arg(long)]
    exclusive: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stats {
    /// Of the rules, this one only: its id, or its name.
    #[arg(long, value_name = "ID|NAME")]
    pub(crate) rule: Option<RuleReference>,
    /// Only this interface's rings, and the rules with an input or output there.
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<String>,
    /// Repeat until interrupted; with --json, one document a line.
    #[arg(long)]
    pub(crate) watch: bool,
    /// How often.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "1",
        value_parser = interval,
        requires = "watch"
    )]
    pub(crate) interval: Duration,
}

impl Stats {
    /// Command to run.
    pub(crate) fn selection(&self) -> Selection {
        Selection { rule: self.rule.clone(), interface: self.interface.clone() }
    }
}

/// Reads seconds, such as `1` or `0.5`.
fn interval(text: &str) -> Result<Duration, String> {
    let (shortest, longest) = (limits::INTERVAL_SHORTEST, limits::INTERVAL_LONGEST);
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|seconds| (shortest..=longest).contains(seconds)).ok_or_else(|| {
        format!("from {} to {} seconds are needed", shortest.as_secs_f64(), longest.as_secs_f64())
    })
}

/// Without --follow it ends after --packets datagrams or --seconds, whichever comes first.
#[derive(Debug, clap::Args)]
pub(crate) struct Trace {
    /// The rule's id, or its name.
    #[arg(value_name = "ID|NAME", required_unless_present = "interface")]
    pub(crate) rule: Option<RuleReference>,
    /// Instead of a rule: what comes in by this interface and is no rule's.
    #[arg(long, value_name = "NAME", conflicts_with = "rule")]
    pub(crate) interface: Option<String>,
    /// Go on until interrupted.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Write the datagrams to this file too, for Wireshark, each with its verdict as comment.
    #[arg(long, value_name = "FILE")]
    pub(crate) pcapng: Option<PathBuf>,
    /// Trace the first datagram of so many, again and again.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) one_in: NonZeroU32,
    /// How many datagrams to trace.
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with = "follow")]
    pub(crate) packets: u64,
    /// How long to wait for them.
    #[arg(long, value_name = "N", default_value = "10", conflicts_with = "follow")]
    pub(crate) seconds: NonZeroU32,
}

impl Question {
    /// The command that asks it of the daemon.
    pub(crate) fn command(&self) -> Command {
        match self {
            Self::Add(add) => Command::AddRule { rule: add.rule() },
            Self::Remove { rule } => Command::RemoveRule { rule: rule.clone() },
            Self::Reload => Command::Reload {},
            Self::List => Command::ListRules {},
            Self::Workers => Command::ListWorkers {},
            Self::Stats(stats) => Command::GetStats(stats.selection()),
            Self::LogLevel { area, level } => {
                let area = area.map(|area| area.name().to_owned());
                Command::SetLogLevel { area, level: *level }
            }
            Self::Version => Command::GetVersion {},
        }
    }
}

impl Trace {
    /// The command for the daemon.
    pub(crate) fn order(&self) -> TraceOrder {
        TraceOrder {
            rule: self.rule.clone(),
            interface: self.interface.clone(),
            one_in: Some(self.one_in),
            datagrams: (!self.follow).then_some(self.packets),
            seconds: Some(if self.follow { TRACE_LEASE_SECONDS } else { self.seconds }),
        }
    }

    /// Its subject.
    pub(crate) fn subject(&self) -> TraceSubject {
        TraceSubject { rule: self.rule.clone(), interface: self.interface.clone() }
    }
}

/// Seconds after which a trace that is followed ends when its follower is gone.
const TRACE_LEASE_SECONDS: NonZeroU32 = NonZeroU32::new(10).expect("it is not 0");

impl Add {
    fn rule(&self) -> RuleSpec {
        RuleSpec {
            name: self.name.clone(),
            input: self.input.clone(),
            source: self.source,
            outputs: self.to.iter().cloned().map(OutputSpec::Text).collect(),
            exclusive: self.exclusive,
        }
    }
}

/// A command line for tests, without the program's name.
#[cfg(test)]
pub(crate) fn parse(arguments: &[&str]) -> Args {
    Args::parse_from(std::iter::once(&"mcrctl").chain(arguments))
}

/// The request of a command line, for tests.
#[cfg(test)]
pub(crate) fn question(arguments: &[&str]) -> Question {
    match parse(arguments).action {
        Action::Question(question) => question,
        other => panic!("{other:?} asks no question"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_option_reaches_the_rule() {
        let args = parse(&[
            "add",
            "239.1.1.1:5000@eth0",
            "--source=10.0.0.7",
            "--to=239.2.2.2:6000@eth1,ttl=8",
            "--to",
            "10.9.0.4:7000@eth2",
            "--name=video",
            "--exclusive",
            "--json",
            "--control=/tmp/c",
        ]);
        assert!(args.json);
        assert_eq!(args.control, PathBuf::from("/tmp/c"));
        let Action::Question(Question::Add(add)) = args.action else {
            panic!("{args:?} adds a rule");
        };
        let rule = add.rule();
        assert_eq!(rule.name.as_deref(), Some("video"));
        assert!(rule.exclusive);
        assert_eq!(rule.input, "239.1.1.1:5000@eth0");
        assert_eq!(rule.source, Some("10.0.0.7".parse().unwrap()));
        let outputs = ["239.2.2.2:6000@eth1,ttl=8", "10.9.0.4:7000@eth2"];
        assert_eq!(rule.outputs, outputs.map(|text| OutputSpec::Text(text.into())));
    }

    #[test]
    fn a_rule_is_named_by_number_or_name() {
        let rule = |text| match question(&["remove", text]) {
            Question::Remove { rule } => rule,
            other => panic!("{other:?} removes"),
        };
        assert_eq!(rule("17"), RuleReference::Id(17));
        assert_eq!(rule("video"), RuleReference::Name("video".into()));
    }

    #[test]
    fn a_log_level_is_of_an_area_or_of_all() {
        let command = |words: &[&str]| question(words).command();
        let area = |area: Option<&str>, level| {
            let area = area.map(ToOwned::to_owned);
            Command::SetLogLevel { area, level }
        };
        assert_eq!(command(&["log-level", "warn"]), area(None, Level::Warn));
        assert_eq!(command(&["log-level", "rules", "debug"]), area(Some("rules"), Level::Debug));
        for wrong in [&["log-level"][..], &["log-level", "rules"], &["log-level", "x", "debug"]] {
            assert!(Args::try_parse_from(["mcrctl"].iter().chain(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn statistics_are_of_what_is_asked_for() {
        let stats = question(&["stats", "--rule=video", "--interface", "eth0", "--watch"]);
        let rule = Some(RuleReference::Name("video".into()));
        let selection = Selection { rule, interface: Some("eth0".into()) };
        assert_eq!(stats.command(), Command::GetStats(selection));
    }

    #[test]
    fn intervals_are_bounded() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "1e9", "nan", "inf", "", "x"] {
            let error = interval(wrong).unwrap_err();
            assert_eq!(error, "from 0.1 to 3600 seconds are needed", "{wrong}");
        }
        // Without --watch there is nothing to wait for.
        assert!(Args::try_parse_from(["mcrctl", "stats", "--interval=2"]).is_err());
    }

    #[test]
    fn a_rule_needs_an_output() {
        assert!(Args::try_parse_from(["mcrctl", "add", "239.1.1.1:5000@eth0"]).is_err());
    }
}
