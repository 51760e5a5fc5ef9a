//! The user at the other end, and whether the socket is theirs to use.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fmt, fs, io};

use mcr_api::control::Access;
use mcr_sys::peer::supplementary_groups;
use nix::unistd::geteuid;
use tokio::net::UnixStream;

/// A client as the kernel knew it when it connected (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(super) uid: u32,
    /// Its name, where this host had a user of that number when the daemon started.
    pub(super) user: Option<String>,
    /// `None`: it has none in our namespace.
    pub(super) pid: Option<i32>,
    /// The access that it has.
    pub(super) access: Access,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)?;
        if let Some(user) = &self.user {
            write!(f, " ({user})")?;
        }
        self.pid.map_or(Ok(()), |pid| write!(f, " pid {pid}"))
    }
}

/// Who may use a socket: what its file says, but asked of the kernel for each client, so that a
/// file whose mode somebody has loosened, or a descriptor passed on, lets in nobody else.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(super) access: Access,
    owner: u32,
    group: u32,
}

impl Gate {
    /// That of a socket at this path.
    pub(crate) fn of(path: &Path, access: Access) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self { access, owner: file.uid(), group: file.gid() })
    }

    /// The client, if it may pass; its number, if not.
    pub(super) fn admit(
        &self,
        stream: &UnixStream,
        users: &Users,
    ) -> io::Result<Result<Peer, u32>> {
        let peer = stream.peer_cred()?;
        let (uid, gid) = (peer.uid(), peer.gid());
        let passes = self.owns(uid)
            || gid == self.group
            || supplementary_groups(stream)?.contains(&self.group);
        if !passes {
            return Ok(Err(uid));
        }
        let user = users.name(uid);
        Ok(Ok(Peer { uid, user, pid: peer.pid(), access: self.access }))
    }

    fn owns(&self, uid: u32) -> bool {
        uid == self.owner || is_master(uid)
    }
}

/// Whether a user can end the daemon anyway: root, and whom it runs as.
pub(super) fn is_master(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// The names of this host's own users. They are read once: asking the name service for each client
/// may take long, and would need files and sockets that a daemon does not need.
#[derive(Debug, Default)]
pub(crate) struct Users(BTreeMap<u32, String>);

impl Users {
    /// Reads them (passwd(5)); without the file there are none.
    pub(crate) fn read() -> Self {
        Self::parse(&fs::read_to_string("/etc/passwd").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut users = BTreeMap::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty());
            let uid = fields.nth(1).and_then(|uid| uid.parse().ok());
            if let (Some(name), Some(uid)) = (name, uid) {
                // The first one counts, as for getpwuid(3).
                users.entry(uid).or_insert_with(|| name.escape_debug().to_string());
            }
        }
        Self(users)
    }

    fn name(&self, uid: u32) -> Option<String> {
        self.0.get(&uid).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names() {
        let users =
            Users::parse("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0\n+\n:x:7\nmcr:x:77:7\n");
        assert_eq!(users.name(0).as_deref(), Some("root"));
        assert_eq!(users.name(77).as_deref(), Some("mcr"));
        assert_eq!((users.name(7), users.name(78)), (None, None));
    }

    #[test]
    fn a_peer_is_shown_with_what_is_known_of_it() {
        let peer = Peer { uid: 7, user: None, pid: None, access: Access::Read };
        assert_eq!(peer.to_string(), "uid 7");
        let peer = Peer { user: Some("mcr".into()), pid: Some(42), ..peer };
        assert_eq!(peer.to_string(), "uid 7 (mcr) pid 42");
    }

    #[tokio::test]
    async fn whoever_owns_the_socket_passes() {
        let (stream, _theirs) = UnixStream::pair().unwrap();
        let gate = Gate { access: Access::Read, owner: 4_000_000, group: 4_000_000 };
        let peer = gate.admit(&stream, &Users::default()).unwrap().unwrap();
        let expected = (geteuid().as_raw(), Some(std::process::id() as i32), Access::Read);
        assert_eq!((peer.uid, peer.pid, peer.access), expected);
        assert!(gate.owns(4_000_000) && gate.owns(0) && !gate.owns(4_000_001));
    }
}
