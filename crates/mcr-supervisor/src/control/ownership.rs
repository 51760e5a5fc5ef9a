//! Owner and groups of the control sockets.

use std::fmt;

use mcr_api::config::ControlConfig;
use nix::unistd::{Gid, Group, Uid, User};

use crate::settings::StartError;

/// The numbers of those who were named; `None` leaves it to the daemon's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ownership {
    pub(crate) owner: Option<Uid>,
    pub(crate) group: Option<Gid>,
    /// `None`: there is no read-only socket.
    pub(crate) read_group: Option<Gid>,
}

impl Ownership {
    /// Looks them up, the command line before the file.
    pub(crate) fn resolve(told: &ControlConfig, file: &ControlConfig) -> Result<Self, StartError> {
        let ControlConfig { owner, group, read_group } = told;
        let owner = owner.as_ref().or(file.owner.as_ref()).map(|name| user(name));
        let find = |told: &Option<String>, file: &Option<String>, option, key| {
            let name = told.as_ref().or(file.as_ref());
            name.map(|name| self::group(name, option, key)).transpose()
        };
        Ok(Self {
            owner: owner.transpose()?,
            group: find(group, &file.group, "--control-group", "group")?,
            read_group: find(read_group, &file.read_group, "--control-read-group", "read_group")?,
        })
    }
}

fn user(name: &str) -> Result<Uid, StartError> {
    if let Ok(number) = name.parse() {
        return Ok(Uid::from_raw(number));
    }
    let found = User::from_name(name);
    found.ok().flatten().map(|user| user.uid).ok_or_else(|| {
        let remedy = "make it (useradd --system), or give mcrd another one (--control-owner, or \
                      [control] owner)";
        absent("user", name, remedy)
    })
}

fn group(name: &str, option: &str, key: &str) -> Result<Gid, StartError> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name);
    found.ok().flatten().map(|group| group.gid).ok_or_else(|| {
        let remedy = "make it (groupadd --system), or give mcrd another one";
        absent("group", name, format_args!("{remedy} ({option}, or [control] {key})"))
    })
}

fn absent(kind: &str, name: &str, remedy: impl fmt::Display) -> StartError {
    StartError::ControlOwner(format!(
        "there is no {kind} {name:?} for the control socket: {remedy}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> ControlConfig {
        ControlConfig { owner: None, group: Some(name.into()), read_group: Some(name.into()) }
    }

    #[test]
    fn names_and_numbers_are_found() {
        let none = ControlConfig::default();
        assert_eq!(Ownership::resolve(&none, &none).unwrap(), Ownership::default());
        let file = ControlConfig { owner: Some("root".into()), ..named("77") };
        let found = Ownership::resolve(&named("root"), &file).unwrap();
        assert_eq!((found.owner, found.group), (Some(Uid::from_raw(0)), Some(Gid::from_raw(0))));
        let found = Ownership::resolve(&none, &file).unwrap();
        assert_eq!(found.read_group, Some(Gid::from_raw(77)));
    }

    #[test]
    fn who_is_not_there_is_named_with_the_remedy() {
        let none = ControlConfig::default();
        let error = Ownership::resolve(&named("no-such"), &none).unwrap_err().to_string();
        assert!(error.starts_with("there is no group \"no-such\""), "{error}");
        assert!(error.contains("groupadd") && error.contains("--control-group"), "{error}");
        let owner = ControlConfig { owner: Some("no-such".into()), ..none.clone() };
        let error = Ownership::resolve(&none, &owner).unwrap_err().to_string();
        assert!(error.starts_with("there is no user \"no-such\""), "{error}");
        assert!(error.contains("[control] owner"), "{error}");
    }
}
