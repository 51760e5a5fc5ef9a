//! Numbers as people read them, in as few characters as make sense.

use std::collections::BTreeMap;

/// At most five characters, three digits: `0`, `0.3`, `12`, `1.23k`, `45.6M`.
pub(crate) fn short(number: f64) -> String {
    if number < 999.5 {
        return if number == 0.0 {
            "0".into()
        } else if number < 9.95 {
            format!("{number:.1}")
        } else {
            format!("{number:.0}")
        };
    }
    let mut scaled = number / 1000.0;
    let mut prefixes = "kMGTP".chars();
    let mut prefix = prefixes.next().unwrap_or_default();
    // 999.6 would be written as 1000.
    while scaled >= 999.5 {
        let Some(next) = prefixes.next() else { break };
        prefix = next;
        scaled /= 1000.0;
    }
    let decimals = match scaled {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}{prefix}")
}

/// A counter in at most five characters: whole where it fits.
pub(crate) fn count(number: u64) -> String {
    if number < 100_000 { number.to_string() } else { short(number as f64) }
}

/// A time in at most seven characters, such as `12 ms`, `3.4 s`, `59 s`, `12 min`, `3.5 h`, `9 d`.
pub(crate) fn age(milliseconds: u64) -> String {
    let seconds = milliseconds as f64 / 1000.0;
    match milliseconds / 1000 {
        0 => format!("{milliseconds} ms"),
        1..=9 => format!("{seconds:.1} s"),
        10..=119 => format!("{seconds:.0} s"),
        120..=7199 => format!("{:.0} min", seconds / 60.0),
        7200..=172_799 => format!("{:.1} h", seconds / 3600.0),
        whole => format!("{} d", whole / 86_400),
    }
}

/// A daemon's time of running: `4 s`, `12:05`, `3:12:05`, `2 d 3:12`.
pub(crate) fn uptime(seconds: f64) -> String {
    let whole = seconds as u64;
    let (days, hours, minutes, rest) =
        (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes}:{rest:02}"),
        (0, _, _) => format!("{hours}:{minutes:02}:{rest:02}"),
        _ => format!("{days} d {hours}:{minutes:02}"),
    }
}

/// A part of the whole, from 0 to 1, as per cent.
pub(crate) fn per_cent(share: f64) -> String {
    let per_cent = share * 100.0;
    if per_cent > 0.0 && per_cent < 9.95 {
        format!("{per_cent:.1} %")
    } else {
        format!("{per_cent:.0} %")
    }
}

/// The sum of several rates by reason.
pub(crate) fn sum(rates: &BTreeMap<String, f64>) -> f64 {
    rates.values().sum()
}

/// The sum of several counts by reason, modulo 2^64 as the daemon's sums are.
pub(crate) fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().copied().fold(0, u64::wrapping_add)
}

/// A warning where several workers have one source, so that its datagrams may change places.
pub(crate) fn order(source_workers: u64) -> String {
    if source_workers < 2 {
        return String::new();
    }
    format!(", over {source_workers} workers: order not kept (--steering hash keeps it)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_and_five_characters() {
        let cases = [
            (0.0, "0"),
            (0.04, "0.0"),
            (0.26, "0.3"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (9_994.0, "9.99k"),
            (9_996.0, "10.0k"),
            (99_960.0, "100k"),
            (999_600.0, "1.00M"),
            (8.0e8, "800M"),
            (1.23e13, "12.3T"),
        ];
        for (number, text) in cases {
            assert_eq!(short(number), text);
        }
        assert_eq!([0, 99_999, 100_000, 1_234_567].map(count), ["0", "99999", "100k", "1.23M"]);
    }

    #[test]
    fn times_say_what_matters() {
        let ages = [0, 999, 3_440, 59_600, 125_000, 12_600_000, 900_000_000];
        assert_eq!(ages.map(age), ["0 ms", "999 ms", "3.4 s", "60 s", "2 min", "3.5 h", "10 d"]);
        let uptimes = [4.9, 725.0, 11_525.0, 184_325.0];
        assert_eq!(uptimes.map(uptime), ["4 s", "12:05", "3:12:05", "2 d 3:12"]);
        assert_eq!([0.0, 0.004, 0.5, 1.0].map(per_cent), ["0 %", "0.4 %", "50 %", "100 %"]);
    }
}
