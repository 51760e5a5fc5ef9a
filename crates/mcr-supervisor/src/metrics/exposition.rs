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
    let named = selection.rules.iter().map(Named::from).collect();
    registry.register_collector(Box::new(Exposition { selection, named, connections_dropped }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Exposition {
    selection: Selection,
    /// For each of the selection's rules.
    named: Vec<Named>,
    connections_dropped: u64,
}

/// A rule's labels, which many series share.
#[derive(Debug)]
struct Named {
    rule: String,
    name: String,
    input: String,
    outputs: Vec<String>,
}

impl From<&RuleRow> for Named {
    fn from(row: &RuleRow) -> Self {
        Self {
            rule: row.id.to_string(),
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
    fn encode_daemon(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Selection { overview, omitted, .. } = &self.selection;
        family(encoder, Metric::Build, |build| build.sample([VERSION], Some(Value::Count(1))))?;
        for (metric, value) in series::DAEMON {
            family(encoder, *metric, |samples| samples.sample([], value(overview)))?;
        }
        family(encoder, Metric::Rules, |samples| {
            let pending = overview.rules.saturating_sub(overview.active_rules);
            samples.sample(["active"], Some(Value::Count(overview.active_rules as u64)))?;
            samples.sample(["pending"], Some(Value::Count(pending as u64)))
        })?;
        let of_exporter = [
            (Metric::SeriesOmitted, *omitted as u64),
            (Metric::ConnectionsDropped, self.connections_dropped),
        ];
        of_exporter.into_iter().try_for_each(|(metric, count)| {
            family(encoder, metric, |samples| samples.sample([], Some(Value::Count(count))))
        })
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let workers = &self.selection.overview.workers;
        for (metric, value) in series::WORKER {
            family(encoder, *metric, |samples| {
                workers.iter().try_for_each(|worker| {
                    let labels = [&*worker.worker.to_string(), &*worker.core.to_string()];
                    samples.sample(labels, value(worker))
                })
            })?;
        }
        for (metric, counts) in series::WORKER_BY_REASON {
            family(encoder, *metric, |samples| {
                workers.iter().try_for_each(|worker| {
                    let (number, core) = (worker.worker.to_string(), worker.core.to_string());
                    counts(&worker.counters).iter().try_for_each(|(reason, count)| {
                        samples.sample([&*number, &*core, &**reason], Some(Value::Count(*count)))
                    })
                })
            })?;
        }
        Ok(())
    }

    fn encode_rings(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let rings = &self.selection.overview.rings;
        series::RING.iter().try_for_each(|(metric, value)| {
            family(encoder, *metric, |samples| {
                rings.iter().try_for_each(|ring| {
                    let worker = ring.worker.to_string();
                    samples
                        .sample([&*worker, &*ring.interface, class_name(ring.class)], value(ring))
                })
            })
        })
    }

    fn encode_rules(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        series::RULE.iter().try_for_each(|(metric, value)| {
            family(encoder, *metric, |samples| {
                let mut rules = self.named.iter().zip(&self.selection.rules);
                rules.try_for_each(|(named, row)| {
                    samples.sample([&*named.rule, &*named.name, &*named.input], value(row))
                })
            })
        })
    }

    fn encode_outputs(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        for (metric, value) in series::OUTPUT {
            family(encoder, *metric, |samples| {
                self.outputs().try_for_each(|(named, to, output)| {
                    samples.sample([&*named.rule, &*named.name, to], value(output))
                })
            })?;
        }
        family(encoder, Metric::OutputErrors, |samples| {
            let errors = self.outputs().flat_map(|(named, to, output)| {
                output.errors().map(move |(error, count)| (named, to, error, count))
            });
            let mut shown = errors.take(self.selection.error_series);
            shown.try_for_each(|(named, to, error, count)| {
                let labels = [&*named.rule, &*named.name, to, error.name()];
                samples.sample(labels, Some(Value::Count(count)))
            })
        })
    }

    fn outputs(&self) -> impl Iterator<Item = (&Named, &str, &OutputRow)> {
        let rules = self.named.iter().zip(&self.selection.rules);
        rules.flat_map(|(named, row)| {
            let outputs = named.outputs.iter().zip(&row.outputs);
            outputs.map(move |(to, output)| (named, &**to, output))
        })
    }
}

/// Writes a family: what it is, and then its samples.
fn family(
    encoder: &mut DescriptorEncoder,
    metric: Metric,
    write: impl FnOnce(&mut Samples<'_>) -> fmt::Result,
) -> fmt::Result {
    let description = metric.description();
    let kind = match description.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Info => MetricType::Info,
    };
    let unit = Some(description.unit).filter(|unit| !unit.is_empty());
    let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
    let help = description.help;
    let encoder = encoder.encode_descriptor(metric.stem(), help, unit.as_ref(), kind)?;
    write(&mut Samples { encoder, description })
}

/// Where the samples of a family go.
struct Samples<'a> {
    encoder: MetricEncoder<'a>,
    description: &'static Description,
}

impl Samples<'_> {
    /// Writes a sample with these values of the family's labels.
    fn sample<const N: usize>(&mut self, values: [&str; N], value: Option<Value>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        let names = self.description.labels;
        assert_eq!(names.len(), N, "{}", self.description.family);
        let labels: [(&str, &str); N] = array::from_fn(|place| (names[place], values[place]));
        let kind = self.description.kind;
        match N {
            _ if kind == Kind::Info => self.encoder.encode_info(&labels),
            0 => write(&mut self.encoder, kind, value),
            _ => write(&mut self.encoder.encode_family(&labels)?, kind, value),
        }
    }
}

fn write(encoder: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Count(count)) => encoder.encode_counter(&count, NO_EXEMPLAR),
        (Kind::Counter, Value::Real(sum)) => encoder.encode_counter(&sum, NO_EXEMPLAR),
        (_, Value::Count(level)) => encoder.encode_gauge(&level),
        (_, Value::Real(level)) => encoder.encode_gauge(&level),
    }
}

fn class_name(class: RingClass) -> &'static str {
    match class {
        RingClass::Small => "small",
        RingClass::Standard => "standard",
        RingClass::Jumbo => "jumbo",
    }
}
