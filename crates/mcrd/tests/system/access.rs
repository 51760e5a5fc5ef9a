//! Who may use the control sockets, under users and groups of their own, and what is told of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use mcr_api::control::read_only_path;
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::user_namespace::require_other_users;
use mcr_lab::{program, wait};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::fixture::SOON;
use crate::startup::refused_start;

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite
        .trial("access::sockets_belong_to_whom_they_should", sockets_belong_to_whom_they_should)
        .trial("access::a_group_changes_and_another_looks", a_group_changes_and_another_looks)
        .trial("access::a_loosened_file_lets_nobody_in", a_loosened_file_lets_nobody_in)
        .trial("access::no_level_or_rate_hides_a_change", no_level_or_rate_hides_a_change)
        .trial("access::reloads_are_changes", reloads_are_changes)
        .trial("access::a_user_has_so_many_clients", a_user_has_so_many_clients)
        .trial("access::an_absent_group_is_named", an_absent_group_is_named)
}

/// Numbers that no user or group of a usual system has.
const OWNER: u32 = 61_001;
const CHANGERS: u32 = 61_002;
const READERS: u32 = 61_003;
const SOMEBODY: u32 = 61_004;
/// How many clients a user may have at a time, as documented.
const CLIENTS_OF_A_USER: usize = 16;

const RULE: [&str; 4] = ["add", "239.1.1.1:5000@lo", "--to", "239.2.2.2:6000@lo"];

/// A daemon whose sockets others than root can reach, and a client that they can run.
struct Scene {
    daemon: Daemon,
    client: PathBuf,
}

impl Scene {
    fn new() -> Result<Self> {
        require_other_users()?;
        let [owner, changers, readers] = [OWNER, CHANGERS, READERS].map(|id| id.to_string());
        let arguments = [
            ["--cores", "0"],
            ["--control-owner", &owner],
            ["--control-group", &changers],
            ["--control-read-group", &readers],
        ];
        let daemon = Daemon::start(&Namespace::new("relay")?, arguments.as_flattened())?;
        let directory = daemon.control_path().parent().context("the socket's directory")?;
        fs::set_permissions(directory, Permissions::from_mode(0o711))?;
        // The build's own may be where only its user can go.
        let client = directory.join("mcrctl");
        program::copy(&program::mcrctl()?, &client)?;
        Ok(Self { daemon, client })
    }

    fn command(&self, (uid, gid): (u32, u32), arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command.arg("--control").arg(self.daemon.control_path()).args(arguments);
        command.uid(uid).gid(gid).current_dir("/").stdin(Stdio::null());
        command
    }

    fn run(&self, who: (u32, u32), arguments: &[&str]) -> Result<Output> {
        self.command(who, arguments).output().context("running mcrctl as somebody")
    }

    fn end(mut self) -> Result<()> {
        ensure!(self.daemon.terminate()?.success(), "the daemon's end");
        ensure!(!read_only_path(self.daemon.control_path()).exists(), "a socket was left behind");
        Ok(())
    }
}

fn expect(output: &Output, code: i32, words: &str) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code) && stderr.contains(words), "{output:?}");
    Ok(())
}

fn sockets_belong_to_whom_they_should() -> Result<()> {
    let scene = Scene::new()?;
    let path = scene.daemon.control_path().to_owned();
    for (path, group) in [(read_only_path(&path), READERS), (path, CHANGERS)] {
        let file = fs::metadata(&path)?;
        let found = (file.uid(), file.gid(), file.mode() & 0o7777);
        ensure!(found == (OWNER, group, 0o660), "{}: {found:?}", path.display());
    }
    expect(&scene.run((OWNER, SOMEBODY), &["list"])?, 0, "")?;
    scene.end()
}

fn a_group_changes_and_another_looks() -> Result<()> {
    let scene = Scene::new()?;
    let log = |text: &str| scene.daemon.wait_for_log(text, SOON);
    expect(&scene.run((SOMEBODY, CHANGERS), &RULE)?, 0, "")?;
    log("change 1 by uid 61004 pid ")?;
    log(": ok, rule 1: {\"command\":\"AddRule\",\"rule\":{\"input\":\"239.1.1.1:5000@lo\"")?;
    // Looking is not audited, whoever looks.
    for look in ["list", "stats", "workers", "events", "version"] {
        expect(&scene.run((SOMEBODY, READERS), &[look])?, 0, "")?;
    }
    for change in [&["remove", "1"][..], &["reload"], &["log-level", "debug"], &RULE] {
        expect(&scene.run((SOMEBODY, READERS), change)?, 77, "for looking only")?;
    }
    log("change 2 by uid 61004 pid ")?;
    log(": refused, forbidden: {\"command\":\"RemoveRule\",\"rule\":1}")?;
    expect(&scene.run((SOMEBODY, SOMEBODY), &["list"])?, 77, "no permission")?;
    expect(&scene.run((0, 0), &["remove", "1"])?, 0, "")?;
    log("change 6 by uid 0 (root) pid ")?;
    expect(&scene.run((0, 0), &["remove", "1"])?, 65, "there is no rule 1")?;
    log(": refused, not_found: ")?;
    scene.end()
}

fn a_loosened_file_lets_nobody_in() -> Result<()> {
    let scene = Scene::new()?;
    fs::set_permissions(scene.daemon.control_path(), Permissions::from_mode(0o666))?;
    let refused = scene.run((SOMEBODY, SOMEBODY), &RULE)?;
    expect(&refused, 77, "neither this user nor one of its groups")?;
    scene.daemon.wait_for_log("a client of uid 61004 was turned away", SOON)?;
    expect(&scene.run((SOMEBODY, CHANGERS), &RULE)?, 0, "")?;
    scene.end()
}

fn no_level_or_rate_hides_a_change() -> Result<()> {
    const CHANGES: usize = 500;
    let daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])?;
    ensure!(daemon.mcrctl(&["log-level", "error"])?.status.success(), "the level is set");
    let audit = daemon.mcrctl(&["log-level", "audit", "error"])?;
    expect(&audit, 65, "always logged")?;
    let change = r#"{"id":1,"command":"RemoveRule","rule":7}"#;
    for _ in 0..CHANGES {
        ensure!(daemon.control(change)?["error"]["code"] == "not_found", "there is no rule 7");
    }
    daemon.wait_for_log(&format!("change {} by uid 0", CHANGES + 2), SOON)?;
    let lines = daemon.log_lines();
    let missing = |number: &usize| {
        let start = format!("change {number} by uid 0 (root) pid ");
        lines.iter().filter(|line| line.contains(&start)).count() != 1
    };
    let missing: Vec<usize> = (1..=CHANGES + 2).filter(missing).collect();
    ensure!(missing.is_empty(), "{missing:?} in {lines:?}");
    Ok(())
}

fn reloads_are_changes() -> Result<()> {
    let directory = TempDir::new()?;
    let file = directory.path().join("mcr.toml");
    fs::write(&file, "")?;
    let file_text = file.to_str().context("temporary paths are text")?;
    let arguments = ["--cores", "0", "--config", file_text];
    let daemon = Daemon::start(&Namespace::new("relay")?, &arguments)?;
    fs::write(&file, "[[rule]]\ninput = \"239.1.1.1:5000@lo\"\noutputs = [\"239.2.2.2:1@lo\"]")?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.wait_for_log("change 1 by SIGHUP: ok, 1 new, 0 gone, 0 kept: ", SOON)?;
    fs::write(&file, "nonsense")?;
    ensure!(!daemon.mcrctl(&["reload"])?.status.success(), "nonsense was taken");
    daemon.wait_for_log("change 2 by uid 0 (root) pid ", SOON)?;
    daemon.wait_for_log(": refused, invalid: {\"command\":\"Reload\"}", SOON)
}

/// Children that are ended when this is dropped.
struct Crowd(Vec<Child>);

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

fn a_user_has_so_many_clients() -> Result<()> {
    let scene = Scene::new()?;
    let mut crowd = Crowd(Vec::new());
    wait::until("its places are taken", SOON, || {
        // One may have come while we had the last place, to see whether there is any.
        crowd.0.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        while crowd.0.len() < CLIENTS_OF_A_USER {
            let mut follow = scene.command((SOMEBODY, CHANGERS), &["events", "--follow"]);
            follow.stdout(Stdio::null()).stderr(Stdio::null());
            crowd.0.push(follow.spawn()?);
        }
        let output = scene.run((SOMEBODY, CHANGERS), &["version"])?;
        Ok(expect(&output, 75, "16 clients of this user are connected").is_ok())
    })?;
    expect(&scene.run((OWNER, SOMEBODY), &["version"])?, 0, "")?;
    expect(&scene.run((0, 0), &["version"])?, 0, "")?;
    drop(crowd);
    wait::until("they are free again", SOON, || {
        Ok(scene.run((SOMEBODY, CHANGERS), &["version"])?.status.success())
    })?;
    scene.end()
}

fn an_absent_group_is_named() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let directory = TempDir::new()?;
    let control = directory.path().join("control.sock");
    let control = control.to_str().context("temporary paths are text")?;
    for (option, kind) in [
        ("--control-owner", "there is no user"),
        ("--control-group", "there is no group"),
        ("--control-read-group", "there is no group"),
    ] {
        let arguments = ["--control", control, "--cores", "0", option, "no-such"];
        refused_start(&namespace, &arguments)?.expect(67, &[kind, "no-such", option])?;
    }
    ensure!(fs::read_dir(directory.path())?.next().is_none(), "something was left behind");
    Ok(())
}
