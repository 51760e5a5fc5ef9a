//! The log: one line a record on standard error, those of the workers included.

mod printer;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use mcr_api::limits::LOG_LINE_BYTES;
use mcr_api::log::{Level, LogRecord};
use mcr_core::ids::WorkerId;
use tokio::io::BufReader;
use tokio::net::unix::pipe;
use tracing::{debug, error, info, warn};
use tracing_subscriber::filter::LevelFilter;

use crate::limits;
use crate::lines::{Line, read_line};
pub(crate) use printer::Log;

/// Has records of the information level and above printed, as long as the answer lives.
pub(crate) fn begin() -> Log {
    let log = Log::begin();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_writer(log.printer())
        .with_ansi(false)
        .with_target(false)
        .finish();
    // Refused only where a subscriber is set, as in a test; that one then prints.
    _ = tracing::subscriber::set_global_default(subscriber);
    log
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
                warn!("worker {worker}: unreadable log record");
                return;
            }
            Ok(Line::End) | Err(_) => return,
        }
    }
}

fn print(worker: WorkerId, line: &[u8]) {
    let Ok(LogRecord { level, area, message, .. }) = LogRecord::from_line(line) else {
        warn!("worker {worker}: {}", String::from_utf8_lossy(line).escape_debug());
        return;
    };
    // A record is a line, whatever stands in it.
    let message = message.replace(char::is_control, " ");
    if level == Level::Warn && !is_first(&message) {
        return;
    }
    match level {
        Level::Error => error!("worker {worker}: {area}: {message}"),
        Level::Warn => warn!("worker {worker}: {area}: {message}"),
        Level::Info => info!("worker {worker}: {area}: {message}"),
        Level::Debug => debug!("worker {worker}: {area}: {message}"),
    }
}

/// Whether no worker has given this warning lately. What is wrong with an interface, every worker
/// finds out for itself, and the operator wants to read it once.
fn is_first(warning: &str) -> bool {
    static GIVEN: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
    // A queue of texts is whole at every moment.
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    if given.iter().any(|text| text == warning) {
        return false;
    }
    if given.len() == limits::WARNINGS_KEPT {
        given.pop_front();
    }
    given.push_back(warning.to_owned());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_given_once_until_many_others_were() {
        assert!(is_first("eth0") && is_first("eth1") && !is_first("eth0"));
        assert!((0..limits::WARNINGS_KEPT).all(|n| is_first(&n.to_string())));
        assert!(is_first("eth0"));
    }
}
