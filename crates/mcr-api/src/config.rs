//! The configuration file: TOML, `[[rule]]` tables, how the work is divided, and what is logged.
//!
//! ```toml
//! [steering]
//! mode = "hash"
//!
//! [control]
//! group = "mcr"
//!
//! [metrics]
//! listen = "127.0.0.1:9464"
//!
//! [rings]
//! slots = 2048
//!
//! [log]
//! level = "warn"
//!
//! [[rule]]
//! name = "video"
//! input = "239.1.1.1:5000@eth0"
//! source = "10.0.0.7"
//! outputs = ["239.2.2.2:6000@eth1", { to = "10.9.0.4:7000@eth2", ttl = 8 }]
//! ```

mod control;
mod log;
mod metrics;
mod rings;

use std::net::IpAddr;
use std::ops::Range;

use mcr_core::rule::Rule;
use mcr_core::steering::Steering;
use serde::Deserialize;
use toml::Spanned;

use crate::rule::{Key, OutputSpec, RuleSpec, source_address};
pub use control::ControlConfig;
use control::ControlTable;
pub use log::LogConfig;
use log::LogTable;
use metrics::MetricsTable;
pub use metrics::{MetricsConfig, NoListenAddress, listen_address};
use rings::RingsTable;
pub use rings::{RingSize, RingsConfig};

/// The content of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The rules, in the order of the file, each valid by itself.
    pub rules: Vec<ConfiguredRule>,
    /// How frames are divided among the workers, where it says so.
    pub steering: Option<Steering>,
    /// Owner and groups of the control socket.
    pub control: ControlConfig,
    /// Settings of the metrics.
    pub metrics: MetricsConfig,
    /// How large receive rings are.
    pub rings: RingsConfig,
    /// How and what is logged.
    pub log: LogConfig,
}

/// A rule and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredRule {
    /// The rule.
    pub rule: Rule,
    /// The line of its `[[rule]]`, from 1, for what is found wrong beside the other rules.
    pub line: usize,
}

/// An error in a configuration file, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}:{line}: {cause}")]
pub struct ConfigError {
    /// The configuration file.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The cause; names the key.
    pub cause: String,
}

impl Config {
    /// Reads the file's text; `path` is what messages call it.
    pub fn parse(text: &str, path: &str) -> Result<Self, ConfigError> {
        let lines = Lines::of(text);
        let error = |at: Option<Range<usize>>, cause: String| ConfigError {
            path: path.into(),
            line: lines.number_at(at.map_or(0, |span| span.start)),
            cause,
        };
        let file: File =
            toml::from_str(text).map_err(|e| error(e.span(), one_line(e.message())))?;
        let rules = file.rule.into_iter().map(|table| {
            let place = table.span();
            let rule = rule(table.into_inner()).map_err(|e| {
                let place = e.place.unwrap_or_else(|| place.clone());
                error(Some(place), e.cause)
            })?;
            Ok(ConfiguredRule { rule, line: lines.number_at(place.start) })
        });
        let rules = rules.collect::<Result<_, _>>()?;
        let steering = file.steering.map(|table| {
            let mode = table.mode.get_ref().parse();
            mode.map_err(|cause| error(Some(table.mode.span()), format!("mode: {cause}")))
        });
        let metrics = file.metrics.map_or_else(|| Ok(MetricsConfig::default()), MetricsTable::read);
        let metrics = metrics.map_err(|(place, cause)| error(Some(place), cause))?;
        let rings = file.rings.map_or_else(|| Ok(RingsConfig::default()), RingsTable::read);
        let rings = rings.map_err(|(place, cause)| error(Some(place), cause))?;
        let log = file.log.map_or_else(|| Ok(LogConfig::default()), LogTable::read);
        let log = log.map_err(|(place, cause)| error(Some(place), cause))?;
        let control = file.control.map(ControlTable::read).unwrap_or_default();
        Ok(Self { rules, steering: steering.transpose()?, control, metrics, rings, log })
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    steering: Option<SteeringTable>,
    control: Option<ControlTable>,
    metrics: Option<MetricsTable>,
    rings: Option<RingsTable>,
    log: Option<LogTable>,
    #[serde(default)]
    rule: Vec<Spanned<RuleTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SteeringTable {
    mode: Spanned<String>,
}

/// A [`RuleSpec`] whose parts know where they stand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    name: Option<Spanned<String>>,
    input: Spanned<String>,
    #[serde(default, deserialize_with = "source_address")]
    source: Option<IpAddr>,
    outputs: Vec<Spanned<OutputSpec>>,
    #[serde(default)]
    exclusive: bool,
}

/// An error in a rule; without a place, it is the rule as a whole.
struct Misplaced {
    place: Option<Range<usize>>,
    cause: String,
}

fn rule(table: RuleTable) -> Result<Rule, Misplaced> {
    let name_place = table.name.as_ref().map(Spanned::span);
    let input_place = table.input.span();
    let output_places: Vec<_> = table.outputs.iter().map(Spanned::span).collect();
    let spec = RuleSpec {
        name: table.name.map(Spanned::into_inner),
        input: table.input.into_inner(),
        source: table.source,
        outputs: table.outputs.into_iter().map(Spanned::into_inner).collect(),
        exclusive: table.exclusive,
    };
    Rule::try_from(spec).map_err(|error| Misplaced {
        place: match error.key {
            Key::Name => name_place,
            Key::Input => Some(input_place),
            Key::Output(place) => output_places.get(place).cloned(),
            Key::Rule => None,
        },
        cause: error.to_string(),
    })
}

/// Where each line but the first begins, so that the line of every rule is found without reading
/// the file once for each.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The number, from 1, of the line that the byte at `offset` stands in.
    fn number_at(&self, offset: usize) -> usize {
        self.0.partition_point(|&start| start <= offset) + 1
    }
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
[[rule]]
name = "video"
input = "239.1.1.1:5000@eth0"
source = "10.0.0.7"
outputs = ["239.2.2.2:6000@eth1", { to = "10.9.0.4:7000@eth2", ttl = 8 }]

[[rule]]
input = "[ff3e::1234]:5000@eth0"
outputs = [
    "[ff3e::1235]:5000@eth1,dscp=46",
]
exclusive = true
"#;

    #[test]
    fn reads_rules_with_their_lines() {
        let config = Config::parse(WHOLE, "mcr.toml").unwrap();
        let [video, v6] = config.rules.as_slice() else {
            panic!("two rules: {config:?}");
        };
        assert_eq!((video.line, v6.line), (2, 8));
        assert_eq!(video.rule.name.as_ref().unwrap().as_str(), "video");
        assert_eq!(video.rule.outputs[1].options.ttl, 8);
        assert_eq!(v6.rule.outputs[0].options.dscp, 46);
        assert_eq!((video.rule.exclusive, v6.rule.exclusive), (false, true));
        assert_eq!(Config::parse("", "mcr.toml").unwrap(), Config::default());
        let by_hash = Config::parse("[steering]\nmode = \"hash\"", "mcr.toml").unwrap();
        assert_eq!(by_hash.steering, Some(Steering::Hash));
    }

    #[test]
    fn an_error_names_file_line_and_key() {
        let error = |from: &str, to: &str| {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE);
            Config::parse(&text, "mcr.toml").unwrap_err().to_string()
        };
        assert_eq!(
            error("eth0\"", "\""),
            "mcr.toml:4: input: \"\" is not an interface name (1 to 127 characters, no space, '/', \
             ':' or '@')"
        );
        assert_eq!(
            error("dscp=46", "dcsp=46"),
            "mcr.toml:11: output 1: \"dcsp=46\" is not an option of an output; there are ttl=N, \
             dscp=N, source=ADDRESS, source-port=N and loop"
        );
        assert_eq!(
            error("ttl = 8", "ttl = 0"),
            "mcr.toml:2: rule: TTL 0 for output 10.9.0.4:7000: its datagrams would not leave the \
             host"
        );
        assert_eq!(
            error("source =", "sauce ="),
            "mcr.toml:5: unknown field `sauce`, expected one of `name`, `input`, `source`, \
             `outputs`, `exclusive`"
        );
        assert_eq!(
            error("\"10.0.0.7\"", "\"ten\""),
            "mcr.toml:5: source \"ten\" is not an IPv4 or IPv6 address, such as 10.0.0.7"
        );
        assert_eq!(
            error("\"video\"", "\"17\""),
            "mcr.toml:3: name: \"17\" is no rule name: 1 to 64 characters without space, and not \
             only digits"
        );
        assert_eq!(
            error("[[rule]]", "[sterling]\n[[rule]]"),
            "mcr.toml:2: unknown field `sterling`, expected one of `steering`, `control`, \
             `metrics`, `rings`, `log`, `rule`"
        );
        assert_eq!(
            error("[[rule]]", "[steering]\nmode = \"dice\"\n[[rule]]"),
            "mcr.toml:3: mode: \"dice\" is none of cpu, hash"
        );
    }

    #[test]
    fn broken_toml_is_one_line() {
        let error = Config::parse("[[rule]]\ninput = \n", "mcr.toml").unwrap_err();
        assert_eq!(error.line, 2);
        assert_eq!(error.to_string().lines().count(), 1);
    }

    #[test]
    fn a_byte_is_found_in_its_line() {
        let lines = Lines::of("ab\nc\n\nd");
        let numbers: Vec<_> = (0..7).map(|offset| lines.number_at(offset)).collect();
        assert_eq!(numbers, [1, 1, 1, 2, 2, 3, 4]);
    }
}
