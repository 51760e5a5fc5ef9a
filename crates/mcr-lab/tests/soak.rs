//! The soak tries itself: a short one goes well, and one with a fault that nobody has announced
//! does not.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use mcr_lab::harness::Suite;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One after the other: each wants the cores for its traffic.
static MACHINE: Mutex<()> = Mutex::new(());

fn main() -> ExitCode {
    Suite::new("soak")
        .trial("a_short_soak_goes_well", || alone(a_short_soak_goes_well))
        .trial("an_unannounced_fault_is_found", || alone(an_unannounced_fault_is_found))
        .run()
}

fn alone(trial: impl FnOnce() -> Result<()>) -> Result<()> {
    let _turn = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    trial()
}

fn a_short_soak_goes_well() -> Result<()> {
    let mut soak = Soak::start(&["15s", "--seed", "4"])?;
    let said = soak.rest()?;
    let status = soak.child.wait()?;
    ensure!(status.success() && said.contains("All is as it should be"), "{status}:\n{said}");
    ensure!(said.contains("seed 4: "), "the seed is not told:\n{said}");
    Ok(())
}

/// While the soak only changes rules, which concerns no flow, a worker is killed behind its back.
fn an_unannounced_fault_is_found() -> Result<()> {
    let mut soak = Soak::start(&["6s", "--seed", "5", "--only", "rules-changed"])?;
    soak.read_until(" #1 rules-changed")?;
    let mcrd = children(soak.child.id())?;
    let worker = *children(*mcrd.first().context("no mcrd")?)?.first().context("no worker")?;
    kill(Pid::from_raw(worker as i32), Signal::SIGKILL)?;
    let said = soak.rest()?;
    let status = soak.child.wait()?;
    ensure!(status.code() == Some(1), "{status}:\n{said}");
    for words in ["lost, sent from", "1 workers were replaced, and 0 were meant", "with seed 5"] {
        ensure!(said.contains(words), "no {words:?} in:\n{said}");
    }
    Ok(())
}

/// A soak in a process of its own. Dropped: killed.
struct Soak {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Soak {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcr-lab"));
        command.arg("soak").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its output is piped")?);
        Ok(Self { child, lines })
    }

    fn read_until(&mut self, text: &str) -> Result<()> {
        for line in self.lines.by_ref().lines() {
            if line?.contains(text) {
                return Ok(());
            }
        }
        Err(anyhow::anyhow!("the soak ended without {text:?}"))
    }

    fn rest(&mut self) -> Result<String> {
        let mut text = String::new();
        self.lines.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        // By its own id, and only while it has not been waited for; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes that a process has started and that still run, in the order of their numbers.
fn children(parent: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // It may have ended since.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state and the parent follow the name, which stands in parentheses.
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest);
        let of = fields.and_then(|fields| fields.split_whitespace().nth(1)?.parse::<u32>().ok());
        if of == Some(parent) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    Ok(found)
}
