//! `mcrctl` against the real daemon: what it prints for people and for programs, and its codes.

use std::process::Output;

use anyhow::{Context, Result, ensure};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use serde_json::{Value, json};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite
        .trial("client::text_for_people", text_for_people)
        .trial("client::one_json_document_for_programs", one_json_document_for_programs)
        .trial("client::refusals_have_codes", refusals_have_codes)
        .trial("client::no_daemon_has_a_code", no_daemon_has_a_code)
}

/// `lo` is there in every namespace; `absent` never is.
const VIDEO: [&str; 8] = [
    "add",
    "239.1.1.1:5000@lo",
    "--to",
    "239.2.2.2:6000@absent",
    "--to=127.0.0.1:7000@lo,ttl=8",
    "--source=10.0.0.7",
    "--name",
    "video",
];

fn lone_daemon() -> Result<Daemon> {
    Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])
}

/// Standard output of a call that must succeed.
fn stdout(daemon: &Daemon, arguments: &[&str]) -> Result<String> {
    let output = daemon.mcrctl(arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The one document that a call prints with `--json`.
fn document(daemon: &Daemon, arguments: &[&str]) -> Result<Value> {
    let text = stdout(daemon, &[arguments, &["--json"]].concat())?;
    serde_json::from_str(&text).with_context(|| format!("{arguments:?}: {text}"))
}

/// Every word stands in the text, in any order.
fn expect_words(text: &str, words: &[&str]) -> Result<()> {
    let missing: Vec<&&str> = words.iter().filter(|word| !text.contains(**word)).collect();
    ensure!(missing.is_empty(), "{missing:?} not in:\n{text}");
    Ok(())
}

fn text_for_people() -> Result<()> {
    let daemon = lone_daemon()?;
    ensure!(stdout(&daemon, &["list"])? == "no rules\n", "an empty list");
    let added = daemon.mcrctl(&VIDEO)?;
    ensure!(added.status.success() && added.stdout == b"1\n", "{added:?}");
    expect_words(&String::from_utf8(added.stderr)?, &["rule 1", "absent does not exist"])?;
    let list = stdout(&daemon, &["list"])?;
    let outputs = ["239.2.2.2:6000@absent", "127.0.0.1:7000@lo,ttl=8"];
    expect_words(&list, &["video", "active", "239.1.1.1:5000@lo", "from 10.0.0.7"])?;
    expect_words(&list, &outputs)?;
    expect_words(&list, &["rule 1: interface absent does not exist"])?;
    expect_words(&stdout(&daemon, &["stats"])?, &["video", outputs[0], "127.0.0.1:7000@lo"])?;
    expect_words(&stdout(&daemon, &["workers"])?, &["WORKER", "running", "yes"])?;
    expect_words(&stdout(&daemon, &["version"])?, &["mcrctl ", "mcrd "])?;
    ensure!(stdout(&daemon, &["remove", "video"])? == "removed rule 1\n", "a removal");
    ensure!(stdout(&daemon, &["list"])? == "no rules\n", "the list afterwards");
    Ok(())
}

fn one_json_document_for_programs() -> Result<()> {
    let daemon = lone_daemon()?;
    let added = document(&daemon, &VIDEO)?;
    let expected = json!({"rule": 1, "created": true, "applied": true, "state": "active",
        "problems": ["interface absent does not exist"]});
    ensure!(added == expected, "{added}");
    let list = document(&daemon, &["list"])?;
    let rule = &list["rules"][0];
    ensure!(rule["name"] == "video" && rule["input"] == "239.1.1.1:5000@lo", "{list}");
    let output = json!({"to": "127.0.0.1:7000@lo", "ttl": 8});
    ensure!(rule["outputs"] == json!(["239.2.2.2:6000@absent", output]), "{list}");
    let workers = document(&daemon, &["workers"])?;
    let worker = &workers["workers"][0];
    ensure!(worker["rules"] == 1 && worker["in_sync"] == true, "{workers}");
    let stats = document(&daemon, &["stats"])?;
    ensure!(stats["rules"][0]["id"] == 1 && stats["totals"]["sent"] == 0, "{stats}");
    let version = document(&daemon, &["version"])?;
    ensure!(version == json!({"version": env!("CARGO_PKG_VERSION"), "protocol": 1}), "{version}");
    let removed = document(&daemon, &["remove", "1"])?;
    ensure!(removed == json!({"rule": 1, "applied": true}), "{removed}");
    Ok(())
}

/// Nothing on standard output, and one line on standard error.
fn expect_failure(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let stderr = String::from_utf8(output.stderr.clone())?;
    let silent = output.stdout.is_empty() && stderr.lines().count() == 1;
    ensure!(output.status.code() == Some(code) && silent, "not {code}: {output:?}");
    expect_words(&stderr, &[&["mcrctl: "], words].concat())
}

fn refusals_have_codes() -> Result<()> {
    let daemon = lone_daemon()?;
    stdout(&daemon, &VIDEO)?;
    let conflict = ["add", "239.1.1.1:5000@lo", "--source=10.0.0.7", "--to=10.0.0.1:1@lo"];
    let circle = ["add", "239.1.1.1:5000@lo", "--to", "239.1.1.1:5000@lo"];
    let refused: [(&[&str], &[&str]); 5] = [
        (&conflict, &["rule 1 (video)"]),
        (&circle, &["own input"]),
        (&["add", "239.1.1.1:0@lo", "--to", "10.0.0.1:1@lo"], &["port 0"]),
        (&["remove", "99"], &["there is no rule 99"]),
        (&["remove", "nobody"], &["there is no rule", "nobody"]),
    ];
    for (arguments, words) in refused {
        expect_failure(&daemon.mcrctl(arguments)?, 65, words)?;
        expect_failure(&daemon.mcrctl(&[arguments, &["--json"]].concat())?, 65, words)?;
    }
    Ok(())
}

fn no_daemon_has_a_code() -> Result<()> {
    let mut daemon = lone_daemon()?;
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    let path = daemon.control_path().display().to_string();
    expect_failure(&daemon.mcrctl(&["list"])?, 69, &["no mcrd listens", &path])
}
