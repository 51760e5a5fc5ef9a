//! What the demo shows, at most 80 columns wide.

use std::fmt::Write;

use mcr_api::control::{RuleStats, Stats};

use super::console::{duration, grouped};
use super::kernel_alone::KernelAlone;
use super::relaying::{Arrivals, Relayed};
use super::stage::{GROUP, OUTPUTS, ROUTABLE_SOURCE, RULE, input};
use crate::topology::source_v4;
use crate::{identity, limits};

/// The first act's result.
pub(super) fn kernel_alone(kernel: &KernelAlone) -> String {
    let sent = grouped(kernel.sent);
    let each = |delivered: &[u64]| {
        delivered.iter().map(|count| grouped(*count)).collect::<Vec<_>>().join(" and ")
    };
    let (with_route, without) = (ROUTABLE_SOURCE.to_string(), source_v4(0).to_string());
    format!(
        "1. The kernel alone, its multicast routing set up for {group} to out0 and out1\n\
         \n   {sent} datagrams from      delivered to out0 and out1\
         \n   {with_route:<15} (route)       {routable}\
         \n   {without:<15} (no route)    {unroutable}\n\
         \n   Its reverse-path check refused {refused}: no route back, no multicast.\n",
        group = GROUP.ip(),
        routable = each(&kernel.routable),
        unroutable = each(&kernel.unroutable),
        refused = grouped(kernel.refused),
    )
}

/// The second act's heading: the rule as an operator would add it.
pub(super) fn rule() -> String {
    let mut text = format!("2. MCR, with one rule\n\n   mcrctl add {} --name {RULE}", input());
    for output in OUTPUTS {
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, " \\\n     --to {}", output.endpoint());
    }
    text.push('\n');
    text
}

/// Why the traffic is not as fast as it could be.
pub(super) fn slowed_down(buffer_bytes: usize) -> String {
    format!(
        "   Only {} datagrams a second instead of {}: an ordinary user's\n   \
         receivers have buffers of no more than {} KiB (net.core.rmem_max).\n",
        grouped(limits::DEMO_RATE_SMALL_BUFFERS),
        grouped(limits::DEMO_RATE),
        buffer_bytes / 1024,
    )
}

/// The second act's result.
pub(super) fn relayed(relayed: &Relayed) -> String {
    let generator = &relayed.generator;
    let mut text = format!(
        "   {} datagrams sent in {:.1} s",
        grouped(generator.total()),
        generator.elapsed.as_secs_f64(),
    );
    if !generator.forgiven.is_zero() {
        let held_up = duration(generator.forgiven.as_nanos() as u64);
        let _ = write!(text, " (a busy machine held the sender up for {held_up})");
    }
    text += "\n\n";
    text += &arrivals(&relayed.arrivals, generator.total());
    text += &latencies(&relayed.arrivals);
    for rule in &relayed.stats.rules {
        text += &counters(rule);
    }
    text += &accounts(&relayed.stats);
    text
}

fn arrivals(arrivals: &[Arrivals], sent: u64) -> String {
    let mut text = format!(
        "   {:<20} {:>11} {:>8} {:>11} {:>10} {:>9}\n",
        "arrived at", "delivered", "lost", "duplicated", "reordered", "corrupt"
    );
    for Arrivals { output, stream, .. } in arrivals {
        let _ = writeln!(
            text,
            "   {:<20} {:>11} {:>8} {:>11} {:>10} {:>9}",
            output.endpoint(),
            grouped(stream.unique),
            grouped(stream.lost(sent)),
            grouped(stream.duplicated),
            grouped(stream.reordered),
            grouped(stream.corrupt),
        );
    }
    text + "\n"
}

fn latencies(arrivals: &[Arrivals]) -> String {
    let mut text = format!(
        "   {:<20} {:>11} {:>8} {:>11}   {}\n",
        "latency", "p50", "p99", "max", "source that arrives"
    );
    for Arrivals { output, stream, .. } in arrivals {
        let sources: Vec<String> = stream.origins.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "   {:<20} {:>11} {:>8} {:>11}   {}",
            output.endpoint(),
            duration(stream.latency.p50_ns),
            duration(stream.latency.p99_ns),
            duration(stream.latency.max_ns),
            sources.join(" "),
        );
    }
    text + "\n"
}

fn counters(rule: &RuleStats) -> String {
    let mut text = format!(
        "   {:<20} {:>11} {:>8} {:>11}   (MCR's own count)\n   {:<20} {:>11} {:>8} {:>11}\n",
        "rule",
        "packets",
        "errors",
        "megabytes",
        rule.name.as_deref().unwrap_or_default(),
        grouped(rule.packets),
        "",
        megabytes(rule.bytes),
    );
    for output in &rule.outputs {
        let _ = writeln!(
            text,
            "   {:<20} {:>11} {:>8} {:>11}",
            output.to,
            grouped(output.sent),
            grouped(output.errors.values().sum()),
            megabytes(output.bytes),
        );
    }
    text + "\n"
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn accounts(stats: &Stats) -> String {
    let mut text = String::from("   every datagram has a name\n");
    for equation in identity::equations("all cores", &stats.totals) {
        let judgement = if equation.holds() { "ok" } else { "FAILED" };
        let _ = writeln!(text, "   {:<68} {judgement}", equation.to_string());
    }
    text
}

/// The last word.
pub(super) fn verdict(findings: &[String]) -> String {
    if findings.is_empty() {
        return "All is as it should be: everything arrived, once, in order, whole.".into();
    }
    let mut text = String::from("NOT all is as it should be:");
    for finding in findings {
        let _ = write!(text, "\n - {finding}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::stage::PICTURE;
    use super::*;

    #[test]
    fn everything_fits_eighty_columns() {
        let texts = [
            PICTURE.to_owned(),
            kernel_alone(&samples::kernel_alone()),
            rule(),
            slowed_down(425_984),
            relayed(&samples::relayed()),
            verdict(&[]),
        ];
        for line in texts.iter().flat_map(|text| text.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn figures_stand_under_their_names() {
        let relayed = samples::relayed();
        let text = arrivals(&relayed.arrivals, 200_001);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..2],
            [
                "   arrived at             delivered     lost  duplicated  reordered   corrupt",
                "   239.2.2.2:6000@out0      200,000        1           0          0         0",
            ]
        );
    }

    #[test]
    fn a_broken_account_is_called_so() {
        let mut stats = samples::relayed().stats;
        assert_eq!(accounts(&stats).matches(" ok\n").count(), 3);
        stats.totals.sent -= 1;
        let text = accounts(&stats);
        assert_eq!((text.matches(" ok\n").count(), text.matches(" FAILED\n").count()), (2, 1));
    }

    #[test]
    fn findings_are_listed() {
        let text = verdict(&["one".into(), "two".into()]);
        assert_eq!(text, "NOT all is as it should be:\n - one\n - two");
    }
}
