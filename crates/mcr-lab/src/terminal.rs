//! A program in a terminal of its own, and what a person would see there.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use vt100::Parser;

use crate::wait;

/// A terminal (pty(7)) with a program in it. Dropped: killed.
pub struct Terminal {
    child: Child,
    ours: File,
    /// Held, so that its settings can be looked at when the program has ended.
    theirs: Option<OwnedFd>,
    settings: Termios,
    screen: Arc<Mutex<Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts the program in a terminal of so many lines and columns.
    pub fn start(program: &Command, lines: u16, columns: u16) -> Result<Self> {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).context("a terminal")?;
        let settings = tcgetattr(&slave)?;
        // A session of its own, for else the terminal that the tests run in would be the one whose
        // size is asked for.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program.get_program()).args(program.get_args());
        command.env("TERM", "xterm-256color");
        command.stdin(Stdio::from(slave.try_clone()?));
        command.stdout(Stdio::from(slave.try_clone()?));
        command.stderr(Stdio::from(slave.try_clone()?));
        let child = command.spawn().context("setsid (util-linux)")?;
        let ours = File::from(master);
        let screen = Arc::new(Mutex::new(Parser::new(lines, columns, 0)));
        let reader = thread::spawn({
            let (mut ours, screen) = (ours.try_clone()?, Arc::clone(&screen));
            move || {
                let mut bytes = [0; 4096];
                // EIO: nobody has the other side any more.
                while let Ok(count @ 1..) = ours.read(&mut bytes) {
                    locked(&screen).process(&bytes[..count]);
                }
            }
        });
        Ok(Self { child, ours, theirs: Some(slave), settings, screen, reader: Some(reader) })
    }

    /// Presses keys: the bytes that a terminal sends for them.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.ours.write_all(keys.as_bytes()).context("pressing keys")
    }

    /// The lines on the screen.
    pub fn lines(&self) -> Vec<String> {
        let screen = locked(&self.screen);
        let (_, columns) = screen.screen().size();
        screen.screen().rows(0, columns).collect()
    }

    /// Waits until a line on the screen is as wanted.
    pub fn wait_for_line(
        &self,
        what: &str,
        within: Duration,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        wait::until(what, within, || Ok(self.lines().iter().any(|line| is_wanted(line))))
            .with_context(|| format!("on the screen:\n{}\n", self.lines().join("\n")))
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), signal).context("signalling the program")
    }

    /// Whether the program has the terminal to itself: no line editing, another screen, no cursor.
    pub fn is_taken(&self) -> Result<bool> {
        let is_raw = !self.settings_now()?.local_flags.contains(LocalFlags::ICANON);
        let parser = locked(&self.screen);
        Ok(is_raw && parser.screen().alternate_screen() && parser.screen().hide_cursor())
    }

    /// Waits until the program has ended, and checks that the terminal is as it was.
    pub fn wait_for_end(&mut self, within: Duration) -> Result<ExitStatus> {
        let mut status = None;
        wait::until("the program in the terminal ends", within, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        wait::until("the terminal's own screen and its cursor are back", within, || {
            let parser = locked(&self.screen);
            Ok(!parser.screen().alternate_screen() && !parser.screen().hide_cursor())
        })?;
        let now = self.settings_now()?;
        ensure!(now == self.settings, "left behind: {now:?}, was {:?}", self.settings);
        status.context("the wait ends with a status")
    }

    fn settings_now(&self) -> Result<Termios> {
        let theirs = self.theirs.as_ref().context("the terminal is there until it is dropped")?;
        tcgetattr(theirs).context("the terminal's settings")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // By its own id, and only while it has not been waited for; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.theirs.take());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn locked(screen: &Mutex<Parser>) -> MutexGuard<'_, Parser> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}
