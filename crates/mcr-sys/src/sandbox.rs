//! What a worker gives up before it reads its first frame, so that whoever takes it over by a frame
//! has won nothing, and what the supervisor gives up before it hears its first client.

mod calls;
mod filter;
mod supervisor;

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, dup2_stderr, setgroups, setresgid, setresuid};

use crate::error::{Doing, SetupError};
use crate::privileges;
use crate::process::die_with_parent;

pub use calls::{Calls, Sends};
pub use supervisor::{SupervisorConfinement, confine_supervisor};

/// The newest Landlock that was tried; older kernels do as much of it as they have.
const LANDLOCK: ABI = ABI::V6;

/// The rights that a worker keeps.
#[derive(Clone, Copy, Debug)]
pub struct Confinement {
    /// The user of its process.
    pub user: User,
    /// Descriptors that it may have open (`RLIMIT_NOFILE`), or as many as it may have now.
    pub descriptors: u64,
    /// The process with which it ends.
    pub parent: u32,
    /// The calls that it may make.
    pub calls: Calls,
}

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// What could not be given up, for want of a privilege or of the kernel's support. All else is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// It keeps the user that it was started by: `CAP_SETUID` and `CAP_SETGID` are missing, or the
    /// user namespace has no other user.
    pub own_user: bool,
    /// The bounding set stays as it was: `CAP_SETPCAP` is missing.
    pub bounding_set: bool,
    /// The kernel is older than Linux 5.13, or has Landlock switched off.
    pub landlock: bool,
}

/// Confines the calling process, which has one thread and has made all that it needs. There is no
/// way back from any of it. Each step stands where it does for the reason given.
///
/// # Errors
/// What the kernel refuses though it has it and asks for no privilege; the process is then to end.
pub fn confine(confinement: &Confinement) -> Result<Lacks, SetupError> {
    // Standard error is the supervisor's. What goes wrong from here on goes into the log pipe.
    step("leaving standard error", dup2_stderr(io::stdout()))?;
    // The bounding set first: to shrink it takes a capability that goes with the user.
    let bounding_set = privileges::empty_bounding_set_but(&[]).is_err();
    // Then the user, so that its signals and files are not those of the supervisor, nor root's.
    let own_user = become_user(confinement.user).is_err();
    // The kernel takes the capabilities with a change from root to another user, but not otherwise.
    privileges::drop_all().doing(|| "dropping all capabilities")?;
    // The change of user has had the kernel forget the death signal.
    die_with_parent(confinement.parent).doing(|| "watching the parent")?;
    // Others of this user may neither trace it nor read its memory; there is no core file either.
    step("becoming undumpable", nix::sys::prctl::set_dumpable(false))?;
    // No process or thread, no file, no core file; and no more descriptors than it is handed.
    limit(Resource::RLIMIT_NPROC, 0)?;
    limit(Resource::RLIMIT_FSIZE, 0)?;
    limit(Resource::RLIMIT_CORE, 0)?;
    limit(Resource::RLIMIT_NOFILE, confinement.descriptors)?;
    // The two below ask for it of whoever has no capability.
    step("giving up new privileges", nix::sys::prctl::set_no_new_privs())?;
    // No file, TCP, abstract socket or signal outside, should the last step let one through.
    let landlock = deny_files().doing(|| "denying all files by Landlock")?;
    // Last, for it forbids all of the above.
    filter::kill_for_all_but(&confinement.calls).doing(|| "filtering system calls")?;
    Ok(Lacks { own_user, bounding_set, landlock: landlock == RulesetStatus::NotEnforced })
}

fn become_user(user: User) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    if nix::unistd::geteuid() == uid {
        // Started as that very user, who is the supervisor then: nothing is gained.
        return Err(nix::errno::Errno::EPERM);
    }
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

fn limit(resource: Resource, most: u64) -> Result<(), SetupError> {
    let set = || {
        let (_, hard) = nix::sys::resource::getrlimit(resource)?;
        let most = most.min(hard);
        setrlimit(resource, most, most)
    };
    step("lowering a resource limit", set())
}

/// A rule set without rules: all that it handles is denied.
fn deny_files() -> io::Result<RulesetStatus> {
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?
            .restrict_self()
    };
    Ok(restrict().map_err(io::Error::other)?.ruleset)
}

fn step<T>(what: &'static str, result: nix::Result<T>) -> Result<T, SetupError> {
    result.map_err(io::Error::from).doing(|| what)
}

#[cfg(test)]
mod tests;
