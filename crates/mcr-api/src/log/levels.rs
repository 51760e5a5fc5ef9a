//! How much a record matters, and how much it must for each area to be let through.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Area;

/// How much a record matters; a level lets itself and all above it through.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something that MCR should do cannot be done.
    Error,
    /// Something is wrong that MCR can live with.
    Warn,
    /// A change that an operator wants to know of.
    #[default]
    Info,
    /// Helps to find a fault.
    Debug,
}

impl Level {
    /// All of them, the gravest first.
    pub const ALL: &[Self] = &[Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no level {0:?}; there are error, warn, info and debug")]
pub struct UnknownLevel(pub String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let named = Self::ALL.iter().find(|level| level.name() == text);
        named.copied().ok_or_else(|| UnknownLevel(text.into()))
    }
}

/// The levels to log: of every area its own level, or else the one of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// Of the areas that have none of their own.
    #[serde(default)]
    pub level: Level,
    /// The areas that have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub areas: BTreeMap<Area, Level>,
}

impl Levels {
    /// The level of an area.
    pub fn of(&self, area: Area) -> Level {
        self.areas.get(&area).copied().unwrap_or(self.level)
    }

    /// Gives an area a level, or every area the same.
    pub fn set(&mut self, area: Option<Area>, level: Level) {
        match area {
            Some(area) => _ = self.areas.insert(area, level),
            None => *self = Self { level, areas: BTreeMap::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_has_its_own_level_until_all_are_set() {
        let mut levels = Levels::default();
        levels.set(Some(Area::Ingress), Level::Debug);
        assert_eq!((levels.of(Area::Ingress), levels.of(Area::Rules)), (Level::Debug, Level::Info));
        levels.set(None, Level::Warn);
        assert!(Area::ALL.iter().all(|area| levels.of(*area) == Level::Warn));
    }

    #[test]
    fn levels_are_read_as_they_are_written() {
        for level in Level::ALL {
            assert_eq!(level.name().parse(), Ok(*level));
            assert_eq!(serde_json::to_value(level).unwrap(), level.name());
        }
        assert!("loud".parse::<Level>().is_err());
        let levels: Levels = serde_json::from_str(r#"{"areas":{"rules":"error"}}"#).unwrap();
        assert_eq!((levels.of(Area::Rules), levels.of(Area::Start)), (Level::Error, Level::Info));
    }
}
