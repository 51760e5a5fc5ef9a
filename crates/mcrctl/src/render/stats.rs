//! The statistics as tables: the whole way of a datagram, then cores, rings and rules.

use std::collections::BTreeMap;

use mcr_api::control::{
    BufferStats, CoreRates, CoreReport, OutputStats, RingStats, RuleState, RuleStats, Stats,
};

use super::table::{self, Column::Left, Column::Right, bit_rate, rate, table};
use crate::units::{age, order, per_cent, total};

/// Every table that has something to show.
pub(super) fn stats(stats: &Stats) -> String {
    let tables = [
        Some(totals(stats)),
        reasons("NOT FORWARDED", &stats.totals.drops, &stats.cores, |rates| &rates.drops_per_s),
        reasons("COPIES NOT SENT", &stats.totals.errors, &stats.cores, |rates| &rates.errors_per_s),
        cores(&stats.cores),
        work(&stats.cores),
        rings(&stats.rings, stats.ring_memory_bytes),
        small_buffers(stats),
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
        ("dropped", total(&totals.drops), Some(rates.drops_per_s)),
        ("sent", totals.sent, Some(rates.sent_per_s)),
        ("not sent", total(&totals.errors), Some(rates.errors_per_s)),
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

fn reasons(
    title: &str,
    counts: &BTreeMap<String, u64>,
    cores: &[CoreReport],
    rates_of: impl Fn(&CoreRates) -> &BTreeMap<String, f64>,
) -> Option<String> {
    let mut shown = table(&[(title, Left), ("TOTAL", Right), ("PER SECOND", Right)]);
    for (reason, count) in counts.iter().filter(|(_, count)| **count > 0) {
        let per_s = cores.iter().filter_map(|core| rates_of(&core.rates).get(reason)).sum();
        shown.add_row([reason.clone(), count.to_string(), rate(per_s)]);
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
            total(&counters.drops).to_string(),
            counters.sent.to_string(),
            total(&counters.errors).to_string(),
            format!("{:.1}", counters.busy_ns as f64 / 1e9),
        ]);
    }
    (!shown.is_empty()).then(|| table::text(&shown))
}

/// How busy the cores are: over the last second, and the sizes of all batches.
fn work(cores: &[CoreReport]) -> Option<String> {
    let mut shown = table(&[
        ("WORKER", Right),
        ("BUSY", Right),
        ("READ/S", Right),
        ("SENT/S", Right),
        ("WAKE-UPS/S", Right),
        ("BATCHES/S", Right),
        ("MEAN BATCH", Right),
        ("BATCHES BY SIZE", Left),
    ]);
    for report in cores {
        let rates = &report.rates;
        shown.add_row([
            report.worker.to_string(),
            per_cent(rates.busy_share),
            rate(rates.frames_per_s),
            rate(rates.sent_per_s),
            rate(rates.wake_ups_per_s),
            rate(rates.batches_per_s),
            if rates.batches_per_s > 0.0 {
                rate(rates.frames_per_s / rates.batches_per_s)
            } else {
                "-".into()
            },
            batch_sizes(&report.batch_sizes),
        ]);
    }
    (!shown.is_empty()).then(|| table::text(&shown))
}

/// Such as `1: 20, 2-3: 7`: the sizes that occurred, and how often.
fn batch_sizes(counts: &[u64]) -> String {
    let sizes = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let sizes = sizes.map(|(place, count)| {
        let first = 1_u128 << place;
        match 2 * first - 1 {
            last if last == first => format!("{first}: {count}"),
            last => format!("{first}-{last}: {count}"),
        }
    });
    sizes.collect::<Vec<_>>().join(", ")
}

/// Buffers that the kernel made smaller than the relay wants them.
fn small_buffers(stats: &Stats) -> Option<String> {
    let kinds =
        [("send buffers", stats.send_buffers), ("queues for long frames", stats.long_frame_queues)];
    let small = kinds.iter().filter(|(_, buffers)| buffers.smallest_bytes < buffers.wanted_bytes);
    let line = |(kind, buffers): &(&str, BufferStats)| {
        let [got, wanted] =
            [buffers.smallest_bytes, buffers.wanted_bytes].map(|bytes| bytes / 1024);
        format!("{kind}: {got} KiB of {wanted} KiB wanted (packaging/mcr.sysctl.conf)\n")
    };
    let lines: String = small.map(line).collect();
    (!lines.is_empty()).then_some(lines)
}

fn rings(rings: &[RingStats], memory_bytes: u64) -> Option<String> {
    let mut shown = table(&[
        ("WORKER", Right),
        ("INTERFACE", Left),
        ("SLOTS", Right),
        ("KIB", Right),
        ("IN USE", Right),
        ("HIGH", Right),
        ("FULL", Right),
        ("RECEIVED", Right),
        ("PER S", Right),
        ("DROPPED", Right),
        ("PER S", Right),
        ("READ", Right),
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
            rate(ring.received_per_s),
            ring.kernel_drops.to_string(),
            rate(ring.kernel_drops_per_s),
            ring.frames_read.to_string(),
        ]);
    }
    let mebibytes = memory_bytes / (1024 * 1024);
    let memory = format!("memory of all rings, spare ones included: {mebibytes} MiB\n");
    (!shown.is_empty()).then(|| table::text(&shown) + &memory)
}

/// One line a rule, followed by one for each of its outputs.
fn rules(rules: &[RuleStats]) -> Option<String> {
    let mut shown = table(&[
        ("RULE", Left),
        ("INPUT, OUTPUTS", Left),
        ("PACKETS", Right),
        ("PER S", Right),
        ("BIT/S", Right),
        ("LAST, NOT SENT", Left),
    ]);
    for rule in rules {
        let name = rule.name.as_deref().unwrap_or_default();
        shown.add_row([
            format!("{} {name}", rule.id).trim_end().into(),
            rule.input.clone(),
            rule.packets.to_string(),
            rate(rule.packets_per_s),
            bit_rate(rule.bits_per_s),
            last(rule),
        ]);
        for output in &rule.outputs {
            shown.add_row([
                String::new(),
                format!("-> {}", output.to),
                output.sent.to_string(),
                rate(output.sent_per_s),
                bit_rate(output.bits_per_s),
                not_sent(output),
            ]);
        }
    }
    (!shown.is_empty()).then(|| table::text(&shown))
}

/// When and from whom the last datagram came; a rule that waits for its interface takes none.
fn last(rule: &RuleStats) -> String {
    match (rule.state, rule.last_packet_age_ms) {
        (RuleState::Pending, _) => "pending".into(),
        (RuleState::Active, None) => "never".into(),
        (RuleState::Active, Some(milliseconds)) => {
            let from = rule.last_source.as_deref().map(|source| format!(", from {source}"));
            let order = order(rule.source_workers);
            format!("{} ago{}{order}", age(milliseconds), from.unwrap_or_default())
        }
    }
}

fn not_sent(output: &OutputStats) -> String {
    let errors = output.errors.iter();
    let mut reasons: Vec<_> = errors.map(|(name, n)| format!("{name} {n}")).collect();
    if output.unreachable > 0 {
        reasons.push(format!("unreachable {}", output.unreachable));
    }
    if output.replies > 0 {
        reasons.push(format!("replies {}", output.replies));
    }
    if output.doubtful > 0 {
        reasons.push(format!("doubtful {}", output.doubtful));
    }
    if output.errors_per_s > 0.0 {
        reasons.push(format!("now {} a second", rate(output.errors_per_s)));
    }
    reasons.join(", ")
}
