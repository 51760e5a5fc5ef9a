//! What the machine is, for whoever reads the figures later.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use mcr_sys::process::allowed_cores;
use serde::Serialize;

/// The machine and the time of a run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    /// The processor's name.
    pub(super) cpu: String,
    /// Cores that the benchmark may use.
    pub(super) cores: usize,
    /// The kernel's release.
    pub(super) kernel: String,
    /// Whether the kernel says that it runs in a virtual machine.
    pub(super) virtualised: bool,
    /// MCR's version.
    pub(super) mcr: &'static str,
    /// The day, in UTC.
    pub(super) date: String,
}

impl Machine {
    /// This one, now, before any thread is confined to a core.
    pub(super) fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cores: allowed_cores().len(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".into(), |release| release.trim().to_owned()),
            virtualised: field(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            mcr: env!("CARGO_PKG_VERSION"),
            date: date(now.as_secs() / (24 * 60 * 60)),
        }
    }
}

/// The first value of a name in `/proc/cpuinfo`.
fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// The date of a day after 1970-01-01: years are counted from March, so that the leap day is the
/// last of its year, and in eras of 400 years, which have 146,097 days.
fn date(days: u64) -> String {
    // 0000-03-01 is 719,468 days before the epoch.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + carry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let cases = [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (19_723, "2024-01-01"),
            (20_088, "2024-12-31"),
        ];
        for (days, expected) in cases {
            assert_eq!(date(days), expected, "day {days}");
        }
    }

    #[test]
    fn fields_of_cpuinfo_are_found() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(cpuinfo, "model name"), Some("A CPU"));
        assert_eq!(field(cpuinfo, "bogomips"), None);
    }
}
