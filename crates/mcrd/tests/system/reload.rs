//! The configuration file read again while datagrams flow: only what is different is carried out.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Added, Command, Reloaded, Rules};
use mcr_api::rule::RuleSpec;
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::fixture::{Relay, SOON, delivered, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    matrix(suite, "reload::only_the_difference_is_carried_out", &both, only_the_difference)
        .trial("reload::a_clients_rule_stays_a_clients", a_clients_rule_stays)
        .trial("reload::a_bad_file_changes_nothing", a_bad_file_changes_nothing)
        .trial("reload::without_a_file_there_is_nothing_to_read", without_a_file)
}

/// A configuration file in a directory of its own.
struct File {
    _directory: TempDir,
    path: PathBuf,
}

impl File {
    fn new(rules: &[RuleSpec]) -> Result<Self> {
        let directory = TempDir::new()?;
        let path = directory.path().join("mcr.toml");
        let file = Self { _directory: directory, path };
        file.write(rules)?;
        Ok(file)
    }

    fn write(&self, rules: &[RuleSpec]) -> Result<()> {
        Ok(fs::write(&self.path, toml(rules)?)?)
    }

    fn text(&self) -> Result<&str> {
        Path::to_str(&self.path).context("temporary paths are text")
    }
}

/// Texts in JSON are texts in TOML.
fn toml(rules: &[RuleSpec]) -> Result<String> {
    rules
        .iter()
        .map(|rule| {
            let outputs = serde_json::to_string(&rule.outputs)?;
            Ok(format!("[[rule]]\ninput = \"{}\"\noutputs = {outputs}\n", rule.input))
        })
        .collect()
}

fn listed(daemon: &Daemon) -> Result<Rules> {
    daemon.ask(&Command::ListRules {})
}

/// A rule that a client has asked for goes with the client's word alone, also where the file has
/// stated it before or does so later.
fn a_clients_rule_stays() -> Result<()> {
    let of = |n| {
        let group = |first: u8| SocketAddr::from(([239, first, 1, n], 5000));
        rule(group(1), "in0", &[endpoint(group(2), "out0")])
    };
    let [files, clients, both] = [1, 2, 3].map(of);
    let file = File::new(&[files.clone(), both.clone()])?;
    let net = RelayTopology::builder().build()?;
    let mut daemon = Daemon::start(&net.relay, &["--cores", "0", "--config", file.text()?])?;
    for (rule, created) in [(&clients, true), (&both, false)] {
        let added: Added = daemon.ask(&Command::AddRule { rule: rule.clone() })?;
        ensure!(added.created == created, "{added:?}");
    }
    let inputs = |daemon: &Daemon| -> Result<Vec<String>> {
        Ok(listed(daemon)?.rules.into_iter().map(|rule| rule.rule.input).collect())
    };
    file.write(std::slice::from_ref(&clients))?;
    let _: Reloaded = daemon.ask(&Command::Reload {})?;
    ensure!(
        inputs(&daemon)? == [both.input.clone(), clients.input.clone()],
        "one of the client's went"
    );
    file.write(&[])?;
    let _: Reloaded = daemon.ask(&Command::Reload {})?;
    ensure!(inputs(&daemon)? == [both.input, clients.input], "one of the client's went");
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

/// The file keeps a rule, gives another one more output, loses one and gains one; a rule that a
/// client has added is none of its business. The untouched two relay all that comes meanwhile.
fn only_the_difference(variant: Variant) -> Result<()> {
    let group = |n| SocketAddr::new(variant.family.group(n), 5000);
    let to = |n, out: &str| endpoint(SocketAddr::new(variant.family.output_group(n), 6000), out);
    let of = |n, outputs: &[String]| rule(group(n), "in0", outputs);
    let [kept, added] = [of(1, &[to(1, "out0")]), of(2, &[to(2, "out0")])];
    let gone = of(3, &[to(3, "out0")]);
    let changed = |outputs: &[String]| of(4, outputs);
    let before = [kept.clone(), changed(&[to(4, "out0")]), gone.clone()];
    let after = [of(5, &[to(5, "out0")]), changed(&[to(4, "out0"), to(4, "out1")]), kept];
    let file = File::new(&before)?;
    let net = RelayTopology::builder().build()?;
    Relay::run_on(variant, net, &["--config", file.text()?], |relay| {
        relay.add_active(&added)?;
        let sink = |n| {
            let address = SocketAddr::new(variant.family.output_group(n), 6000);
            Sink::multicast(&relay.net.sinks[0], "sink0", address)
        };
        let (first, second) = (sink(1)?, sink(2)?);
        let to_first = relay.start_sending(|| relay.generator(), group(1))?;
        let to_second = relay.start_sending(|| relay.generator(), group(2))?;
        let ids: Vec<u64> = listed(&relay.daemon)?.rules.iter().map(|rule| rule.id).collect();
        file.write(&after)?;
        relay.daemon.signal(Signal::SIGHUP)?;
        relay.daemon.wait_for_log("read again: 2 rules new, 2 gone, 1 untouched", SOON)?;
        ensure!(first.received() > 0, "nothing flowed when the file was read");
        relay.wait_in_sync()?;
        delivered(first, to_first.finish()?).context("the rule that the file kept")?;
        delivered(second, to_second.finish()?).context("the rule of a client")?;
        let rules = listed(&relay.daemon)?.rules;
        let inputs: Vec<_> = rules.iter().map(|rule| rule.rule.input.clone()).collect();
        let expected = [&after[2], &added, &after[0], &after[1]].map(|rule| rule.input.clone());
        ensure!(inputs == expected, "{inputs:?}");
        ensure!((rules[0].id, rules[1].id) == (ids[0], ids[3]), "ids {ids:?} became {rules:?}");
        ensure!(rules[3].rule.outputs.len() == 2, "{rules:?}");
        relays(relay, group(4), 4, "sink1", 1)?;
        relays(relay, group(5), 5, "sink0", 0)?;
        // A second time there is nothing left to do.
        let again: Reloaded = relay.daemon.ask(&Command::Reload {})?;
        ensure!(again == Reloaded { new: 0, gone: 0, kept: 3, applied: true }, "{again:?}");
        ensure!(listed(&relay.daemon)?.rules == rules, "a second reading changed the rules");
        let shown = relay.daemon.mcrctl(&["reload"])?;
        let text = String::from_utf8_lossy(&shown.stdout);
        ensure!(text == "rules new: 0, gone: 0, untouched: 3\n", "{shown:?}");
        Ok(())
    })
}

/// What is sent to `input` comes out as group `n` of a sink.
fn relays(relay: &Relay, input: SocketAddr, n: u8, ifname: &str, place: usize) -> Result<()> {
    let address = SocketAddr::new(relay.variant.family.output_group(n), 6000);
    let sink = Sink::multicast(&relay.net.sinks[place], ifname, address)?;
    let sent = relay.send(input)?;
    delivered(sink, sent).map(drop)
}

const LOCAL: &str = "[[rule]]\ninput = \"239.1.1.1:5000@lo\"\noutputs = [\"127.0.0.1:7000@lo\"]\n";

/// Broken, in conflict with a rule that a client has added, or gone: said, with the place, and
/// everything stays.
fn a_bad_file_changes_nothing() -> Result<()> {
    let file = File::new(&[])?;
    fs::write(&file.path, LOCAL)?;
    let path = file.text()?;
    let namespace = Namespace::new("relay")?;
    let mut daemon = Daemon::start(&namespace, &["--cores", "0", "--config", path])?;
    let shown = daemon.mcrctl(&["add", "239.1.1.2:5000@lo", "--to", "127.0.0.1:7001@lo"])?;
    ensure!(shown.status.success(), "{shown:?}");
    let before = listed(&daemon)?;
    let taken = LOCAL.replace("239.1.1.1", "239.1.1.2").replace("7000", "7002");
    let bad = [
        ("[[rule]]\nsauce = 1\n".to_owned(), format!("{path}:2: ")),
        (format!("\n{taken}"), format!("{path}:2: rule 2 already takes 239.1.1.2:5000@lo")),
        (format!("{LOCAL}{}", LOCAL.replace("7000", "7003")), format!("{path}:4: rule 1 already")),
    ];
    for (text, why) in bad {
        fs::write(&file.path, text)?;
        daemon.signal(Signal::SIGHUP)?;
        daemon.wait_for_log(&why, SOON)?;
        let refused = daemon.mcrctl(&["reload"])?;
        let told = String::from_utf8_lossy(&refused.stderr);
        ensure!(!refused.status.success() && told.contains(&why), "{refused:?}");
        ensure!(listed(&daemon)? == before, "the rules changed");
    }
    fs::remove_file(&file.path)?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.wait_for_log("No such file or directory (os error 2): nothing was changed", SOON)?;
    ensure!(listed(&daemon)? == before, "the rules changed");
    fs::write(&file.path, LOCAL)?;
    let good: Reloaded = daemon.ask(&Command::Reload {})?;
    ensure!((good.new, good.gone, good.kept) == (0, 0, 1), "{good:?}");
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

fn without_a_file() -> Result<()> {
    let mut daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.wait_for_log("without a configuration file: start it with --config FILE", SOON)?;
    let refused = daemon.mcrctl(&["reload"])?;
    ensure!(!refused.status.success(), "{refused:?}");
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}
