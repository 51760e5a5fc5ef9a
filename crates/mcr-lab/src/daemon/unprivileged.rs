//! The daemon as an ordinary user.

use std::io;
use std::process::Command;

use anyhow::{Context, Result};
use mcr_sys::privileges::Capability;
use mcr_sys::user::{become_user, set_file_capabilities};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, chown};
use tempfile::TempDir;

use super::Daemon;
use crate::harness::Skip;
use crate::namespace::Namespace;
use crate::{limits, program};

/// `nobody`, on every distribution.
const NOBODY: u32 = 65534;

/// Where an ordinary user's daemon has its capabilities from.
#[derive(Clone, Copy, Debug)]
pub enum Grant {
    /// From its program file (`setcap CAPABILITIES+ep`).
    File(&'static [Capability]),
    /// From who starts it (`AmbientCapabilities=` of systemd).
    Ambient(&'static [Capability]),
}

impl Daemon {
    /// Like [`Daemon::start`], of a copy of the program, as the user `nobody`.
    ///
    /// # Errors
    /// A [`Skip`] where the user namespace has no other user.
    pub fn start_as_nobody(
        namespace: &Namespace,
        grant: Grant,
        arguments: &[&str],
    ) -> Result<Self> {
        let directory = TempDir::with_prefix("mcr-lab-")?;
        let program = directory.path().join("mcrd");
        program::copy(&program::mcrd()?, &program)?;
        chown(directory.path(), Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY)))
            .map_err(|errno| without_users(errno.into()))?;
        let ambient = match grant {
            Grant::File(capabilities) => {
                set_file_capabilities(&program, capabilities).context("setcap")?;
                &[]
            }
            Grant::Ambient(capabilities) => capabilities,
        };
        let launch = |mut command: Command| {
            namespace.enter(|| {
                become_user(NOBODY, ambient)?;
                command.spawn()
            })
        };
        let control_path = directory.path().join("control.sock");
        let mut daemon = Self::spawn_by(Command::new(program), launch, &control_path, arguments)?;
        daemon.directory = Some(directory);
        daemon.wait_until_ready(limits::DAEMON_READY)?;
        Ok(daemon)
    }
}

/// An ordinary user's namespace has one user.
fn without_users(error: io::Error) -> anyhow::Error {
    if error.raw_os_error() == Some(Errno::EINVAL as i32) {
        return Skip::Forbidden("this user namespace has one user only: run as root".into()).into();
    }
    error.into()
}
