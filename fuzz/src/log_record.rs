//! What a worker writes into its log pipe, which one that was taken over may write as it likes.

use mcr_api::limits::LOG_LINE_BYTES;
use mcr_api::log::LogRecord;

/// Reads each line as a record; one that is written again is cut to its length.
pub fn log_record(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(record) = LogRecord::from_line(line) else { continue };
        let written = record.to_line();
        let again = LogRecord::from_line(&written).expect("it was just written");
        if line.len() < LOG_LINE_BYTES / 6 {
            // No text grows more than sixfold in JSON.
            assert_eq!(again, record);
        } else {
            assert_eq!(
                (again.level, again.area, again.rule),
                (record.level, record.area, record.rule)
            );
        }
    }
}
