//! The OpenMetrics text of a selection.

#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;

use std::{array, fmt};

use mcr_api::control::RingClass;
use mcr_api::metrics::{Description, Kind, Metric};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::gather::Selection;
use super::rows::{OutputRow, RuleRow};
use super::series::{self, Value};

/// The media type of what [`text`] makes.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const VERSION: &str = env!("CARGO_PKG_VERSION");

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

/// Writes the exposition. With 10,000 rules it takes long, so not on a thread that others need.
pub(super) fn text(selection: Selection, connections_dropped: u64) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition::new(selection, connections_dropped)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The selection, and the labels that many of its series share.
#[derive(Debug)]
struct Exposition {
    selection: Selection,
    workers: Vec<[String; 2]>,
    rings: Vec<[String; 3]>,
    rules: Vec<RuleLabels>,
    connections_dropped: u64,
}

#[derive(Debug)]
struct RuleLabels {
    id: String,
    name: String,
    input: String,
    outputs: Vec<String>,
}

impl From<&RuleRow> for RuleLabels {
    fn from(row: &RuleRow) -> Self {
        Self {
            id: row.id.to_string(),
            name: row.rule.name.as_ref().map(ToString::to_string).unwrap_or_default(),
            input: row.rule.input.to_string(),
            outputs: row.rule.outputs.iter().map(|o| o.endpoint.to_string()).collect(),
        }
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.encode_daemon(&mut encoder)?;
        self.encode_workers(&mut encoder)?;
        self.encode_rings(&mut encoder)?;
        self.encode_rules(&mut encoder)?;
        self.encode_outputs(&mut encoder)
    }
}

impl Exposition {
    fn new(selection: Selection, connections_dropped: u64) -> Self {
        let Selection { overview, rules, .. } = &selection;
        let workers = overview.workers.iter().map(|w| [w.worker.to_string(), w.core.to_string()]);
        let rings = overview.rings.iter().map(|ring| {
            [ring.worker.to_string(), ring.interface.clone(), class_name(ring.class).into()]
        });
        Self {
            workers: workers.collect(),
            rings: rings.collect(),
            rules: rules.iter().map(RuleLabels::from).collect(),
            selection,
            connections_dropped,
        }
    }

    fn encode_daemon(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Selection { overview, omitted, .. } = &self.selection;
        let one = |metric, value| (metric, [([], value)]);
        family(encoder, Metric::Build, [([VERSION], Value::Count(1))])?;
        for (metric, value) in series::DAEMON {
            family(encoder, *metric, value(overview).map(|value| ([], value)))?;
        }
        let pending = overview.rules.saturating_sub(overview.active_rules) as u64;
        let active = overview.active_rules as u64;
        let states = [("active", active), ("pending", pending)];
        family(encoder, Metric::Rules, states.map(|(s, count)| ([s], Value::Count(count))))?;
        let refusals = overview.control_refusals.iter();
        let refusals = refusals.map(|(reason, count)| ([*reason], Value::Count(*count)));
        family(encoder, Metric::ControlRefusals, refusals)?;
        for (metric, value) in [
            one(Metric::SeriesOmitted, Value::Count(*omitted as u64)),
            one(Metric::ConnectionsDropped, Value::Count(self.connections_dropped)),
        ] {
            family(encoder, metric, value)?;
        }
        Ok(())
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let rows = || self.workers.iter().map(text_of).zip(&self.selection.overview.workers);
        for (metric, value) in series::WORKER {
            let samples = rows().filter_map(|(labels, row)| Some((labels, value(row)?)));
            family(encoder, *metric, samples)?;
        }
        for (metric, counts) in series::WORKER_BY_REASON {
            let samples = rows().flat_map(|([worker, core], row)| {
                let counts = counts(&row.counters).iter();
                counts.map(move |(reason, n)| ([worker, core, &**reason], Value::Count(*n)))
            });
            family(encoder, *metric, samples)?;
        }
        Ok(())
    }

    fn encode_rings(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let rows = || self.rings.iter().map(text_of).zip(&self.selection.overview.rings);
        series::RING.iter().try_for_each(|(metric, value)| {
            let samples = rows().filter_map(|(labels, row)| Some((labels, value(row)?)));
            family(encoder, *metric, samples)
        })
    }

    fn encode_rules(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let rows = || self.rules.iter().zip(&self.selection.rules);
        series::RULE.iter().try_for_each(|(metric, value)| {
            let samples = rows().filter_map(|(labels, row)| {
                Some(([&*labels.id, &*labels.name, &*labels.input], value(row)?))
            });
            family(encoder, *metric, samples)
        })
    }

    fn encode_outputs(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        for (metric, value) in series::OUTPUT {
            let samples =
                self.outputs().filter_map(|(labels, output)| Some((labels, value(output)?)));
            family(encoder, *metric, samples)?;
        }
        let errors = self.outputs().flat_map(|([id, name, to], output)| {
            let errors = output.errors();
            errors.map(move |(error, n)| ([id, name, to, error.name()], Value::Count(n)))
        });
        family(encoder, Metric::OutputErrors, errors.take(self.selection.error_series))
    }

    fn outputs(&self) -> impl Iterator<Item = ([&str; 3], &OutputRow)> {
        let rules = self.rules.iter().zip(&self.selection.rules);
        rules.flat_map(|(labels, row)| {
            let outputs = labels.outputs.iter().zip(&row.outputs);
            outputs.map(move |(to, output)| ([&*labels.id, &*labels.name, &**to], output))
        })
    }
}

fn text_of<const N: usize>(labels: &[String; N]) -> [&str; N] {
    labels.each_ref().map(String::as_str)
}

fn class_name(class: RingClass) -> &'static str {
    match class {
        RingClass::Small => "small",
        RingClass::Standard => "standard",
        RingClass::Jumbo => "jumbo",
    }
}

/// Writes a family: what it is, and its samples, each with the values of the family's labels. One
/// without samples is left out: not every parser can tell it from the next one.
fn family<'a, const N: usize>(
    encoder: &mut DescriptorEncoder,
    metric: Metric,
    samples: impl IntoIterator<Item = ([&'a str; N], Value<'a>)>,
) -> fmt::Result {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let Description { unit, kind, labels: names, help, .. } = *metric.description();
    assert_eq!(names.len(), N, "{metric:?} has as many labels as are given");
    let unit = (!unit.is_empty()).then(|| Unit::Other(unit.to_owned()));
    let mut family =
        encoder.encode_descriptor(metric.stem(), help, unit.as_ref(), type_of(kind))?;
    samples.try_for_each(|(values, value)| {
        let labels: [_; N] = array::from_fn(|place| (names[place], values[place]));
        match N {
            _ if kind == Kind::Info => family.encode_info(&labels),
            0 => write(&mut family, kind, value),
            _ => write(&mut family.encode_family(&labels)?, kind, value),
        }
    })
}

fn type_of(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Info => MetricType::Info,
    }
}

/// The sum of a histogram's counts, and as much of each as it has room for: what a broken worker
/// counts may be more, and the buckets of a histogram must not fall from one to the next.
fn bounded(counts: &[u64]) -> (u64, Vec<u64>) {
    let mut sum = 0_u64;
    let fits = counts.iter().map(|count| {
        let fits = (*count).min(u64::MAX - sum);
        sum += fits;
        fits
    });
    let counts = fits.collect();
    (sum, counts)
}

fn write(encoder: &mut MetricEncoder<'_>, kind: Kind, value: Value<'_>) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Count(count)) => encoder.encode_counter(&count, NO_EXEMPLAR),
        (Kind::Counter, Value::Real(sum)) => encoder.encode_counter(&sum, NO_EXEMPLAR),
        (_, Value::Sizes(counts, sum)) => {
            let last = counts.len().saturating_sub(1);
            let bound = |place: usize| match place {
                place if place == last => f64::INFINITY,
                place => ((2_u64 << place) - 1) as f64,
            };
            let (all, counts) = bounded(counts);
            let buckets: Vec<_> = (0..).map(bound).zip(counts).collect();
            encoder.encode_histogram::<NoLabelSet>(sum as f64, all, &buckets, None)
        }
        (_, Value::Count(level)) => encoder.encode_gauge(&level),
        (_, Value::Real(level)) => encoder.encode_gauge(&level),
    }
}
