//! Rights of clients: one socket for those who change things, another for those who only look.

use std::path::{Path, PathBuf};

/// The access that a command needs and a client has; the higher includes the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Looking.
    Read,
    /// Changing what is relayed, recorded or logged.
    Change,
}

/// Where those who only look connect: beside the control socket, `control-read.sock` for
/// `control.sock`.
pub fn read_only_path(control: &Path) -> PathBuf {
    let mut name = control.file_stem().unwrap_or_default().to_owned();
    name.push("-read");
    if let Some(extension) = control.extension() {
        name.push(".");
        name.push(extension);
    }
    control.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_read_only_path_is_beside_the_other() {
        let path = |control: &str| read_only_path(Path::new(control)).display().to_string();
        assert_eq!(path("/run/mcr/control.sock"), "/run/mcr/control-read.sock");
        assert_eq!(path("here"), "here-read");
        assert_eq!(path("a.b/c.d.sock"), "a.b/c.d-read.sock");
    }

    #[test]
    fn who_may_change_may_look() {
        assert!(Access::Change > Access::Read);
    }
}
