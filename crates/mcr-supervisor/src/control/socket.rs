//! The control socket's file: one live daemon for each, a stale one replaced, removed at the end.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::{Gid, Uid, chown};

use crate::confinement::parent;
use crate::limits;

/// The listening socket and its lock.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    lock_path: PathBuf,
    /// Held while this daemon lives; the kernel gives it up even when that is killed.
    _lock: Flock<File>,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Another daemon serves the path.
    #[error("{0} is served by another mcrd: stop that one, or choose another with --control PATH")]
    Live(PathBuf),
    /// Something else is there, and it is not ours to delete.
    #[error("{0} exists and is not a socket: remove it, or choose another with --control PATH")]
    NotASocket(PathBuf),
    /// It cannot be given to whom it is to belong.
    #[error(
        "control socket {path}: it cannot be given to {whom}: {cause}: mcrd needs CAP_CHOWN for an \
         owner other than its own, or a group that it is not in; else leave the owner out and run \
         mcrd with that group"
    )]
    Owner {
        /// The path.
        path: PathBuf,
        /// The owner and group.
        whom: String,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// The path cannot be used.
    #[error("control socket {path}: {what}: {cause}")]
    Path {
        /// The path.
        path: PathBuf,
        /// The step that failed.
        what: &'static str,
        /// The kernel's answer.
        cause: io::Error,
    },
}

impl ControlSocket {
    /// Takes the path and listens there, for this owner and group; `None` is the daemon's own.
    pub(crate) fn bind(
        path: &Path,
        owner: Option<Uid>,
        group: Option<Gid>,
    ) -> Result<(Self, UnixListener), SocketError> {
        let failed = |what| move |cause| SocketError::Path { path: path.to_owned(), what, cause };
        make_directory(path)?;
        let lock_path = beside(path, "lock");
        let lock = lock(&lock_path).map_err(failed("locking"))?;
        let lock = lock.ok_or_else(|| SocketError::Live(path.to_owned()))?;
        let socket = Self { path: path.to_owned(), lock_path, _lock: lock };
        socket.check_nobody_listens().inspect_err(|_| _ = fs::remove_file(&socket.lock_path))?;
        match socket.listen(owner, group) {
            Ok(listener) => Ok((socket, listener)),
            Err(error) => {
                _ = fs::remove_file(&socket.lock_path);
                Err(error)
            }
        }
    }

    /// Removes the file: no client finds a daemon that is ending.
    pub(crate) fn remove(self) {
        // Whoever has removed it before has done our work.
        _ = fs::remove_file(&self.path);
        _ = fs::remove_file(&self.lock_path);
    }

    /// The lock tells of daemons; but other programs listen, too.
    fn check_nobody_listens(&self) -> Result<(), SocketError> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if !found.file_type().is_socket() => {
                Err(SocketError::NotASocket(self.path.clone()))
            }
            Ok(_) if UnixStream::connect(&self.path).is_ok() => {
                Err(SocketError::Live(self.path.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Listens under another name, and then takes the stale file's place: so nobody ever finds a
    /// socket that has not its final mode, or that nobody listens to.
    fn listen(&self, owner: Option<Uid>, group: Option<Gid>) -> Result<UnixListener, SocketError> {
        let path = || self.path.clone();
        let what = "listening";
        let failed = |cause| SocketError::Path { path: path(), what, cause };
        let new = beside(&self.path, "new");
        _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new).map_err(failed)?;
        // To the new owner before it opens to the group: never to the group of before.
        let given = fs::set_permissions(&new, Permissions::from_mode(0o600))
            .and_then(|()| give(&new, owner, group));
        if let Err(cause) = given {
            _ = fs::remove_file(&new);
            return Err(SocketError::Owner { path: path(), whom: whom(owner, group), cause });
        }
        let taken = fs::set_permissions(&new, Permissions::from_mode(0o660))
            .and_then(|()| {
                nix::sys::socket::listen(&listener.as_fd(), backlog()).map_err(Into::into)
            })
            .and_then(|()| listener.set_nonblocking(true))
            .and_then(|()| fs::rename(&new, &self.path));
        taken.inspect_err(|_| _ = fs::remove_file(&new)).map_err(failed)?;
        Ok(listener)
    }
}

/// Changes whose a file is only where that is asked for: some sandboxes forbid the very call.
fn give(path: &Path, owner: Option<Uid>, group: Option<Gid>) -> io::Result<()> {
    if owner.is_some() || group.is_some() {
        chown(path, owner, group)?;
    }
    Ok(())
}

fn whom(owner: Option<Uid>, group: Option<Gid>) -> String {
    let owner = owner.map(|uid| format!("uid {uid}"));
    let group = group.map(|gid| format!("gid {gid}"));
    owner.into_iter().chain(group).collect::<Vec<_>>().join(" and ")
}

fn backlog() -> nix::sys::socket::Backlog {
    nix::sys::socket::Backlog::new(limits::LISTEN_BACKLOG)
        .unwrap_or(nix::sys::socket::Backlog::MAXCONN)
}

/// Makes the directory that a control socket is to be in, where there is none.
pub(crate) fn make_directory(path: &Path) -> Result<(), SocketError> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(parent(path));
    let what = "making its directory";
    made.map_err(|cause| SocketError::Path { path: path.to_owned(), what, cause })
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// The lock, or `None` where another process has it.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    loop {
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600);
        // Where others can write to the directory, none of them has us open another file.
        options.custom_flags(OFlag::O_NOFOLLOW.bits());
        let file = options.open(path)?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(errno.into()),
        };
        // Its former owner removes the file at its end; a lock on that file would be worth nothing.
        match fs::metadata(path) {
            Ok(found) if found.ino() == lock.metadata()?.ino() => return Ok(Some(lock)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> Result<(ControlSocket, UnixListener), SocketError> {
        ControlSocket::bind(path, None, None)
    }

    fn in_directory(test: impl FnOnce(&Path)) {
        let directory = tempfile::tempdir().unwrap();
        test(&directory.path().join("run/mcr/control.sock"));
    }

    #[test]
    fn the_file_is_there_while_the_daemon_is() {
        in_directory(|path| {
            let (socket, _listener) = bind(path).unwrap();
            assert!(UnixStream::connect(path).is_ok());
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o660);
            socket.remove();
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        });
    }

    #[test]
    fn a_live_daemon_is_left_alone() {
        in_directory(|path| {
            let (_socket, _listener) = bind(path).unwrap();
            assert!(matches!(bind(path), Err(SocketError::Live(_))));
            assert!(UnixStream::connect(path).is_ok());
        });
    }

    #[test]
    fn another_program_that_listens_is_left_alone() {
        in_directory(|path| {
            make_directory(path).unwrap();
            let _other = UnixListener::bind(path).unwrap();
            assert!(matches!(bind(path), Err(SocketError::Live(_))));
            assert!(UnixStream::connect(path).is_ok());
        });
    }

    #[test]
    fn what_a_killed_daemon_left_is_replaced() {
        in_directory(|path| {
            make_directory(path).unwrap();
            drop(UnixListener::bind(path).unwrap());
            fs::write(beside(path, "lock"), "").unwrap();
            assert!(UnixStream::connect(path).is_err());
            let (_socket, _listener) = bind(path).unwrap();
            assert!(UnixStream::connect(path).is_ok());
        });
    }

    #[test]
    fn a_link_that_somebody_put_in_the_locks_place_is_not_followed() {
        in_directory(|path| {
            make_directory(path).unwrap();
            let elsewhere = path.with_file_name("elsewhere");
            std::os::unix::fs::symlink(&elsewhere, beside(path, "lock")).unwrap();
            assert!(bind(path).is_err());
            assert!(!elsewhere.exists());
        });
    }

    #[test]
    fn a_file_of_somebody_is_not_deleted() {
        in_directory(|path| {
            make_directory(path).unwrap();
            fs::write(path, "precious").unwrap();
            assert!(matches!(bind(path), Err(SocketError::NotASocket(_))));
            assert_eq!(fs::read_to_string(path).unwrap(), "precious");
        });
    }
}
