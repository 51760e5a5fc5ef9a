//! The configuration file: taken whole, or refused in one line that names the place.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, RuleState, Rules};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use tempfile::TempDir;

use crate::startup::refused_start;

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite
        .trial("configuration::a_good_file_is_taken_whole", a_good_file_is_taken_whole)
        .trial("configuration::a_bad_file_is_refused", a_bad_file_is_refused)
        .trial("configuration::a_missing_file_is_refused", a_missing_file_is_refused)
}

const GOOD: &str = r#"# What is relayed from the start.
[[rule]]
name = "video"
input = "239.1.1.1:5000@lo"
source = "10.0.0.7"
outputs = [
    "239.2.2.2:6000@absent",
    { to = "127.0.0.1:7000@lo", ttl = 16, dscp = 46 },
]

[[rule]]
input = "[ff3e::1]:5000@absent"
outputs = ["[ff3e::2]:5000@lo"]
"#;

struct File {
    directory: TempDir,
}

impl File {
    fn new(text: &str) -> Result<Self> {
        let file = Self { directory: TempDir::new()? };
        fs::write(file.path(), text)?;
        Ok(file)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("mcr.toml")
    }

    fn text(&self) -> Result<String> {
        Ok(self.path().to_str().context("temporary paths are text")?.to_owned())
    }
}

fn a_good_file_is_taken_whole() -> Result<()> {
    let file = File::new(GOOD)?;
    let arguments = ["--cores", "0", "--config", &file.text()?];
    let mut daemon = Daemon::start(&Namespace::new("relay")?, &arguments)?;
    ensure!(daemon.log_contains(", 2 rules, "), "{:?}", daemon.log_lines());
    let Rules { rules } = daemon.ask(&Command::ListRules {})?;
    let [video, v6] = rules.as_slice() else { anyhow::bail!("two rules: {rules:?}") };
    ensure!(video.rule.name.as_deref() == Some("video") && video.state == RuleState::Active);
    ensure!(video.rule.source == Some("10.0.0.7".parse()?), "{video:?}");
    ensure!(video.problems == ["interface absent does not exist"], "{video:?}");
    ensure!(video.rule.outputs.len() == 2 && v6.state == RuleState::Pending, "{rules:?}");
    // Started with a file, the daemon takes commands as ever.
    let removed = daemon.mcrctl(&["remove", "video"])?;
    ensure!(removed.status.success(), "{removed:?}");
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

fn a_bad_file_is_refused() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let twice = format!("{GOOD}[[rule]]\ninput = \"239.1.1.1:5000@lo\"\nsource = \"10.0.0.7\"\n");
    let conflict = format!("{twice}outputs = [\"10.0.0.1:1@lo\"]\n");
    let changed = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    let bad: [(String, usize, &[&str]); 9] = [
        (changed("source =", "sauce ="), 5, &["sauce"]),
        (changed("[[rule]]", "[sterling]\n[[rule]]"), 2, &["sterling"]),
        (changed("name = \"video\"", "name = "), 3, &[]),
        (changed("239.1.1.1:5000@lo", "239.1.1.1:0@lo"), 4, &["input", "port 0"]),
        (changed("239.2.2.2:6000@absent", "239.2.2:6000@lo"), 7, &["output 1", "239.2.2:6000"]),
        (changed("ttl = 16", "ttl = 300"), 8, &["300"]),
        (changed("\"10.0.0.7\"", "\"fd00::7\""), 2, &["fd00::7", "family"]),
        (changed("\"[ff3e::2]:5000@lo\"", ""), 11, &["one output"]),
        (conflict, 14, &["rule 1 (video)", "239.1.1.1:5000@lo from 10.0.0.7"]),
    ];
    for (text, line, words) in bad {
        let file = File::new(&text)?;
        let path = file.text()?;
        let control = file.directory.path().join("run/control.sock");
        let control = control.to_str().context("temporary paths are text")?;
        let arguments = ["--control", control, "--cores", "0", "--config", &path];
        let place = format!("{path}:{line}: ");
        refused_start(&namespace, &arguments)?.expect(78, &[&[&*place], words].concat())?;
        ensure!(!PathBuf::from(control).exists(), "a socket was left behind");
    }
    Ok(())
}

fn a_missing_file_is_refused() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let arguments = ["--control", "/nonexistent/control.sock", "--config", "/nonexistent/mcr.toml"];
    refused_start(&namespace, &arguments)?.expect(78, &["/nonexistent/mcr.toml", "No such file"])
}
