//! What the worker has to say, written into a pipe that never blocks it. The supervisor formats
//! and prints.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mcr_api::log::{Area, Level, Levels, LogRecord};
use mcr_core::endpoint::InterfaceName;
use mcr_core::ids::{RuleId, WorkerId};

/// The writing end of the log pipe.
#[derive(Debug)]
pub(crate) struct Log {
    /// Shared with the panic hook, which outlives everything.
    pipe: Arc<File>,
    worker: WorkerId,
    levels: RefCell<Levels>,
    dropped: Cell<u64>,
}

/// The subject of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About<'a> {
    /// The worker itself.
    Worker,
    Interface(&'a InterfaceName),
    Rule(RuleId),
}

impl Log {
    /// With the levels that the supervisor takes for granted until it says others.
    pub(crate) fn new(pipe: OwnedFd, worker: WorkerId) -> Self {
        let levels = RefCell::new(Levels::default());
        Self { pipe: Arc::new(pipe.into()), worker, levels, dropped: Cell::new(0) }
    }

    pub(crate) fn set_levels(&self, levels: Levels) {
        self.levels.replace(levels);
    }

    /// Writes a record, or counts it as dropped. A line is shorter than what a pipe takes as a
    /// whole (`PIPE_BUF`, pipe(7)), so none is ever written by half. The message is made only where
    /// the level lets it through.
    pub(crate) fn write(
        &self,
        level: Level,
        area: Area,
        about: About<'_>,
        message: impl FnOnce() -> String,
    ) {
        if level > self.levels.borrow().of(area) {
            return;
        }
        let line = record(level, area, self.worker, about, message()).to_line();
        if !matches!((&*self.pipe).write(&line), Ok(written) if written == line.len()) {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// How many records were dropped since the last call.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.dropped.take()
    }

    /// Has a panic's message reach the supervisor's log too.
    pub(crate) fn report_panics(&self) {
        let pipe = Arc::clone(&self.pipe);
        let worker = self.worker;
        std::panic::set_hook(Box::new(move |panic| {
            let message = panic.to_string().replace('\n', " ");
            let record = record(Level::Error, Area::Panic, worker, About::Worker, message);
            // The process ends now; nothing is left to be done about a full pipe.
            let _ = (&*pipe).write(&record.to_line());
        }));
    }
}

fn record(
    level: Level,
    area: Area,
    worker: WorkerId,
    about: About<'_>,
    message: String,
) -> LogRecord {
    let (interface, rule) = match about {
        About::Worker => (None, None),
        About::Interface(name) => (Some(name.to_string()), None),
        About::Rule(id) => (None, Some(id.0)),
    };
    LogRecord { level, area, worker: worker.0, interface, rule, message }
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
        let (area, about) = (Area::Start, About::Worker);
        let write = |count| {
            (0..count).for_each(|n| log.write(Level::Warn, area, about, || format!("{n}")));
        };
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
        assert!(lines.len() > 1);
    }

    #[test]
    fn each_area_has_its_level_and_what_is_below_is_not_even_made() {
        let (mut reader, writer) = pipe().unwrap();
        let log = Log::new(writer.into(), WorkerId(2));
        let interface = "eth0".parse().unwrap();
        log.write(Level::Debug, Area::Ingress, About::Worker, || panic!("below the level"));
        let mut levels = Levels::default();
        levels.set(Some(Area::Ingress), Level::Debug);
        levels.set(Some(Area::Commands), Level::Error);
        log.set_levels(levels);
        log.write(Level::Warn, Area::Commands, About::Worker, || panic!("below the level"));
        log.write(Level::Debug, Area::Ingress, About::Interface(&interface), || "it is up".into());
        drop(log);
        let mut line = Vec::new();
        reader.read_to_end(&mut line).unwrap();
        let LogRecord { area, interface, worker, .. } = LogRecord::from_line(&line).unwrap();
        assert_eq!((area, interface.as_deref(), worker), (Area::Ingress, Some("eth0"), 2));
    }
}
