//! An output as it is written: a text, or an object where it has options.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use mcr_core::endpoint::Endpoint;
use mcr_core::rule::{Output, OutputOptions};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{SpecCause, source_address};

/// One destination as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum OutputSpec {
    /// `ADDRESS:PORT@INTERFACE[,ttl=8][,dscp=46][,source=10.0.0.1][,source-port=5000][,loop]`
    Text(String),
    /// The same, option by option.
    Object(OutputObject),
}

/// One destination, option by option; an absent option has the default of [`OutputOptions`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputObject {
    /// The destination: `ADDRESS:PORT@INTERFACE`.
    pub to: String,
    /// IPv4 TTL or IPv6 hop limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Differentiated services code point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<u8>,
    /// The source address.
    #[serde(default, deserialize_with = "source_address", skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Whether local members of the group receive a copy.
    #[serde(default, rename = "loop", skip_serializing_if = "Option::is_none")]
    pub multicast_loop: Option<bool>,
}

impl TryFrom<&OutputSpec> for Output {
    type Error = SpecCause;

    fn try_from(spec: &OutputSpec) -> Result<Self, SpecCause> {
        match spec {
            OutputSpec::Text(text) => (&text.parse::<OutputObject>()?).try_into(),
            OutputSpec::Object(object) => object.try_into(),
        }
    }
}

impl TryFrom<&OutputObject> for Output {
    type Error = SpecCause;

    fn try_from(object: &OutputObject) -> Result<Self, SpecCause> {
        let default = OutputOptions::default();
        Ok(Self {
            endpoint: object.to.parse()?,
            options: OutputOptions {
                source: object.source,
                source_port: object.source_port,
                ttl: object.ttl.unwrap_or(default.ttl),
                dscp: object.dscp.unwrap_or(default.dscp),
                multicast_loop: object.multicast_loop.unwrap_or(default.multicast_loop),
            },
        })
    }
}

impl From<&Output> for OutputSpec {
    /// The text where it says all; an interface name may hold a comma, which a text cannot tell
    /// from the one before an option.
    fn from(output: &Output) -> Self {
        let default = OutputOptions::default();
        let options = &output.options;
        let to = output.endpoint.to_string();
        if *options == default && !to.contains(',') {
            return Self::Text(to);
        }
        Self::Object(OutputObject {
            to,
            ttl: (options.ttl != default.ttl).then_some(options.ttl),
            dscp: (options.dscp != default.dscp).then_some(options.dscp),
            source: options.source,
            source_port: options.source_port,
            multicast_loop: (options.multicast_loop != default.multicast_loop)
                .then_some(options.multicast_loop),
        })
    }
}

impl FromStr for OutputObject {
    type Err = SpecCause;

    fn from_str(text: &str) -> Result<Self, SpecCause> {
        let mut parts = text.split(',');
        let mut object = Self { to: parts.next().unwrap_or_default().into(), ..Self::default() };
        // Of two errors, the one about the endpoint says more.
        object.to.parse::<Endpoint>()?;
        parts.try_for_each(|part| object.option(part))?;
        Ok(object)
    }
}

impl OutputObject {
    fn option(&mut self, text: &str) -> Result<(), SpecCause> {
        let (option, value) = match text.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (text, None),
        };
        let twice = match (option, value) {
            ("ttl", Some(value)) => {
                let wanted = "a number from 1 to 255";
                let ttl = OptionText("ttl", value, wanted).parse()?;
                self.ttl.replace(ttl).is_some()
            }
            ("dscp", Some(value)) => {
                let dscp = OptionText("dscp", value, "a number from 0 to 63").parse()?;
                self.dscp.replace(dscp).is_some()
            }
            ("source", Some(value)) => {
                let source = OptionText("source", value, "an address").parse()?;
                self.source.replace(source).is_some()
            }
            ("source-port", Some(value)) => {
                let wanted = "a number from 1 to 65535";
                let port = OptionText("source-port", value, wanted).parse()?;
                self.source_port.replace(port).is_some()
            }
            ("loop", None) => self.multicast_loop.replace(true).is_some(),
            _ => return Err(SpecCause::UnknownOption(text.into())),
        };
        if twice {
            return Err(SpecCause::OptionTwice(option.into()));
        }
        Ok(())
    }
}

/// An option, its value as written, and what it takes.
struct OptionText<'a>(&'static str, &'a str, &'static str);

impl OptionText<'_> {
    fn parse<T: FromStr>(self) -> Result<T, SpecCause> {
        let Self(option, value, wanted) = self;
        value.parse().map_err(|_| SpecCause::OptionValue { option, value: value.into(), wanted })
    }
}

impl<'de> Deserialize<'de> for OutputSpec {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OutputVisitor)
    }
}

/// Reads either form by hand: a derived reader of two forms hides what is wrong in the object.
struct OutputVisitor;

impl<'de> Visitor<'de> for OutputVisitor {
    type Value = OutputSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an output: \"ADDRESS:PORT@INTERFACE\" or an object with \"to\"")
    }

    fn visit_str<E>(self, text: &str) -> Result<OutputSpec, E> {
        Ok(OutputSpec::Text(text.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OutputSpec, A::Error> {
        OutputObject::deserialize(MapAccessDeserializer::new(map)).map(OutputSpec::Object)
    }
}
