//! The right to make network namespaces: root has it, an ordinary user gets it from a user
//! namespace of its own, where the machine allows that.

use std::fmt;
use std::fs;
use std::io;

use anyhow::Result;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::harness::Skip;

/// This machine does not let this process make namespaces; says why and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network namespaces are unavailable: {}", self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Makes an ordinary user root in a user namespace of its own; does nothing for root.
///
/// Call it first in `main`: `unshare(2)` refuses a user namespace to a process with threads.
pub fn become_root_in_user_namespace() -> Result<(), Unavailable> {
    if geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| refused(&errno.to_string()))?;
    // user_namespaces(7): the group map may be written only after setgroups(2) is given up.
    write_map("setgroups", "deny")?;
    write_map("uid_map", &format!("0 {user} 1"))?;
    write_map("gid_map", &format!("0 {group} 1"))
}

/// Checks, by making one, that this process may make network namespaces.
pub fn require_namespaces() -> Result<(), Unavailable> {
    let probe = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET));
    match probe.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(errno)) => Err(refused(&errno.to_string())),
        Err(_) => Err(Unavailable("the probing thread panicked".into())),
    }
}

/// Whether there are other users than this one: in a user namespace there may not be.
pub fn has_other_users() -> io::Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let users = map.lines().filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
    Ok(users.sum::<u64>() > 1)
}

/// Checks that there are.
///
/// # Errors
/// A [`Skip`] where there are not.
pub fn require_other_users() -> Result<()> {
    if has_other_users()? {
        return Ok(());
    }
    Err(Skip::Forbidden("this user namespace has one user only: run as root".into()).into())
}

fn write_map(name: &str, text: &str) -> Result<(), Unavailable> {
    let path = format!("/proc/self/{name}");
    fs::write(&path, text).map_err(|error| refused(&format!("writing {path}: {error}")))
}

fn refused(cause: &str) -> Unavailable {
    Unavailable(format!("{cause}; {}", remedy(|name| fs::read_to_string(name))))
}

/// Names the switch that forbids user namespaces, going by the sysctls that exist.
fn remedy(read: impl Fn(&str) -> io::Result<String>) -> String {
    let forbidding = [
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("user/max_net_namespaces", "0", "user.max_net_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    forbidding
        .iter()
        .find(|(name, bad, _)| {
            read(&format!("/proc/sys/{name}")).is_ok_and(|value| value.trim() == *bad)
        })
        .map_or_else(
            || "run as root, or where seccomp allows unshare(2)".into(),
            |(.., setting)| format!("run as root, or set sysctl {setting}"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_the_sysctl_that_forbids() {
        let read = |name: &str| match name {
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns" => Ok("1\n".into()),
            "/proc/sys/user/max_user_namespaces" => Ok("96343\n".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        assert!(remedy(read).contains("kernel.apparmor_restrict_unprivileged_userns=0"));
    }

    #[test]
    fn without_a_forbidding_sysctl_the_remedy_is_root() {
        let nothing = |_: &str| -> io::Result<String> { Err(io::ErrorKind::NotFound.into()) };
        assert!(remedy(nothing).starts_with("run as root"));
    }
}
