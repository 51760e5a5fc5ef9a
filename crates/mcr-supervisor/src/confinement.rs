//! Files, ports and users that the supervisor keeps, by its settings.

use std::fs;
use std::path::{Path, PathBuf};

use mcr_api::config::Config;
use mcr_api::worker::launch::{Sandbox, Scheduling};
use mcr_sys::sandbox::{self, SupervisorConfinement, User};
use tracing::debug;

use crate::settings::{Settings, StartError};

/// Confines this process and what it will start. To be called before there is a second thread, and
/// with what the control socket stands in already there.
pub(crate) fn confine(
    settings: &Settings,
    config: &Config,
    worker: User,
) -> Result<Confined, StartError> {
    if settings.sandbox == Sandbox::Off {
        return Ok(Confined { files: false });
    }
    let listen = settings.metrics.or(config.metrics.listen);
    let files = sandbox::confine_supervisor(&SupervisorConfinement {
        readable: settings.config.as_deref().map(directories).unwrap_or_default(),
        control: parent(&settings.control),
        tcp_port: listen.map(|address| address.port()),
        worker,
        realtime: settings.scheduling == Scheduling::Realtime,
    });
    Ok(Confined { files: files.map_err(StartError::Permission)? })
}

/// The outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confined {
    files: bool,
}

impl Confined {
    /// Says what the kernel could not do, once there is a log.
    pub(crate) fn tell(self) {
        if !self.files {
            debug!(
                "the supervisor's files are not confined: no Landlock (Linux 5.13), or no sandbox"
            );
        }
    }
}

/// Where a file is, which may become another of its name, and where it is if that is a link.
fn directories(file: &Path) -> Vec<PathBuf> {
    let linked = fs::canonicalize(file).ok();
    [Some(file), linked.as_deref()].into_iter().flatten().map(parent).collect()
}

/// The directory that a file is in.
pub(crate) fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => PathBuf::from("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_what_it_links_to_may_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let elsewhere = root.join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("mcr.toml"), "").unwrap();
        std::os::unix::fs::symlink("elsewhere/mcr.toml", root.join("mcr.toml")).unwrap();
        assert_eq!(directories(&root.join("mcr.toml")), [root, elsewhere]);
        assert_eq!(parent(Path::new("mcr.toml")), Path::new("."));
        assert_eq!(parent(Path::new("/mcr.toml")), Path::new("/"));
    }
}
