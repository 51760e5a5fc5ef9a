//! Rules refused, repeated and waiting: what is refused changes nothing, what waits begins by
//! itself.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Added, Command, RuleState, Rules, Workers};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::{address, link, wait};
use serde_json::{Value, json};

use crate::fixture::{Relay, SOON, delivered, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let suite = suite
        .trial("rules::a_refusal_changes_nothing", a_refusal_changes_nothing)
        .trial("rules::the_identical_rule_is_the_same", the_identical_rule_is_the_same)
        .trial("rules::an_id_is_never_used_again", an_id_is_never_used_again);
    matrix(suite, "rules::a_pending_rule_begins", &Variant::both_families(), a_pending_rule_begins)
}

/// What a refused rule is like: the rule, the code, and words that its sentence must hold.
type Refusal = (Value, &'static str, &'static [&'static str]);

/// A daemon with rules that others can conflict with; no interface of theirs exists, which is no
/// reason to refuse.
fn with_rules() -> Result<Daemon> {
    let daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])?;
    let rules = [
        json!({"name": "video", "input": "239.1.1.1:5000@a", "outputs": ["239.2.2.2:6000@b"]}),
        json!({"input": "239.4.4.4:6000@b", "outputs": ["239.3.3.3:7000@c"]}),
        json!({"input": "[ff3e::1]:5000@a", "outputs": ["[ff3e::2]:5000@b", "10.0.0.1:1@b"]}),
    ];
    for rule in rules {
        let answer = add(&daemon, &rule)?;
        ensure!(answer["ok"]["created"] == true, "{rule}: {answer}");
    }
    Ok(daemon)
}

fn add(daemon: &Daemon, rule: &Value) -> Result<Value> {
    daemon.control(&json!({"id": 1, "command": "AddRule", "rule": rule}).to_string())
}

/// Everything that a refusal must leave as it is.
fn state(daemon: &Daemon) -> Result<(Rules, u64)> {
    let workers: Workers = daemon.ask(&Command::ListWorkers {})?;
    Ok((daemon.ask(&Command::ListRules {})?, workers.generation))
}

/// A plain rule with this input and output.
fn plain(input: &str, output: &str) -> Value {
    json!({"input": input, "outputs": [output]})
}

/// Rules that are wrong by themselves.
fn invalid_rules() -> Vec<Refusal> {
    let input = |text| plain(text, "239.2.2.2:6000@b");
    let output = |text| plain("239.5.5.5:5000@a", text);
    let with = |key: &str, text: &str| {
        let mut rule = plain("239.5.5.5:5000@a", "239.2.2.2:6000@b");
        rule[key] = json!(text);
        rule
    };
    let source = |text| with("source", text);
    let named = |text| with("name", text);
    vec![
        (input("239.1.1:5000@a"), "invalid", &["input", "239.1.1:5000"]),
        (input("239.5.5.5:5000"), "invalid", &["input", "ADDRESS:PORT@INTERFACE"]),
        (input("0.0.0.0:5000@a"), "invalid", &["input", "0.0.0.0"]),
        (input("239.5.5.5:0@a"), "invalid", &["input", "port 0"]),
        (input("239.5.5.5:70000@a"), "invalid", &["input", "239.5.5.5:70000"]),
        (input(&format!("239.5.5.5:5000@{}", "n".repeat(128))), "invalid", &["interface name"]),
        (input("239.5.5.5:5000@a@if5"), "invalid", &["@if5 is not part", "239.5.5.5:5000@a"]),
        (input("240.0.0.1:5000@a"), "invalid", &["input", "240.0.0.1", "reserved"]),
        (output("0.0.0.9:5000@b"), "invalid", &["output 1", "0.0.0.9", "reserved"]),
        (output("239.2.2.2:6000@b,source=127.0.0.1"), "invalid", &["127.0.0.1 on b", "loopback"]),
        (output("239.2.2.2:6000@b,source=0.0.0.9"), "invalid", &["0.0.0.9", "one host"]),
        (input("239.5.5.5:5000@a/b"), "invalid", &["input", "a/b", "interface name"]),
        (output("239.2.2.2:0@b"), "invalid", &["output 1", "port 0"]),
        (output("300.2.2.2:1@b"), "invalid", &["output 1", "300.2.2.2:1"]),
        (output("239.2.2.2:6000@b,ttl=0"), "invalid", &["TTL 0"]),
        (output("239.2.2.2:6000@b,dscp=64"), "invalid", &["DSCP 64"]),
        (output("239.2.2.2:6000@b,colour=red"), "invalid", &["output 1", "colour=red"]),
        (output("239.2.2.2:6000@b,source=fd00::1"), "invalid", &["fd00::1", "family"]),
        (output("239.5.5.5:5000@a"), "invalid", &["239.5.5.5:5000@a", "own input"]),
        (json!({"input": "239.5.5.5:5000@a", "outputs": []}), "invalid", &["one output"]),
        (
            json!({"input": "239.5.5.5:1@a", "outputs": ["10.0.0.1:1@b", "10.0.0.1:1@b"]}),
            "invalid",
            &["10.0.0.1:1@b", "twice"],
        ),
        (source("fd00::7"), "invalid", &["fd00::7", "239.5.5.5", "family"]),
        (source("239.0.0.7"), "invalid", &["source 239.0.0.7", "one host"]),
        (source("127.0.0.7"), "invalid", &["127.0.0.7 on a", "loopback"]),
        (source("ten"), "malformed", &["source \"ten\""]),
        (named("17"), "invalid", &["name", "\"17\"", "digits"]),
        (named("two words"), "invalid", &["name", "two words"]),
        (json!({"outputs": ["239.2.2.2:6000@b"]}), "malformed", &["input"]),
    ]
}

/// Rules that do not go with those of [`with_rules`], or are too much.
fn refused_rules() -> Vec<Refusal> {
    let named = json!({"name": "video", "input": "239.5.5.5:1@a", "outputs": ["10.0.0.1:1@b"]});
    let many: Vec<String> = (1..=1_025).map(|port| format!("10.0.0.1:{port}@b")).collect();
    vec![
        (plain("239.1.1.1:5000@a", "10.0.0.1:1@b"), "conflict", &["239.1.1.1:5000@a", "1 (video)"]),
        (plain("[ff3e::1]:5000@a", "10.0.0.1:1@b"), "conflict", &["rule 3"]),
        (named, "conflict", &["rule 1", "video"]),
        (
            plain("239.9.9.9:9@d", "239.4.4.4:6000@b"),
            "chain",
            &["this rule sends to 239.4.4.4:6000@b, and rule 2 takes it there"],
        ),
        (json!({"input": "239.5.5.5:1@a", "outputs": many}), "limit", &["1025", "1024"]),
    ]
}

fn a_refusal_changes_nothing() -> Result<()> {
    let daemon = with_rules()?;
    let before = state(&daemon)?;
    for (rule, code, words) in invalid_rules().into_iter().chain(refused_rules()) {
        let answer = add(&daemon, &rule)?;
        expect_refusal(&answer, code, words)
            .with_context(|| format!("{:.200}", rule.to_string()))?;
    }
    for (reference, words) in [(json!(99), "99"), (json!("nobody"), "nobody"), (json!("7"), "7")] {
        let request = json!({"id": 1, "command": "RemoveRule", "rule": reference});
        let answer = daemon.control(&request.to_string())?;
        expect_refusal(&answer, "not_found", &["there is no rule", words])?;
    }
    let after = state(&daemon)?;
    ensure!(after == before, "{before:#?} became {after:#?}");
    Ok(())
}

fn expect_refusal(answer: &Value, code: &str, words: &[&str]) -> Result<()> {
    ensure!(answer["error"]["code"] == code, "not {code}: {answer}");
    let message = answer["error"]["message"].as_str().context("no message")?;
    let named = words.iter().all(|word| message.contains(word));
    ensure!(named && message.lines().count() == 1, "not with {words:?}: {message}");
    Ok(())
}

fn the_identical_rule_is_the_same() -> Result<()> {
    let daemon = with_rules()?;
    let before = state(&daemon)?;
    let identical = [
        json!({"name": "video", "input": "239.1.1.1:5000@a", "outputs": ["239.2.2.2:6000@b"]}),
        // Written otherwise, it says the same: the order of outputs, and defaults.
        json!({"input": "[ff3e:0::1]:5000@a",
            "outputs": [{"to": "10.0.0.1:1@b", "ttl": 64}, "[ff3e::2]:5000@b,dscp=0"]}),
    ];
    for (rule, id) in identical.iter().zip([1, 3]) {
        let answer = add(&daemon, rule)?;
        let same = answer["ok"]["rule"] == id && answer["ok"]["created"] == false;
        ensure!(same && answer["ok"]["applied"] == true, "{rule}: {answer}");
    }
    let after = state(&daemon)?;
    ensure!(after == before, "{before:#?} became {after:#?}");
    Ok(())
}

fn an_id_is_never_used_again() -> Result<()> {
    let daemon = with_rules()?;
    let remove = json!({"id": 1, "command": "RemoveRule", "rule": "video"}).to_string();
    let answer = daemon.control(&remove)?;
    ensure!(answer["ok"] == json!({"rule": 1, "applied": true}), "{answer}");
    expect_refusal(&daemon.control(&remove)?, "not_found", &["video"])?;
    let rule = json!({"name": "video", "input": "239.1.1.1:5000@a", "outputs": ["10.0.0.1:1@b"]});
    let answer = add(&daemon, &rule)?;
    ensure!(answer["ok"]["rule"] == 4, "name and input are free again: {answer}");
    let Rules { rules } = daemon.ask(&Command::ListRules {})?;
    let ids: Vec<u64> = rules.iter().map(|rule| rule.id).collect();
    ensure!(ids == [2, 3, 4], "{ids:?}");
    Ok(())
}

fn a_pending_rule_begins(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let input = SocketAddr::new(variant.family.group(1), 5000);
        let output = SocketAddr::new(variant.family.output_group(1), 6000);
        let spec = rule(input, "late0", &[endpoint(output, "out0")]);
        let added: Added = relay.add(&spec)?;
        ensure!(added.state == RuleState::Pending, "{added:?}");
        ensure!(added.problems == ["interface late0 does not exist"], "{added:?}");
        let (near, far) = (&relay.net.source, &relay.net.relay);
        link::veth_pair((near, "far0"), (far, "late0"))?;
        address::add_address(near, "far0", "192.0.2.1".parse()?, 24)?;
        address::add_address(near, "far0", "2001:db8:77::1".parse()?, 64)?;
        for (namespace, ifname) in [(near, "far0"), (far, "late0")] {
            link::set_up(namespace, ifname)?;
        }
        wait::until("the rule becomes active", SOON, || {
            let Rules { rules } = relay.daemon.ask(&Command::ListRules {})?;
            Ok(rules[0].state == RuleState::Active && rules[0].problems.is_empty())
        })?;
        link::wait_until_up(near, "far0")?;
        link::wait_until_up(far, "late0")?;
        relay.wait_in_sync()?;
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        let generator = || mcr_lab::generator::Generator::new(near, "far0");
        let sent = relay.send_by(generator, input)?;
        delivered(sink, sent)?;
        let again = relay.add(&spec)?;
        ensure!(again.rule == added.rule && !again.created, "{again:?}");
        ensure!(again.state == RuleState::Active, "{again:?}");
        Ok(())
    })
}
