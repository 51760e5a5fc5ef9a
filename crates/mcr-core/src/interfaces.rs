//! The network interfaces as observed at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::endpoint::InterfaceName;
use crate::ids::IfIndex;

/// What stands before the IP header of a frame on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkLayer {
    /// Ethernet (`ARPHRD_ETHER`, `ARPHRD_LOOPBACK`).
    Ethernet,
    /// Nothing: TUN, WireGuard, IP tunnels (`ARPHRD_NONE`, `ARPHRD_TUNNEL`, …).
    Ip,
}

/// An Ethernet address (IEEE 802), in the order of its bytes on the wire.
pub type HardwareAddress = [u8; 6];

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub index: IfIndex,
    /// The name, unique in its namespace.
    pub name: InterfaceName,
    /// What its frames start with; `None` is a link that MCR cannot read.
    pub link: Option<LinkLayer>,
    /// Its hardware address, where it has one of that kind.
    pub hardware: Option<HardwareAddress>,
    /// The largest packet in bytes, without the link-layer header.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether the link below it works (`IFF_LOWER_UP`, and operational by RFC 2863). Without it
    /// the kernel takes what is sent and throws it away.
    pub carrier: bool,
    /// The bridge, bond or team that it is a port of. What comes in by a port comes to the host's
    /// network stack as the controller's, and so do the network's questions about groups.
    pub controller: Option<IfIndex>,
    /// Its usable addresses (not tentative, not failed), the primary one of each family first.
    pub addresses: Vec<IpAddr>,
}

impl Interface {
    /// The address that datagrams to `destination` should come from: the primary one of its family,
    /// and for IPv6 one of the destination's reach (RFC 6724, rule 2) where there is one.
    pub fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        let family = || self.addresses.iter().filter(|a| a.is_ipv4() == destination.is_ipv4());
        let local = is_link_local(destination);
        family().find(|a| is_link_local(**a) == local).or_else(|| family().next()).copied()
    }
}

/// IPv6 link-local, of a host (RFC 4291) or of a group (scope 2 and below, RFC 7346).
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) if v6.is_multicast() => v6.octets()[1] & 0x0f <= 2,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// All interfaces, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(BTreeMap<InterfaceName, Interface>);

impl Interfaces {
    /// The interface of that name.
    pub fn named(&self, name: &InterfaceName) -> Option<&Interface> {
        self.0.get(name)
    }

    /// The interface of that number.
    pub fn numbered(&self, index: IfIndex) -> Option<&Interface> {
        self.iter().find(|interface| interface.index == index)
    }

    /// These without the interfaces of such numbers.
    #[must_use]
    pub fn without(mut self, numbers: &BTreeSet<IfIndex>) -> Self {
        self.0.retain(|_, interface| !numbers.contains(&interface.index));
        self
    }

    /// Every interface in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.0.values()
    }
}

impl FromIterator<Interface> for Interfaces {
    fn from_iter<I: IntoIterator<Item = Interface>>(interfaces: I) -> Self {
        Self(interfaces.into_iter().map(|i| (i.name.clone(), i)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_has_the_reach_of_its_destination() {
        let addresses = ["10.0.0.1", "10.0.0.2", "fe80::1", "fd00::1"];
        let interface = Interface {
            index: IfIndex(1),
            name: "eth0".parse().unwrap(),
            link: Some(LinkLayer::Ethernet),
            hardware: None,
            mtu: 1500,
            up: true,
            carrier: true,
            controller: None,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        };
        let source = |to: &str| interface.source_for(to.parse().unwrap()).unwrap().to_string();
        assert_eq!(source("239.1.1.1"), "10.0.0.1");
        assert_eq!(source("ff3e::1234"), "fd00::1");
        assert_eq!(source("ff02::1234"), "fe80::1");
        assert_eq!(source("fe80::9"), "fe80::1");
        assert_eq!(source("2001:db8::1"), "fd00::1");
    }
}
