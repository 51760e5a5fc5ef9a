//! The statistics as tables: the whole way of a datagram, then cores, rings and rules.

use std::collections::BTreeMap;

use mcr_api::control::{CoreReport, OutputStats, RingStats, RuleStats, Stats};

use super::table::{self, Column::Left, Column::Right, bit_rate, rate, table};

/// Every table that has something to show.
pub(super) fn stats(stats: &Stats) -> String {
    let tables = [
        Some(totals(stats)),
        reasons("NOT FORWARDED", &stats.totals.drops),
        reasons("COPIES NOT SENT", &stats.totals.errors),
        cores(&stats.cores),
        rings(&stats.rings),
        rules(&stats.rules),
    ];
    let tables: Vec<_> = tables.into_iter().flatten().collect();
    tables.join("\n")
}

fn totals(stats: &Stats) -> String {
    let (totals, rates) = (&stats.totals, &stats.rates);
    let rows = [
        ("received", totals.received, Some(rates.received_per_s)),
        ("dropped by the kernel", totals.kernel_drops, Some(rates.kernel_drops_per_s)),
        ("datagrams read", totals.datagrams, None),
        ("matched", totals.matched, Some(rates.matched_per_s)),
        ("dropped", sum(&totals.drops), Some(rates.drops_per_s)),
        ("sent", totals.sent, Some(rates.sent_per_s)),
        ("not sent", sum(&totals.errors), Some(rates.errors_per_s)),
    ];
    let up = format!("UP {:.0} s", stats.uptime_s);
    let mut shown = table(&[(&up, Left), ("TOTAL", Right), ("PER SECOND", Right)]);
    for (what, total, per_s) in rows {
        shown.add_row([what.into(), total.to_string(), per_s.map_or_else(String::new, rate)]);
    }
    let bits = bit_rate(rates.sent_bits_per_s);
    shown.add_row(["bits sent".into(), String::new(), bits]);
    table::text(&shown)
}

fn reasons(title: &str, counts: &BTreeMap<String, u64>) -> Option<String> {
    let mut shown = table(&[(title, Left), ("TOTAL", Right)]);
    for (reason, count) in counts.iter().filter(|(_, count)| **count > 0) {
        shown.add_row([reason.clone(), count.to_string()]);
    }
    (!shown.is_empty()).then(|| table::text(&shown))
}

fn cores(cores: &[CoreReport]) -> Option<String> {
    let mut shown = table(&[
        ("WORKER", Right),
        ("CORE", Right),
        ("IO", Left),
        ("RECEIVED", Right),
        ("MATCHED", Right),
        ("DROPPED", Right),
        ("SENT", Right),
        ("NOT SENT", Right),
        ("BUSY S", Right),
    ]);
    for report in cores {
        let counters = &report.counters;
        shown.add_row([
            report.worker.to_string(),
            report.core.to_string(),
            report.io.map_or("-", |io| io.name()).into(),
            counters.received.to_string(),
            counters.matched.to_string(),
            sum(&counters.drops).to_string(),
            counters.sent.to_string(),
            sum(&counters.errors).to_string(),
            format!("{:.1}", counters.busy_ns as f64 / 1e9),
        ]);
    }
    (!shown.is_empty()).then(|| table::text(&shown))
}

fn rings(rings: &[RingStats]) -> Option<String> {
    let mut shown = table(&[
        ("WORKER", Right),
        ("INTERFACE", Left),
        ("SLOTS", Right),
        ("KIB", Right),
        ("IN USE", Right),
        ("HIGH", Right),
        ("FULL", Right),
        ("RECEIVED", Right),
        ("DROPPED", Right),
    ]);
    for ring in rings {
        shown.add_row([
            ring.worker.to_string(),
            ring.interface.clone(),
            ring.slots.to_string(),
            (ring.slot_bytes / 1024).to_string(),
            ring.in_use.to_string(),
            ring.high_water.to_string(),
            ring.exhausted.to_string(),
            ring.received.to_string(),
            ring.kernel_drops.to_string(),
        ]);
    }
    (!shown.is_empty()).then(|| table::text(&shown))
}

/// One line a rule, followed by one for each of its outputs.
fn rules(rules: &[RuleStats]) -> Option<String> {
    let mut shown = table(&[
        ("RULE", Left),
        ("INPUT, OUTPUTS", Left),
        ("PACKETS", Right),
        ("PER S", Right),
        ("BIT/S", Right),
        ("NOT SENT", Left),
    ]);
    for rule in rules {
        let name = rule.name.as_deref().unwrap_or_default();
        shown.add_row([
            format!("{} {name}", rule.id).trim_end().into(),
            rule.input.clone(),
            rule.packets.to_string(),
            rate(rule.packets_per_s),
            bit_rate(rule.bits_per_s),
            String::new(),
        ]);
        for output in &rule.outputs {
            shown.add_row([
                String::new(),
                format!("-> {}", output.to),
                output.sent.to_string(),
                rate(output.sent_per_s),
                String::new(),
                not_sent(output),
            ]);
        }
    }
    (!shown.is_empty()).then(|| table::text(&shown))
}

fn not_sent(output: &OutputStats) -> String {
    let errors = output.errors.iter();
    let mut reasons: Vec<_> = errors.map(|(name, n)| format!("{name} {n}")).collect();
    if output.unreachable > 0 {
        reasons.push(format!("unreachable {}", output.unreachable));
    }
    reasons.join(", ")
}

fn sum(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}
