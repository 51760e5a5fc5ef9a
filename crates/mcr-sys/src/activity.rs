//! The activity of another process (`proc_pid_stat(5)`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// The activity of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Its first thread runs, or would where it had a core.
    pub is_runnable: bool,
    /// What its threads have run since its start, to some 10 ms. Of this the time that a
    /// hypervisor took from a virtual core is no part, where the kernel is told of it
    /// (`CONFIG_PARAVIRT_TIME_ACCOUNTING`).
    pub ran: Duration,
}

/// Watches one process for as long as it lives.
#[derive(Debug)]
pub struct ActivityWatch {
    stat: File,
    /// A clock tick, in which the kernel counts here.
    tick: Duration,
}

impl ActivityWatch {
    /// Watches a process. What it becomes later, another user's or undumpable, does not end the
    /// watch, also where such processes cannot be seen (`hidepid=` in proc(5)).
    pub fn open(pid: u32) -> io::Result<Self> {
        let stat = File::open(format!("/proc/{pid}/stat"))?;
        let ticks = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u32::try_from(ticks).ok());
        let ticks = ticks.filter(|ticks| *ticks > 0).ok_or(io::ErrorKind::Unsupported)?;
        Ok(Self { stat, tick: Duration::from_secs(1) / ticks })
    }

    /// Its activity now.
    ///
    /// # Errors
    /// `ESRCH` where it has ended.
    pub fn look(&self) -> io::Result<Activity> {
        // Fifty numbers and a name of 64 bytes at most.
        let mut line = [0; 2048];
        let length = self.stat.read_at(&mut line, 0)?;
        let (is_runnable, ticks) = parse(&line[..length]).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Activity { is_runnable, ran: self.tick * ticks })
    }
}

/// Whether the state is `R`, and the sum of `utime` and `stime`.
fn parse(line: &[u8]) -> Option<(bool, u32)> {
    // `PID (NAME) STATE PPID ...`: the name may hold whatever a program calls itself.
    let name_ends = line.iter().rposition(|byte| *byte == b')')?;
    let mut fields = str::from_utf8(&line[name_ends + 1..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    // Fields 14 and 15 of the line, where the state is the third.
    let mut times = fields.skip(10).take(2).map(str::parse::<u32>);
    let user = times.next()?.ok()?;
    let system = times.next()?.ok()?;
    Some((state == "R", user.checked_add(system)?))
}

#[cfg(test)]
mod tests {
    use std::hint;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_name_cannot_pass_for_a_state() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 70 5 0 0 20 0 1 0 12";
        assert_eq!(parse(format!("17 (mcrd) {rest}").as_bytes()), Some((false, 75)));
        assert_eq!(parse(format!("17 (a) R 1 (b) {rest}\n").as_bytes()), Some((false, 75)));
        let running = rest.replace('S', "R");
        assert_eq!(parse(format!("17 (m) {running}").as_bytes()), Some((true, 75)));
        for cut in ["", "17 (m", "17 (m) ", "17 (m) R 1 2 3 4 5 6 7 8 9 10 70", "17 (m) R x"] {
            assert_eq!(parse(cut.as_bytes()), None, "{cut}");
        }
    }

    #[test]
    fn who_works_is_told_from_who_sleeps_and_who_is_gone() {
        let watch = ActivityWatch::open(std::process::id()).unwrap();
        let before = watch.look().unwrap().ran;
        let begun = Instant::now();
        while watch.look().unwrap().ran < before + Duration::from_millis(50) {
            assert!(begun.elapsed() < Duration::from_mins(1), "time does not go by");
            hint::spin_loop();
        }
        let mut sleeper = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let watch = ActivityWatch::open(sleeper.id()).unwrap();
        while watch.look().unwrap().is_runnable {
            assert!(begun.elapsed() < Duration::from_mins(1), "it does not come to rest");
            thread::sleep(Duration::from_millis(1));
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert_eq!(watch.look().unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
