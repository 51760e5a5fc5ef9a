//! What the supervisor gives up at its start: files but those it needs, TCP, and system calls that
//! neither it nor a worker on its way into the sandbox of its own makes. Workers inherit it all.

mod calls;
mod files;

use std::io;
use std::path::PathBuf;

use landlock::{
    Access, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{LANDLOCK, User, filter};
use crate::error::{Doing, SetupError};

/// The rights that the supervisor keeps.
#[derive(Clone, Debug)]
pub struct SupervisorConfinement {
    /// Directories whose files it reads: of its configuration.
    pub readable: Vec<PathBuf>,
    /// The directory that it makes its control socket in; it exists.
    pub control: PathBuf,
    /// The only TCP port that it listens at: of its metrics.
    pub tcp_port: Option<u16>,
    /// The only other user that it becomes: that of its workers.
    pub worker: User,
    /// Whether it starts workers in real time.
    pub realtime: bool,
}

/// Confines the calling process, which has one thread, as far as the kernel can. There is no way
/// back. Says whether its files are confined: they are not before Linux 5.13, nor where Landlock is
/// switched off.
///
/// # Errors
/// What the kernel refuses though it has it.
pub fn confine_supervisor(confinement: &SupervisorConfinement) -> Result<bool, SetupError> {
    // Landlock and seccomp ask for it of whoever has no CAP_SYS_ADMIN.
    let asked = nix::sys::prctl::set_no_new_privs().map_err(io::Error::from);
    asked.doing(|| "giving up new privileges")?;
    let files = confine_files(confinement).map_err(io::Error::other);
    let status = files.doing(|| "confining the supervisor's files by Landlock")?;
    let calls = calls::load(confinement);
    calls.doing(|| "filtering the supervisor's system calls")?;
    Ok(status != RulesetStatus::NotEnforced)
}

fn confine_files(
    confinement: &SupervisorConfinement,
) -> Result<RulesetStatus, landlock::RulesetError> {
    let handled = files::handled();
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        // Workers are within, and so can be ended; abstract sockets are the service manager's.
        .scope(Scope::Signal)?
        .create()?;
    let ruleset = files::allow(ruleset, confinement)?;
    let ruleset = allow_port(ruleset, confinement.tcp_port)?;
    Ok(ruleset.restrict_self()?.ruleset)
}

fn allow_port(
    ruleset: RulesetCreated,
    port: Option<u16>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    match port {
        Some(port) => ruleset.add_rule(NetPort::new(port, AccessNet::BindTcp)),
        None => Ok(ruleset),
    }
}

#[cfg(test)]
mod tests;
