//! How the daemon begins and ends: what it says, what it refuses, what it leaves behind.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use caps::{CapSet, Capability};
use mcr_api::control::{self, Version, Workers};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::{program, wait};
use mcr_sys::process::{allowed_cores, realtime_scheduling_permitted};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::fixture::{Relay, SOON};
use crate::variant::{Family, Variant, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let suite = suite
        .trial("startup::the_ready_line_tells_what_runs", the_ready_line_tells_what_runs)
        .trial("startup::a_wrong_command_line_is_a_usage_error", wrong_command_lines)
        .trial("startup::without_the_capability", without_the_capability)
        .trial("startup::what_the_machine_lacks_is_named", what_the_machine_lacks)
        .trial("startup::realtime_workers", realtime_workers)
        .trial("startup::a_live_daemon_is_left_alone", a_live_daemon_is_left_alone)
        .trial("startup::a_stale_socket_is_replaced", a_stale_socket_is_replaced)
        .trial("startup::the_control_directory_is_made", the_control_directory_is_made);
    let mechanisms: Vec<Variant> =
        Variant::all().into_iter().filter(|v| v.family == Family::V4).collect();
    matrix(suite, "startup::the_mechanism_is_shown", &mechanisms, the_mechanism_is_shown)
}

/// How a daemon ended that did not begin.
#[derive(Debug)]
pub(crate) struct NotStarted {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl NotStarted {
    /// One line, with this code, that holds these words.
    pub(crate) fn expect(&self, code: i32, words: &[&str]) -> Result<()> {
        let one_line = self.stderr.lines().count() == 1 && self.stderr.starts_with("mcrd: ");
        let named = words.iter().all(|word| self.stderr.contains(word));
        ensure!(self.code == Some(code) && one_line && named, "no {code}, {words:?}: {self:?}");
        Ok(())
    }
}

/// Starts a daemon that must end by itself.
pub(crate) fn refused_start(namespace: &Namespace, arguments: &[&str]) -> Result<NotStarted> {
    let mut command = mcrd()?;
    command.args(arguments);
    ended(namespace.spawn(command)?)
}

fn mcrd() -> Result<Command> {
    Ok(piped(program::mcrd()?))
}

fn piped(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn ended(mut child: Child) -> Result<NotStarted> {
    let waited = wait::until("mcrd ends by itself", SOON, || Ok(child.try_wait()?.is_some()));
    if waited.is_err() {
        child.kill()?;
    }
    let code = child.wait()?.code();
    let mut stderr = String::new();
    child.stderr.take().context("standard error is piped")?.read_to_string(&mut stderr)?;
    waited.with_context(|| stderr.clone())?;
    Ok(NotStarted { code, stderr })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("temporary paths are text")
}

fn the_ready_line_tells_what_runs() -> Result<()> {
    let daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])?;
    let control = daemon.control_path().display().to_string();
    let expected = format!("mcrd: ready: 1 worker on core 0, 0 rules, control socket {control}");
    ensure!(daemon.log_lines() == [expected], "{:?}", daemon.log_lines());
    Ok(())
}

/// Nothing of this may touch the control path, which belongs to nobody here.
fn wrong_command_lines() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let directory = TempDir::new()?;
    let control = directory.path().join("control.sock");
    let forbidden = allowed_cores().last().context("some core is allowed")? + 1;
    let (forbidden, half) = (forbidden.to_string(), format!("0,{forbidden}"));
    let lists = ["", "a", "3-1", "0,", "-1", "0,0", "99999999", &forbidden, &half];
    for list in lists {
        let cores = format!("--cores={list}");
        let ended = refused_start(&namespace, &["--control", text(&control)?, &cores])?;
        ensure!(ended.code == Some(64) && ended.stderr.contains("--cores"), "{list:?}: {ended:?}");
    }
    let both = ["--scheduling", "realtime", "--busy-poll-us", "9"];
    for arguments in [&["--io", "fast"][..], &both, &["--dance"], &["dance"], &["--cores"]] {
        let ended = refused_start(&namespace, arguments)?;
        ensure!(ended.code == Some(64) && !ended.stderr.is_empty(), "{arguments:?}: {ended:?}");
    }
    ensure!(fs::read_dir(directory.path())?.next().is_none(), "something was left behind");
    Ok(())
}

/// Said at the start in a line with a remedy, in place of a panic or of workers that die.
fn what_the_machine_lacks() -> Result<()> {
    let directory = TempDir::new()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
    let control = directory.path().join("control.sock");
    let arguments = ["--cores", "0", "--control", text(&control)?];
    let namespace = Namespace::new("relay")?;
    let limited = |limit: &str| {
        let mut shell = piped("sh");
        shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]);
        shell.arg(program::mcrd()?).args(arguments);
        Ok::<_, anyhow::Error>(shell)
    };
    let narrow = ended(namespace.spawn(limited("ulimit -v 65536")?)?)?;
    narrow.expect(71, &["address space", "64 MiB", "ulimit -v"])?;
    let mut command = mcrd()?;
    command.args(arguments);
    let without_proc = namespace.enter(move || -> Result<Child> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
        mount(nothing, "/proc", Some("tmpfs"), MsFlags::empty(), nothing)?;
        Ok(command.spawn()?)
    })?;
    ended(without_proc)?.expect(71, &["/proc/self/exe", "mount /proc"])?;
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let mcrd = directory.path().join("mcrd");
    program::copy(&program::mcrd()?, &mcrd)?;
    // dash has -p for what others call -u.
    let mut alone = piped("sh");
    alone.args(["-c", "ulimit -u 1 2>/dev/null || ulimit -p 1; exec \"$0\" \"$@\""]);
    alone.arg(mcrd).args(arguments).uid(LONELY).gid(LONELY);
    ended(namespace.spawn(alone)?)?.expect(71, &["threads and processes", "ulimit -u"])
}

/// A user that has no process.
const LONELY: u32 = 61_234;

/// The bounding set is a thread's own and takes a capability also from root's programs.
fn without_the_capability() -> Result<()> {
    let directory = TempDir::new()?;
    let control = directory.path().join("run/control.sock");
    let mut command = mcrd()?;
    command.arg("--control").arg(&control);
    let child = Namespace::new("relay")?.enter(|| -> Result<Child> {
        caps::drop(None, CapSet::Bounding, Capability::CAP_NET_RAW)?;
        Ok(command.spawn()?)
    })?;
    ended(child)?.expect(77, &["CAP_NET_RAW", "setcap"])?;
    ensure!(!control.exists(), "a socket was left behind");
    Ok(())
}

fn realtime_workers() -> Result<()> {
    let realtime = ["--cores", "0", "--scheduling", "realtime"];
    let directory = TempDir::new()?;
    let mut command = mcrd()?;
    command.arg("--control").arg(directory.path().join("control.sock")).args(realtime);
    let child = Namespace::new("relay")?.enter(|| -> Result<Child> {
        caps::drop(None, CapSet::Bounding, Capability::CAP_SYS_NICE)?;
        Ok(command.spawn()?)
    })?;
    ended(child)?.expect(77, &["real-time scheduling", "CAP_SYS_NICE"])?;
    if let Err(refusal) = realtime_scheduling_permitted() {
        // As an ordinary user; what is left to see has been seen.
        ensure!(refusal.to_string().contains("CAP_SYS_NICE"), "{refusal}");
        return Ok(());
    }
    for (arguments, expected) in [(&realtime[..], "1"), (&realtime[..2], "0")] {
        let daemon = Daemon::start(&Namespace::new("relay")?, arguments)?;
        let workers: Workers = daemon.ask(&control::Command::ListWorkers {})?;
        let pid = workers.workers[0].pid.context("the worker runs")?;
        ensure!(policy(pid)? == expected, "{arguments:?}: {}", policy(pid)?);
        ensure!(policy(daemon.pid())? == "0", "the supervisor: {}", policy(daemon.pid())?);
    }
    Ok(())
}

/// The scheduling policy of a process, the 41st field of its `stat` (proc(5)): 0 is `SCHED_OTHER`,
/// 1 is `SCHED_FIFO`. The second field, in brackets, may hold spaces.
fn policy(pid: u32) -> Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().context("a name in brackets")?;
    let policy = after_name.split_whitespace().nth(41 - 3);
    Ok(policy.context("41 fields")?.to_owned())
}

fn a_live_daemon_is_left_alone() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let mut daemon = Daemon::start(&namespace, &["--cores", "0"])?;
    let control = text(daemon.control_path())?.to_owned();
    let arguments = ["--control", &control, "--cores", "0"];
    let ended = refused_start(&namespace, &arguments)?;
    ended.expect(69, &[&control, "another mcrd", "--control"])?;
    let _: Version = daemon.ask(&control::Command::GetVersion {})?;
    let status = daemon.terminate()?;
    ensure!(status.success() && !Path::new(&control).exists(), "{status}");
    Ok(())
}

fn a_stale_socket_is_replaced() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let mut killed = Daemon::start(&namespace, &["--cores", "0"])?;
    killed.signal(Signal::SIGKILL)?;
    killed.wait_for_exit(SOON)?;
    let control = killed.control_path().to_owned();
    ensure!(control.exists(), "a killed daemon cannot remove its socket");
    let mut daemon = Daemon::start_at(&namespace, &control, &["--cores", "0"])?;
    let _: Version = daemon.ask(&control::Command::GetVersion {})?;
    ensure!(daemon.terminate()?.success(), "the second daemon's end");
    // What is no socket is nobody's to delete.
    fs::write(&control, "precious")?;
    let ended = refused_start(&namespace, &["--control", text(&control)?, "--cores", "0"])?;
    ended.expect(73, &["not a socket"])?;
    ensure!(fs::read_to_string(&control)? == "precious", "the file was touched");
    Ok(())
}

fn the_control_directory_is_made() -> Result<()> {
    let directory = TempDir::new()?;
    let control = directory.path().join("run/mcr/control.sock");
    let namespace = Namespace::new("relay")?;
    let mut daemon = Daemon::start_at(&namespace, &control, &["--cores", "0"])?;
    let _: Version = daemon.ask(&control::Command::GetVersion {})?;
    ensure!(daemon.terminate()?.success(), "its end");
    let left = fs::read_dir(directory.path().join("run/mcr"))?.count();
    ensure!(left == 0, "{left} files were left behind");
    Ok(())
}

fn the_mechanism_is_shown(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let Workers { workers, .. } = relay.workers()?;
        let cores: Vec<usize> = workers.iter().map(|worker| worker.core as usize).collect();
        ensure!(cores == relay.cores, "{workers:?}");
        ensure!(workers.iter().all(|worker| worker.io == Some(variant.io)), "{workers:?}");
        let stats = relay.settled(0)?;
        ensure!(stats.cores.iter().all(|core| core.io == Some(variant.io)), "{:?}", stats.cores);
        let shown = String::from_utf8(relay.daemon.mcrctl(&["workers"])?.stdout)?;
        let named = shown.lines().filter(|line| line.contains(variant.io.name())).count();
        ensure!(named == variant.workers, "{shown}");
        Ok(())
    })
}
