//! The peer of a Unix socket, beyond what the standard library tells (unix(7)).

use std::io;
use std::os::fd::AsFd;

use crate::option;

/// Groups of most users; who is in more is asked for with room for all.
const USUAL_GROUPS: usize = 64;
/// A process has no more (`NGROUPS_MAX`, `linux/limits.h`).
const MOST_GROUPS: usize = 65_536;

/// The supplementary groups that the peer of a connected stream socket had when it connected
/// (`SO_PEERGROUPS`, socket(7), `sk_getsockopt` of the kernel's `net/core/sock.c`).
///
/// # Errors
/// What the kernel answers; `ENODATA` for a socket that is not connected.
pub fn supplementary_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let ask = |most| option::list(socket, libc::SOL_SOCKET, libc::SO_PEERGROUPS, most);
    match ask(USUAL_GROUPS) {
        Err(error) if error.raw_os_error() == Some(libc::ERANGE) => ask(MOST_GROUPS),
        answered => answered,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peer_has_its_processes_groups() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut expected: Vec<u32> =
            nix::unistd::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        let mut found = supplementary_groups(&ours).unwrap();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_has_no_peer_is_an_error() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(supplementary_groups(&socket).is_err());
    }
}
