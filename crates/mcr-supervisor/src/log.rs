//! The log: records of the supervisor and of the workers, by levels of areas, each cause so often,
//! one line each on standard error or in the journal.

mod causes;
mod journal;
mod layer;
mod printer;
mod record;

use std::sync::Arc;

use mcr_api::limits::LOG_LINE_BYTES;
use mcr_api::log::{Area, Format, Level, Levels, LogRecord};
use mcr_core::endpoint::InterfaceName;
use mcr_core::ids::WorkerId;
use tokio::io::BufReader;
use tokio::net::unix::pipe;
use tokio::task::yield_now;
use tokio::time::sleep;
use tracing::{event, warn};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::SubscriberExt;

use crate::limits;
use crate::lines::{Line, read_line};
pub(crate) use layer::{INTERFACES, RULES};
use layer::{Records, WORKER};
use printer::Printer;

/// The log while it is printed. Dropped: what waits is printed, where somebody reads it.
#[derive(Debug)]
pub(crate) struct Log {
    printer: Arc<Printer>,
    levels: Levels,
    /// Lines that were not printed, as far as that was said.
    said: u64,
    _guard: WorkerGuard,
}

impl Log {
    /// Has records of these levels printed, as long as the answer lives; without a format as it
    /// suits where they go.
    pub(crate) fn begin(format: Option<Format>, levels: &Levels) -> Self {
        let (printer, guard) = Printer::begin(format, levels.clone());
        let printer = Arc::new(printer);
        let records = Records(Arc::clone(&printer));
        // Refused only where a subscriber is set, as in a test; that one then prints.
        _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(records));
        Self { printer, levels: levels.clone(), said: 0, _guard: guard }
    }

    /// Prints a line, whatever the rates and levels.
    pub(crate) fn line(&mut self, line: &str) {
        self.printer.print_always(line);
    }

    /// The levels that are printed.
    pub(crate) fn levels(&self) -> &Levels {
        &self.levels
    }

    /// Lets this through from now on.
    pub(crate) fn set_levels(&mut self, levels: Levels) {
        self.printer.set_levels(levels.clone());
        self.levels = levels;
    }

    /// Lines that were not printed so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.printer.dropped()
    }

    /// To be called now and then: says what was said again and again, and what was not printed.
    pub(crate) fn settle(&mut self) {
        self.printer.settle(false);
        let dropped = self.dropped();
        if dropped > self.said && self.printer.has_room() {
            let new = dropped - self.said;
            self.printer.print_directly(
                Level::Warn,
                format!(
                    "{new} lines of this log were not printed, and since the start {dropped}: too \
                     many came, or nobody read them"
                ),
            );
            // Where this line had no room either, the next one says it again.
            if self.dropped() == dropped {
                self.said = dropped;
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.printer.settle(true);
    }
}

/// Prints what a worker writes into its pipe, until its end.
pub(crate) async fn relay(worker: WorkerId, pipe: pipe::Receiver) {
    let mut pipe = BufReader::with_capacity(LOG_LINE_BYTES, pipe);
    let (mut line, mut lines) = (Vec::new(), 0_u32);
    loop {
        match read_line(&mut pipe, &mut line, LOG_LINE_BYTES).await {
            Ok(Line::Whole) => {
                print(&said(worker, &line));
                lines += 1;
                // Who writes without end takes no more than its turn, and few turns.
                if lines < limits::LOG_BURST {
                    yield_now().await;
                } else {
                    sleep(limits::WORKER_LOG_PAUSE).await;
                    lines = 0;
                }
            }
            // Not the worker's doing, who writes whole lines that are not too long.
            Ok(Line::TooLong | Line::Unfinished) => {
                warn!(
                    worker = worker.0,
                    "worker {worker}: unreadable log record: its log ends here, until it is \
                     replaced"
                );
                return;
            }
            Ok(Line::End) | Err(_) => return,
        }
    }
}

/// What a line out of a worker's pipe says. Whose the pipe is says who says it; an interface is one
/// only where it has a name of one; and what the supervisor alone says, no worker does.
fn said(worker: WorkerId, line: &[u8]) -> LogRecord {
    let record = LogRecord::from_line(line).ok().filter(|record| record.area != Area::Audit);
    let record = record.unwrap_or_else(|| LogRecord {
        level: Level::Warn,
        area: Area::Start,
        worker: worker.0,
        interface: None,
        rule: None,
        message: String::from_utf8_lossy(line).escape_debug().to_string(),
    });
    let interface = record.interface.filter(|name| name.parse::<InterfaceName>().is_ok());
    LogRecord { worker: worker.0, interface, ..record }
}

fn print(record: &LogRecord) {
    let LogRecord { level, area, worker, interface, rule, message } = record;
    // The macro wants a constant level.
    macro_rules! say {
        ($level:ident) => {
            event!(
                target: WORKER,
                tracing::Level::$level,
                by_worker = true,
                area = area.name(),
                worker,
                interface,
                rule,
                message
            )
        };
    }
    match level {
        Level::Error => say!(ERROR),
        Level::Warn => say!(WARN),
        Level::Info => say!(INFO),
        Level::Debug => say!(DEBUG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> LogRecord {
        said(WorkerId(3), line.as_bytes())
    }

    #[test]
    fn a_worker_speaks_for_itself_only() {
        let record = told(r#"{"level":"error","area":"panic","worker":8,"message":"x"}"#);
        assert_eq!((record.worker, record.area), (3, Area::Panic));
        let forged = told(r#"{"level":"info","area":"audit","worker":3,"message":"root"}"#);
        assert_eq!((forged.level, forged.area), (Level::Warn, Area::Start));
    }

    #[test]
    fn only_names_of_interfaces_are_taken_for_them() {
        let of = |name: &str| {
            let line =
                r#"{"level":"warn","area":"ingress","worker":3,"interface":"NAME","message":"x"}"#;
            told(&line.replace("NAME", name)).interface
        };
        assert_eq!(of("eth0.100"), Some("eth0.100".into()));
        for name in ["", "a\\nPRIORITY=0", "\\u001b[2J", &"n".repeat(128)] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_record_is_shown_escaped() {
        assert_eq!(told("\u{1b}[2J").message, "\\u{1b}[2J");
        let unreadable = said(WorkerId(3), b"\xff\0");
        assert!(!unreadable.message.contains('\0'));
    }
}
