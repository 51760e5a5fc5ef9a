//! `AF_PACKET` sockets bound to one interface (packet(7)), without unsafe code.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, socket};

use crate::namespace::Namespace;

/// Opens a raw packet socket on an interface. With `protocol` `None` it only sends.
///
/// A receiving socket hears every interface until it is bound, so its first frames may be
/// another interface's: a reader compares the index in the frame's address.
pub fn open(
    namespace: &Namespace,
    ifname: &str,
    protocol: Option<SockProtocol>,
) -> Result<OwnedFd> {
    namespace
        .enter(|| -> Result<OwnedFd> {
            let family = AddressFamily::Packet;
            let opened = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
            // getifaddrs(3) makes a sockaddr_ll with the index and protocol 0, which bind(2)
            // takes as "the socket's own protocol".
            bind(opened.as_raw_fd(), &link_address(ifname)?)?;
            Ok(opened)
        })
        .with_context(|| format!("{}: packet socket on {ifname}", namespace.label()))
}

fn link_address(ifname: &str) -> Result<LinkAddr> {
    getifaddrs()?
        .filter(|entry| entry.interface_name == ifname)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .context("no such interface")
}
