//! Moments as they are written.

use std::time::Duration;

use time::OffsetDateTime;

/// A moment as RFC 3339 has it, in UTC and with milliseconds: `2026-11-23T05:00:00.123Z`.
/// `unix_ns` is nanoseconds since 1970.
pub fn utc(unix_ns: u64) -> String {
    // 64 bits of nanoseconds end in the year 2554.
    let moment = OffsetDateTime::UNIX_EPOCH + Duration::from_nanos(unix_ns);
    let (date, time) = (moment.date(), moment.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

/// The time of the day of a moment, in UTC and with nanoseconds: `05:00:00.123456789Z`. `unix_ns`
/// is nanoseconds since 1970.
pub fn time_of_day(unix_ns: u64) -> String {
    let time = (OffsetDateTime::UNIX_EPOCH + Duration::from_nanos(unix_ns)).time();
    let (hour, minute, second, nanosecond) = time.as_hms_nano();
    format!("{hour:02}:{minute:02}:{second:02}.{nanosecond:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400_007_999_999), "2000-02-29T00:00:00.007Z");
        assert_eq!(utc(u64::MAX), "2554-07-21T23:34:33.709Z");
        assert_eq!(time_of_day(u64::MAX), "23:34:33.709551615Z");
    }
}
