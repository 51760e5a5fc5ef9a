//! The `[metrics]` table of the configuration file.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;
use toml::Spanned;

use super::log::Wrong;
use crate::limits::MOST_METRIC_SERIES;

/// Address and number of exported metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The address to listen at; none is off.
    pub listen: Option<SocketAddr>,
    /// At most so many series of rings, rules and outputs; none leaves it to the daemon.
    pub max_series: Option<usize>,
}

/// A text that is no address to listen at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not ADDRESS:PORT, such as 127.0.0.1:9464 or [::1]:9464, and not a port of 127.0.0.1"
)]
pub struct NoListenAddress(String);

/// Reads where to listen. A port alone is one of this host's own: who wants others to reach it
/// says so.
pub fn listen_address(text: &str) -> Result<SocketAddr, NoListenAddress> {
    let port = text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    port.or_else(|_| text.parse()).map_err(|_| NoListenAddress(text.to_owned()))
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsTable {
    listen: Option<Spanned<String>>,
    max_series: Option<Spanned<usize>>,
}

impl MetricsTable {
    pub(super) fn read(self) -> Result<MetricsConfig, Wrong> {
        let listen = self.listen.map(|text| {
            let address = listen_address(text.get_ref());
            address.map_err(|error| (text.span(), format!("listen: {error}")))
        });
        let max_series = self.max_series.map(|most| match *most.get_ref() {
            number if number <= MOST_METRIC_SERIES => Ok(number),
            _ => Err((most.span(), format!("max_series: it may be {MOST_METRIC_SERIES} at most"))),
        });
        Ok(MetricsConfig { listen: listen.transpose()?, max_series: max_series.transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn address_and_limit_are_read() {
        let text = "[metrics]\nlisten = \"[::1]:9464\"\nmax_series = 100";
        let metrics = Config::parse(text, "mcr.toml").unwrap().metrics;
        assert_eq!(metrics.listen, Some("[::1]:9464".parse().unwrap()));
        assert_eq!(metrics.max_series, Some(100));
        let port = Config::parse("[metrics]\nlisten = \"9464\"", "mcr.toml").unwrap().metrics;
        assert_eq!(port.listen, Some("127.0.0.1:9464".parse().unwrap()));
        let metrics = Config::parse("[metrics]", "mcr.toml").unwrap().metrics;
        assert_eq!((metrics.listen, metrics.max_series), (None, None));
    }

    #[test]
    fn an_error_names_its_line() {
        let error = |line: &str| {
            Config::parse(&format!("[metrics]\n{line}"), "mcr.toml").unwrap_err().to_string()
        };
        assert_eq!(
            error("listen = \"localhost\""),
            "mcr.toml:2: listen: \"localhost\" is not ADDRESS:PORT, such as 127.0.0.1:9464 or \
             [::1]:9464, and not a port of 127.0.0.1"
        );
        assert_eq!(
            error("max_series = 1000001"),
            "mcr.toml:2: max_series: it may be 1000000 at most"
        );
        assert!(error("lisen = \"\"").contains("lisen"));
    }
}
