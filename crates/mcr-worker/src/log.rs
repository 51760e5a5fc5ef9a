//! What the worker has to say, written into a pipe that never blocks it. The supervisor formats
//! and prints.

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use mcr_api::log::{Level, LogRecord};
use mcr_core::ids::WorkerId;

/// The writing end of the log pipe.
#[derive(Debug)]
pub(crate) struct Log {
    pipe: File,
    worker: WorkerId,
    level: Cell<Level>,
    dropped: Cell<u64>,
}

impl Log {
    pub(crate) fn new(pipe: OwnedFd, worker: WorkerId) -> Self {
        Self { pipe: pipe.into(), worker, level: Cell::new(Level::Info), dropped: Cell::new(0) }
    }

    pub(crate) fn set_level(&self, level: Level) {
        self.level.set(level);
    }

    /// Writes a record, or counts it as dropped. A line is shorter than what a pipe takes as a
    /// whole (`PIPE_BUF`, pipe(7)), so none is ever written by half.
    pub(crate) fn write(&self, level: Level, area: &str, message: String) {
        if level > self.level.get() {
            return;
        }
        let record = LogRecord { level, area: area.into(), worker: self.worker.0, message };
        let line = record.to_line();
        if !matches!((&self.pipe).write(&line), Ok(written) if written == line.len()) {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// How many records were dropped since the last call.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.dropped.take()
    }

    /// Has a panic's message reach the supervisor's log too.
    pub(crate) fn report_panics(&self) -> std::io::Result<()> {
        let pipe = self.pipe.try_clone()?;
        let worker = self.worker.0;
        std::panic::set_hook(Box::new(move |panic| {
            let message = panic.to_string().replace('\n', " ");
            let record = LogRecord { level: Level::Error, area: "panic".into(), worker, message };
            // The process ends now; nothing is left to be done about a full pipe.
            let _ = (&pipe).write(&record.to_line());
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use mcr_sys::process::set_nonblocking;

    use super::*;

    #[test]
    fn what_a_full_pipe_does_not_take_is_counted_and_nobody_waits() {
        let (mut reader, writer) = pipe().unwrap();
        set_nonblocking(&writer).unwrap();
        let log = Log::new(writer.into(), WorkerId(0));
        let write = |count| (0..count).for_each(|n| log.write(Level::Warn, "test", format!("{n}")));
        // Some 60 bytes each, into the 64 KiB that a pipe holds by default.
        write(5_000);
        let dropped = log.take_dropped();
        assert!((1_000..5_000).contains(&dropped), "{dropped} of 5,000");
        assert_eq!(log.take_dropped(), 0);
        let mut taken = vec![0; 1 << 20];
        let bytes = reader.read(&mut taken).unwrap();
        let lines: Vec<_> = taken[..bytes].split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len() as u64, 5_000 - dropped);
        assert!(lines.iter().all(|line| LogRecord::from_line(line.trim_ascii_end()).is_ok()));
        write(1);
        assert_eq!(log.take_dropped(), 0, "there is room again");
        log.write(Level::Debug, "test", "below the level".into());
        assert_eq!(log.take_dropped(), 0);
    }
}
