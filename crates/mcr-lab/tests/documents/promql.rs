//! Looks a `PromQL` query over for names: those of metrics and labels must be the exporter's.
//! Whether it is `PromQL` at all is promtool's to say.

use std::collections::BTreeSet;

use mcr_api::metrics::{Kind, Metric};

/// What is not a metric where it stands alone.
const WORDS: [&str; 12] = [
    "and",
    "bool",
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "offset",
    "on",
    "or",
    "unless",
    "without",
    "inf",
];

/// Words before a list of labels in parentheses.
const LISTING: [&str; 6] = ["by", "group_left", "group_right", "ignoring", "on", "without"];

/// What Prometheus itself adds to each series.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

/// A piece of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text,
    /// A number, a duration, or a variable of Grafana's.
    Value,
    Sign(char),
}

/// The labels that the metrics of a query have.
///
/// # Errors
/// For a metric or label that there is not.
pub(crate) fn check(query: &str) -> Result<BTreeSet<&'static str>, String> {
    let tokens = tokens(query)?;
    let mut labels: BTreeSet<&'static str> = OF_PROMETHEUS.into();
    let mut listed = Vec::new();
    let mut place = 0;
    while let Some(token) = tokens.get(place) {
        place += 1;
        let Token::Word(word) = token else { continue };
        let next = tokens.get(place);
        if LISTING.contains(&word.as_str()) && next == Some(&Token::Sign('(')) {
            place += 1;
            while let Some(token) = tokens.get(place).filter(|t| **t != Token::Sign(')')) {
                if let Token::Word(label) = token {
                    listed.push(label.clone());
                }
                place += 1;
            }
        } else if !WORDS.contains(&word.as_str()) && !is_called(next) {
            let own = labels_of(word)?;
            if next == Some(&Token::Sign('{')) {
                place = selector(&tokens, place + 1, word, &own)?;
            }
            labels.extend(own);
        }
    }
    match listed.iter().find(|label| !labels.contains(label.as_str())) {
        Some(label) => Err(format!("none of the metrics has a label {label}")),
        None => Ok(labels),
    }
}

/// Whether this stands behind a function's or an aggregation's name.
fn is_called(next: Option<&Token>) -> bool {
    match next {
        Some(Token::Sign(sign)) => *sign == '(',
        Some(Token::Word(word)) => ["by", "without"].contains(&word.as_str()),
        _ => false,
    }
}

/// Goes through `{label="value", ...}`; returns the place behind it.
fn selector(
    tokens: &[Token],
    mut place: usize,
    metric: &str,
    own: &BTreeSet<&'static str>,
) -> Result<usize, String> {
    loop {
        match tokens.get(place) {
            Some(Token::Sign('}')) => return Ok(place + 1),
            Some(Token::Word(label)) if !own.contains(label.as_str()) => {
                return Err(format!("{metric} has no label {label}"));
            }
            Some(_) => place += 1,
            None => return Err("a brace stays open".into()),
        }
    }
}

/// The labels of the metric whose sample has that name.
fn labels_of(sample: &str) -> Result<BTreeSet<&'static str>, String> {
    if sample == "up" {
        return Ok(OF_PROMETHEUS.into());
    }
    let metric = Metric::ALL.iter().find(|metric| metric.samples().any(|name| name == sample));
    let description = metric.ok_or_else(|| format!("there is no {sample}"))?.description();
    let is_bucket = description.kind == Kind::Histogram && sample.ends_with("_bucket");
    let bound = is_bucket.then_some("le");
    let labels = description.labels.iter().copied();
    Ok(labels.chain(OF_PROMETHEUS).chain(bound).collect())
}

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        let (token, length) = match first {
            '"' => {
                let end = rest[1..].find('"').ok_or("a quote stays open")?;
                (Token::Text, end + 2)
            }
            '$' => {
                let name = &rest[1..];
                (Token::Value, 1 + name.find(|c| !is_word(c)).unwrap_or(name.len()))
            }
            '0'..='9' => (Token::Value, word.len()),
            _ if !word.is_empty() => (Token::Word(word.to_owned()), word.len()),
            sign => (Token::Sign(sign), sign.len_utf8()),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

#[test]
fn names_are_found_wherever_they_stand() {
    let busy =
        "sum by (instance, core) (rate(mcr_worker_busy_seconds_total{worker=\"0\"}[5m])) > 0.9";
    assert!(check(busy).unwrap().contains("core"));
    let size = "histogram_quantile(0.9, sum by (le) (rate(mcr_worker_batch_size_bucket[1m])))";
    assert!(check(size).unwrap().contains("le"));
    assert!(check("time() - mcr_uptime_seconds and on (instance) up{job=\"mcr\"} == 0").is_ok());
    for (query, word) in [
        ("rate(mcr_worker_busy_seconds[5m])", "mcr_worker_busy_seconds"),
        ("mcr_gone + mcr_ready", "mcr_gone"),
        ("mcr_worker_up{wroker=\"1\"}", "wroker"),
        ("sum by (reason) (mcr_worker_up)", "reason"),
        ("mcr_worker_batch_size_count{le=\"1\"}", "le"),
        ("mcr_ready{", "brace"),
    ] {
        let error = check(query).unwrap_err();
        assert!(error.contains(word), "{query}: {error}");
    }
}
