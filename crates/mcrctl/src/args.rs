//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use mcr_api::control::{Command, DEFAULT_CONTROL_PATH, RuleReference, Selection};
use mcr_api::rule::{OutputSpec, RuleSpec};

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

/// What to ask of the daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Relay what arrives at INPUT to every OUTPUT, and print the rule's id.
    #[command(after_help = ENDPOINTS)]
    Add(Add),
    /// Relay by a rule no more.
    Remove {
        /// The rule's id, or its name.
        #[arg(value_name = "ID|NAME")]
        rule: RuleReference,
    },
    /// Have the daemon read its configuration file again and carry out what is different.
    Reload,
    /// Show every rule.
    List,
    /// Show every worker: its core, its state, and whether it has every rule.
    Workers,
    /// Show what was received, dropped and why, sent, and not sent and why.
    Stats,
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

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// What to take.
    input: String,
    /// Take it from this sender only.
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Where to send it; may be given several times.
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

impl Action {
    /// The command that asks it of the daemon.
    pub(crate) fn command(&self) -> Command {
        match self {
            Self::Add(add) => Command::AddRule { rule: add.rule() },
            Self::Remove { rule } => Command::RemoveRule { rule: rule.clone() },
            Self::Reload => Command::Reload {},
            Self::List => Command::ListRules {},
            Self::Workers => Command::ListWorkers {},
            Self::Stats => Command::GetStats(Selection::default()),
            Self::Version => Command::GetVersion {},
        }
    }
}

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
        let Command::AddRule { rule } = args.action.command() else {
            panic!("{args:?} adds a rule");
        };
        assert_eq!(rule.name.as_deref(), Some("video"));
        assert!(rule.exclusive);
        assert_eq!(rule.input, "239.1.1.1:5000@eth0");
        assert_eq!(rule.source, Some("10.0.0.7".parse().unwrap()));
        let outputs = ["239.2.2.2:6000@eth1,ttl=8", "10.9.0.4:7000@eth2"];
        assert_eq!(rule.outputs, outputs.map(|text| OutputSpec::Text(text.into())));
    }

    #[test]
    fn a_rule_is_named_by_number_or_name() {
        let rule = |text| match parse(&["remove", text]).action {
            Action::Remove { rule } => rule,
            other => panic!("{other:?} removes"),
        };
        assert_eq!(rule("17"), RuleReference::Id(17));
        assert_eq!(rule("video"), RuleReference::Name("video".into()));
    }

    #[test]
    fn a_rule_needs_an_output() {
        assert!(Args::try_parse_from(["mcrctl", "add", "239.1.1.1:5000@eth0"]).is_err());
    }
}
