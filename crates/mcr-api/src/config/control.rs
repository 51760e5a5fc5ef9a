//! The `[control]` table of the configuration file.

use serde::Deserialize;

/// Owner and groups of the control socket. Each is a name or a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlConfig {
    /// The user that owns it; none leaves it to the daemon's own.
    pub owner: Option<String>,
    /// The group that may use it; none leaves it to the daemon's own.
    pub group: Option<String>,
    /// The group that may look, at a socket of its own; none is no such socket.
    pub read_group: Option<String>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlTable {
    owner: Option<Principal>,
    group: Option<Principal>,
    read_group: Option<Principal>,
}

/// A user or a group.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a name or a number is expected")]
enum Principal {
    Number(u32),
    Name(String),
}

impl ControlTable {
    pub(super) fn read(self) -> ControlConfig {
        let text = |principal| match principal {
            Principal::Number(number) => u32::to_string(&number),
            Principal::Name(name) => name,
        };
        ControlConfig {
            owner: self.owner.map(text),
            group: self.group.map(text),
            read_group: self.read_group.map(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn names_and_numbers_are_read() {
        let text = "[control]\nowner = \"mcr\"\ngroup = 77\nread_group = \"watchers\"";
        let control = Config::parse(text, "mcr.toml").unwrap().control;
        assert_eq!(control.owner.as_deref(), Some("mcr"));
        assert_eq!(control.group.as_deref(), Some("77"));
        assert_eq!(control.read_group.as_deref(), Some("watchers"));
        let control = Config::parse("[control]", "mcr.toml").unwrap().control;
        assert_eq!((control.owner, control.group, control.read_group), (None, None, None));
    }

    #[test]
    fn an_error_names_its_line() {
        let error = |line: &str| {
            Config::parse(&format!("[control]\n{line}"), "mcr.toml").unwrap_err().to_string()
        };
        assert_eq!(error("group = -1"), "mcr.toml:2: a name or a number is expected");
        assert!(error("groop = 1").starts_with("mcr.toml:2: unknown field `groop`"));
    }
}
