//! What an HTTP client finds at the exporter: by plain TCP, and parsed by a parser of others.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, anyhow, ensure};
use mcr_lab::namespace::Namespace;
use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::{OpenMetricsType, OpenMetricsValue};

use crate::fixture::SOON;

/// An exporter in a namespace.
#[derive(Clone, Debug)]
pub(super) struct Exporter {
    namespace: Namespace,
    address: SocketAddr,
}

/// An answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

/// The samples of an exposition that is valid.
#[derive(Debug)]
pub(super) struct Scrape(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    family: String,
    /// Of a histogram: how many sizes up to which bound.
    bound: Option<String>,
    labels: BTreeMap<String, String>,
    is_counter: bool,
    value: f64,
}

impl Exporter {
    pub(super) fn new(namespace: &Namespace, address: &str) -> Result<Self> {
        Ok(Self { namespace: namespace.clone(), address: address.parse()? })
    }

    /// Opens a connection, to behave on it as a test likes.
    pub(super) fn connect(&self) -> Result<TcpStream> {
        let stream = self.namespace.enter(|| TcpStream::connect(self.address))?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        Ok(stream)
    }

    pub(super) fn request(&self, method: &str, path: &str) -> Result<Answer> {
        let mut stream = self.connect()?;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: mcr\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).context("reading the answer")?;
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("{text:?}"))?;
        let status = head.split(' ').nth(1).context("a status line")?.parse()?;
        Ok(Answer { status, head: head.to_lowercase(), body: body.into() })
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer> {
        self.request("GET", path)
    }

    /// The metrics, checked to be as OpenMetrics wants them.
    pub(super) fn scrape(&self) -> Result<Scrape> {
        let answer = self.get("/metrics")?;
        ensure!(answer.status == 200, "{answer:?}");
        let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ensure!(answer.head.contains(&format!("\r\ncontent-type: {media_type}")), "{answer:?}");
        Scrape::parse(&answer.body)
    }
}

impl Scrape {
    fn parse(text: &str) -> Result<Self> {
        let parsed = parse_openmetrics(text).map_err(|error| anyhow!("{error}\n{text}"))?;
        let mut samples = Vec::new();
        for family in parsed.families.values() {
            let is_gauge = family.family_type == OpenMetricsType::Gauge;
            for sample in family.iter_samples() {
                let labels = sample.get_labelset().map_err(|error| anyhow!("{error}"))?;
                let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone()));
                let labels: BTreeMap<_, _> = labels.collect();
                let mut push = |bound, value| {
                    let (family, labels) = (family.family_name.clone(), labels.clone());
                    samples.push(Sample { family, bound, labels, is_counter: !is_gauge, value });
                };
                match &sample.value {
                    OpenMetricsValue::Counter(counter) => push(None, counter.value.as_f64()),
                    OpenMetricsValue::Gauge(gauge) => push(None, gauge.as_f64()),
                    OpenMetricsValue::Histogram(sizes) => {
                        for bucket in &sizes.buckets {
                            push(Some(bucket.upper_bound.to_string()), bucket.count.as_f64());
                        }
                    }
                    OpenMetricsValue::Info => push(None, 1.0),
                    other => return Err(anyhow!("{}: {other:?}", family.family_name)),
                }
            }
        }
        Ok(Self(samples))
    }

    fn matching(&self, family: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| {
            let has = |(name, value): &(&str, &str)| {
                sample.labels.get(*name).is_some_and(|found| found == value)
            };
            sample.family == family && labels.iter().all(has)
        })
    }

    /// How many samples of a family have these labels.
    pub(super) fn count(&self, family: &str, labels: &[(&str, &str)]) -> usize {
        self.matching(family, labels).count()
    }

    /// The sum of the samples of a family that have these labels; there must be one.
    pub(super) fn sum(&self, family: &str, labels: &[(&str, &str)]) -> Result<f64> {
        ensure!(self.count(family, labels) > 0, "no {family} with {labels:?}");
        Ok(self.matching(family, labels).map(|sample| sample.value).sum())
    }

    /// Checks a sum.
    pub(super) fn expect(
        &self,
        family: &str,
        labels: &[(&str, &str)],
        expected: u64,
    ) -> Result<()> {
        let found = self.sum(family, labels)?;
        let is_it = (found - expected as f64).abs() < 0.5;
        ensure!(is_it, "{family} with {labels:?} is {found} instead of {expected}");
        Ok(())
    }

    /// Checks that nothing that only grows is less than before.
    pub(super) fn has_grown_from(&self, before: &Self) -> Result<()> {
        for old in before.0.iter().filter(|sample| sample.is_counter) {
            let mut same = self.0.iter().filter(|new| {
                (&new.family, &new.bound, &new.labels) == (&old.family, &old.bound, &old.labels)
            });
            // That of a worker's ring is not there while the worker is not.
            if let Some(new) = same.next() {
                ensure!(new.value >= old.value, "{old:?} became {new:?}");
            }
        }
        Ok(())
    }
}
