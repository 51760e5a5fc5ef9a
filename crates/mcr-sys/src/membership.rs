//! Multicast memberships (RFC 3678, `ip(7)`): sockets held so that IGMP or MLD goes out and the
//! network card lets the groups in. The frames themselves come through the packet rings.

use crate::abi::{GroupRequest, GroupSourceRequest, STORAGE_BYTES};
use crate::error::{Doing, SetupError};
use crate::filter::Program;
use crate::option;
use crate::sockaddr::{Family, KernelAddress};
use socket2::{Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};

mod pool;

pub use pool::MembershipPool;

/// A group wanted on an interface, from any source or from one (RFC 4607).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Membership {
    /// The interface's index.
    pub ifindex: u32,
    /// The multicast group.
    pub group: IpAddr,
    /// The only wanted source, of the group's family; any where `None`.
    pub source: Option<IpAddr>,
}

/// One socket that holds memberships of one family, as many as the kernel allows it.
#[derive(Debug)]
pub struct MembershipSocket {
    socket: Socket,
    family: Family,
}

impl MembershipSocket {
    /// A socket that holds no membership and receives nothing, ever.
    pub fn open(family: Family) -> Result<Self, SetupError> {
        let open = || {
            let socket = Socket::new(family.domain(), Type::DGRAM.cloexec().nonblocking(), None)?;
            Program::drop_all().attach(&socket)?;
            match family {
                Family::V4 => socket.set_multicast_all_v4(false)?,
                Family::V6 => socket.set_multicast_all_v6(false)?,
            }
            Ok(Self { socket, family })
        };
        open().doing(|| "opening a membership socket")
    }

    /// Joins. `ENOBUFS` or `ENOMEM`: this socket is full; `EADDRINUSE`, `EADDRNOTAVAIL` or
    /// `EINVAL`: it holds the group already, or in the other way (from any source, from one).
    pub fn join(&self, ifindex: u32, group: IpAddr, source: Option<IpAddr>) -> io::Result<()> {
        match source {
            None => self.change(libc::MCAST_JOIN_GROUP, ifindex, group),
            Some(source) => {
                self.change_source(libc::MCAST_JOIN_SOURCE_GROUP, ifindex, group, source)
            }
        }
    }

    /// Leaves what [`MembershipSocket::join`] joined.
    pub fn leave(&self, ifindex: u32, group: IpAddr, source: Option<IpAddr>) -> io::Result<()> {
        let Some(source) = source else {
            return self.change(libc::MCAST_LEAVE_GROUP, ifindex, group);
        };
        match self.change_source(libc::MCAST_LEAVE_SOURCE_GROUP, ifindex, group, source) {
            // The interface is gone, and with it all sources of the group; only leaving the group
            // as a whole then frees its place on the socket.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                self.change(libc::MCAST_LEAVE_GROUP, ifindex, group)
            }
            outcome => outcome,
        }
    }

    fn change(&self, name: libc::c_int, ifindex: u32, group: IpAddr) -> io::Result<()> {
        let request = GroupRequest { interface: ifindex, padding: 0, group: self.storage(group)? };
        option::set(&self.socket, self.level(), name, &request)
    }

    fn change_source(
        &self,
        name: libc::c_int,
        ifindex: u32,
        group: IpAddr,
        source: IpAddr,
    ) -> io::Result<()> {
        let (group, source) = (self.storage(group)?, self.storage(source)?);
        let request = GroupSourceRequest { interface: ifindex, padding: 0, group, source };
        option::set(&self.socket, self.level(), name, &request)
    }

    fn level(&self) -> libc::c_int {
        match self.family {
            Family::V4 => libc::IPPROTO_IP,
            Family::V6 => libc::IPPROTO_IPV6,
        }
    }

    /// The address as a `sockaddr_storage`.
    fn storage(&self, address: IpAddr) -> io::Result<[u8; STORAGE_BYTES]> {
        if Family::of(address) != self.family {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        }
        let encoded = KernelAddress::from(SocketAddr::new(address, 0));
        let mut storage = [0; STORAGE_BYTES];
        storage[..encoded.as_bytes().len()].copy_from_slice(encoded.as_bytes());
        Ok(storage)
    }
}

#[cfg(test)]
mod tests;
