//! What goes to the journal, by a socket in its place: in a mount namespace of its own the daemon
//! finds the trial where the journal listens.

use std::fs;
use std::io::{ErrorKind, Read, pipe};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use mcr_lab::harness::Skip;
use mcr_lab::namespace::Namespace;
use mcr_lab::{program, wait};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::fstat;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::fixture::SOON;

/// Fields a line, one datagram an entry, and nothing on standard error.
pub(super) fn has_fields() -> Result<()> {
    let directory = TempDir::new()?;
    let control = directory.path().join("control.sock");
    let (mut stderr, writer) = pipe()?;
    let stat = fstat(&writer)?;
    let mut daemon = Command::new(program::mcrd()?);
    daemon.args(["--cores", "0", "--control"]).arg(&control);
    daemon.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
    let mut client = Command::new(program::mcrctl()?);
    client.arg("--control").arg(&control);
    client.args(["add", "239.1.1.1:5000@lo", "--to", "127.0.0.1:7000@lo"]);
    let (journal, child) = Namespace::new("relay")?.enter(|| -> Result<_> {
        let journal = in_the_journals_place().map_err(or_skip)?;
        Ok((journal, daemon.spawn()?))
    })?;
    // What this process still holds of it would keep the pipe from ending.
    drop(daemon);
    let mut child = Killed(child);
    entry_with(&journal, &["MESSAGE=ready: 1 worker on core 0, ", "PRIORITY=6\n"])?;
    ensure!(client.output()?.status.success(), "a rule");
    let added = entry_with(&journal, &["MESSAGE=rule 1 added: ", "\nMCR_RULE=1\n"])?;
    ensure!(added.contains("\nSYSLOG_IDENTIFIER=mcrd\nMCR_AREA=rules\n"), "{added}");
    let pid = Pid::from_raw(child.0.id() as i32);
    let workers = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let worker = workers.split_whitespace().next().context("a worker")?.parse()?;
    kill(Pid::from_raw(worker), Signal::SIGKILL)?;
    entry_with(&journal, &["(killed by signal 9)", "\nPRIORITY=4\n", "\nMCR_WORKER=0\n"])?;
    kill(pid, Signal::SIGTERM)?;
    wait::until("the daemon ends", SOON, || Ok(child.0.try_wait()?.is_some()))?;
    let mut rest = String::new();
    stderr.read_to_string(&mut rest)?;
    ensure!(rest.is_empty(), "beside the journal: {rest}");
    Ok(())
}

/// A daemon that ends with its trial.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Moves this thread, and whom it starts, to where the journal's socket is the trial's.
fn in_the_journals_place() -> Result<UnixDatagram> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
    let directory = Path::new("/run/systemd/journal");
    fs::create_dir_all(directory)?;
    Ok(UnixDatagram::bind(directory.join("socket"))?)
}

/// Containers may forbid mounts to whom they let make namespaces.
fn or_skip(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(Errno::EPERM) => Skip::Forbidden("a mount in a namespace of one's own".into()).into(),
        _ => error,
    }
}

/// The next entry that holds these words; others may come before it.
fn entry_with(journal: &UnixDatagram, words: &[&str]) -> Result<String> {
    let deadline = Instant::now() + SOON;
    let mut entries = Vec::new();
    let mut entry = [0; 8_192];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("no {words:?} in {entries:#?}");
        }
        journal.set_read_timeout(Some(left))?;
        match journal.recv(&mut entry) {
            Ok(length) => {
                let text = String::from_utf8(entry[..length].to_vec())?;
                if words.iter().all(|word| text.contains(word)) {
                    return Ok(text);
                }
                entries.push(text);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}
