use std::collections::BTreeSet;

use mcr_core::verdict::{DropReason, EgressError};
use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::{MetricsExposition, OpenMetricsType, OpenMetricsValue};

use super::samples::{overview, rule_row};
use super::*;

type Parsed = MetricsExposition<OpenMetricsType, OpenMetricsValue>;

fn selection() -> Selection {
    let rules = vec![rule_row(1, 2), rule_row(7, 1)];
    Selection { overview: overview(), rules, error_series: 3, omitted: 42 }
}

fn parsed(selection: Selection) -> Parsed {
    let text = text(selection, 5).expect("text can be written to memory");
    parse_openmetrics(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The only sample of a family with these labels.
fn number(parsed: &Parsed, family: &str, labels: &[(&str, &str)]) -> f64 {
    let family = parsed.families.get(family).unwrap_or_else(|| panic!("no {family}"));
    let mut samples = family.iter_samples().filter(|sample| {
        let of_sample = sample.get_labelset().expect("it is a family's");
        labels.iter().all(|(name, value)| of_sample.get_label_value(name) == Some(value))
    });
    let sample = samples.next().unwrap_or_else(|| panic!("no {labels:?}"));
    assert!(samples.next().is_none(), "several {labels:?}");
    match &sample.value {
        OpenMetricsValue::Counter(counter) => counter.value.as_f64(),
        OpenMetricsValue::Gauge(gauge) => gauge.as_f64(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_exported_is_what_the_catalogue_says() {
    let parsed = parsed(selection());
    let families: BTreeSet<&str> = parsed.families.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = Metric::ALL.iter().map(|m| m.description().family).collect();
    assert_eq!(families, listed);
    for metric in Metric::ALL {
        let Description { family, unit, kind, labels, help } = *metric.description();
        let found = &parsed.families[family];
        assert_eq!((&*found.unit, &*found.help), (unit, help), "{family}");
        assert_eq!(found.family_type.to_string(), kind.name(), "{family}");
        let names: BTreeSet<_> = found.get_label_names().iter().map(String::as_str).collect();
        assert_eq!(names, labels.iter().copied().collect(), "{family}");
        assert!(found.iter_samples().next().is_some(), "no sample of {family}");
    }
}

#[test]
fn every_number_stands_where_it_belongs() {
    let parsed = parsed(selection());
    let of = |family, labels: &[(&str, &str)]| number(&parsed, family, labels);
    let is = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}");
    is(of("mcr_uptime_seconds", &[]), 12.5);
    is(of("mcr_ready", &[]), 1.0);
    is(of("mcr_rules", &[("state", "pending")]), 1.0);
    is(of("mcr_metrics_series_omitted", &[]), 42.0);
    is(of("mcr_metrics_connections_dropped", &[]), 5.0);
    is(of("mcr_control_clients", &[]), 6.0);
    is(of("mcr_control_refusals", &[("reason", "idle")]), 8.0);
    is(of("mcr_audit_records", &[]), 9.0);
    let second = [("worker", "1"), ("core", "2")];
    is(of("mcr_worker_up", &second), 0.0);
    is(of("mcr_worker_busy_seconds", &second), 0.502);
    is(of("mcr_worker_received_frames", &second), 2_000_100.0);
    is(of("mcr_worker_kernel_dropped_frames", &second), 2_000_101.0);
    is(of("mcr_worker_sent_bytes", &second), 2_000_108.0);
    is(of("mcr_worker_heartbeat_age_seconds", &[]), 0.25);
    for reason in DropReason::ALL {
        let labels = [("worker", "0"), ("reason", reason.name())];
        is(of("mcr_worker_drops", &labels), 1_000_000.0 + reason.index() as f64);
    }
    for error in EgressError::ALL {
        let labels = [("worker", "0"), ("reason", error.name())];
        is(of("mcr_worker_egress_errors", &labels), 1_000_050.0 + error.index() as f64);
    }
    is(of("mcr_ring_used_slots", &[("interface", "eth0"), ("class", "small")]), 17.0);
    is(of("mcr_ring_kernel_dropped_frames", &[("interface", "eth1")]), 21.0);
    let rule = [("rule", "7"), ("name", "rule-7"), ("input", "239.0.0.7:5000@eth0")];
    is(of("mcr_rule_active", &rule), 1.0);
    is(of("mcr_rule_received_packets", &rule), 87.0);
    is(of("mcr_rule_received_bytes", &rule), 8_007.0);
    is(of("mcr_rule_last_packet_timestamp_seconds", &rule), 1_800_000_000.25);
    let output = [("rule", "1"), ("output", "10.0.0.1:2@eth1")];
    is(of("mcr_output_sent_packets", &output), 71.0);
    is(of("mcr_output_unreachable_reports", &output), 1.0);
    is(of("mcr_output_errors", &[output[0], output[1], ("reason", "queue_full")]), 3.0);
}

#[test]
fn errors_are_shown_up_to_their_number() {
    let shown = |error_series| {
        let parsed = parsed(Selection { error_series, ..selection() });
        parsed.families.get("mcr_output_errors").map_or(0, |family| family.iter_samples().count())
    };
    assert_eq!([0, 2, 3].map(shown), [0, 2, 3]);
}

#[test]
fn what_has_no_sample_is_left_out() {
    let parsed = parsed(Selection::default());
    assert!(parsed.families.contains_key("mcr_ready"));
    assert!(!parsed.families.contains_key("mcr_worker_up"));
}

#[test]
fn names_with_quotes_and_backslashes_come_through() {
    let mut row = rule_row(1, 1);
    let name = "a\"b\\c";
    row.rule.name = Some(name.parse().expect("a valid name"));
    let text = text(Selection { rules: vec![row], ..selection() }, 0).expect("text");
    parse_openmetrics(&text).expect("a valid exposition");
    assert!(text.contains(r#"name="a\"b\\c""#), "{text}");
}

#[test]
fn the_text_says_its_units_and_ends() {
    let text = text(selection(), 0).expect("text");
    assert!(text.contains("# UNIT mcr_worker_busy_seconds seconds\n"));
    assert!(text.contains("# TYPE mcr_rule_received_packets counter\n"));
    assert!(text.contains("\nmcr_build_info{version=\""));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn batch_sizes_are_a_histogram_with_cumulative_buckets() {
    let parsed = parsed(selection());
    let family = &parsed.families["mcr_worker_batch_size"];
    let OpenMetricsValue::Histogram(first) = &family.iter_samples().next().expect("one").value
    else {
        panic!("{family:?}");
    };
    let buckets: Vec<_> = first.buckets.iter().map(|b| (b.upper_bound, b.count.as_f64())).collect();
    assert_eq!(buckets[..3], [(1.0, 5.0), (3.0, 9.0), (7.0, 9.0)]);
    assert_eq!(buckets[10..], [(2047.0, 9.0), (f64::INFINITY, 10.0)]);
    assert_eq!((first.count, first.sum.map(|sum| sum.as_f64())), (Some(10), Some(1_000_102.0)));
}

#[test]
fn every_counter_of_a_core_is_exported() {
    let text = text(selection(), 0).expect("text");
    let counters = serde_json::to_value(&overview().workers[1].counters).expect("JSON");
    for (name, count) in counters.as_object().expect("an object") {
        // The first in another unit, the other as the count of a histogram.
        if count.is_number() && !["busy_ns", "batches"].contains(&name.as_str()) {
            let sample = format!("{{worker=\"1\",core=\"2\"}} {count}\n");
            assert!(text.contains(&sample), "{name} is not exported");
        }
    }
}

#[test]
fn no_counts_of_a_worker_make_the_text_fail_or_its_buckets_fall() {
    let mut selection = selection();
    for row in &mut selection.overview.workers {
        row.batch_sizes = vec![3, u64::MAX, 7, u64::MAX];
        row.counters.frames_read = u64::MAX;
        row.counters.busy_ns = u64::MAX;
    }
    let text = text(selection, 5).expect("text can be written to memory");
    let buckets = text.lines().filter(|line| line.starts_with("mcr_worker_batch_size_bucket"));
    let counts = buckets.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    let counts: Vec<_> = counts.take(4).collect();
    assert_eq!(counts, [3, u64::MAX, u64::MAX, u64::MAX]);
}
