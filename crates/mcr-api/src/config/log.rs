//! The `[log]` table of the configuration file.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use crate::log::{Format, Levels};

/// Settings of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines are written, where it says so.
    pub format: Option<Format>,
    /// Lowest levels to log.
    pub levels: Levels,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogTable {
    format: Option<Spanned<String>>,
    level: Option<Spanned<String>>,
    #[serde(default)]
    areas: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// The cause, with its place.
pub(super) type Wrong = (Range<usize>, String);

impl LogTable {
    pub(super) fn read(self) -> Result<LogConfig, Wrong> {
        let format = self.format.map(|text| value("format", &text)).transpose()?;
        let mut levels = Levels::default();
        if let Some(text) = &self.level {
            levels.level = value("level", text)?;
        }
        for (area, level) in &self.areas {
            levels.set(Some(value("areas", area)?), value(area.get_ref(), level)?);
        }
        Ok(LogConfig { format, levels })
    }
}

fn value<T: FromStr<Err: Display>>(key: &str, text: &Spanned<String>) -> Result<T, Wrong> {
    text.get_ref().parse().map_err(|error| (text.span(), format!("{key}: {error}")))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::log::{Area, Format, Level};

    #[test]
    fn format_and_levels_are_read() {
        let text = "[log]\nformat = \"json\"\nlevel = \"warn\"\nareas = { ingress = \"debug\" }";
        let log = Config::parse(text, "mcr.toml").unwrap().log;
        assert_eq!(log.format, Some(Format::Json));
        assert_eq!(log.levels.of(Area::Ingress), Level::Debug);
        assert_eq!(log.levels.of(Area::Rules), Level::Warn);
    }

    #[test]
    fn an_error_names_line_and_what_there_is() {
        let error = |text: &str| Config::parse(text, "mcr.toml").unwrap_err().to_string();
        assert_eq!(
            error("[log]\nlevel = \"loud\""),
            "mcr.toml:2: level: there is no level \"loud\"; there are error, warn, info and debug"
        );
        assert_eq!(
            error("[log]\n\nformat = \"xml\""),
            "mcr.toml:3: format: \"xml\" is none of text, json"
        );
        let unknown = error("[log.areas]\nigress = \"debug\"");
        assert!(unknown.starts_with("mcr.toml:2: areas: there is no area \"igress\""), "{unknown}");
        let unknown = error("[log.areas]\ningress = \"x\"");
        assert!(unknown.starts_with("mcr.toml:2: ingress: there is no level \"x\""), "{unknown}");
    }
}
