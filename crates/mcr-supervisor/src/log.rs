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
use mcr_core::ids::WorkerId;
use tokio::io::BufReader;
use tokio::net::unix::pipe;
use tracing::{event, warn};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::SubscriberExt;

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

    /// What is let through.
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
            warn!(
                "{new} lines of this log were not printed, and since the start {dropped}: too \
                 many came, or nobody read them"
            );
            self.said = dropped;
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
    let mut line = Vec::new();
    loop {
        match read_line(&mut pipe, &mut line, LOG_LINE_BYTES).await {
            Ok(Line::Whole) => print(worker, &line),
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

fn print(worker: WorkerId, line: &[u8]) {
    let unreadable = |_| LogRecord {
        level: Level::Warn,
        area: Area::Start,
        worker: worker.0,
        interface: None,
        rule: None,
        message: String::from_utf8_lossy(line).escape_debug().to_string(),
    };
    let record = LogRecord::from_line(line).unwrap_or_else(unreadable);
    let LogRecord { level, area, interface, rule, message, .. } = record;
    // The macro wants a constant level.
    macro_rules! say {
        ($level:ident) => {
            event!(
                target: WORKER,
                tracing::Level::$level,
                by_worker = true,
                area = area.name(),
                worker = worker.0,
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
