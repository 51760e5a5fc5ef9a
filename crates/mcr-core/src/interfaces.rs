//! The network interfaces as observed at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::repeat;
use std::net::{IpAddr, Ipv4Addr};

use crate::endpoint::InterfaceName;
use crate::ids::IfIndex;

/// The header before the IP header of a frame on an interface.
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
    /// Its alternative names (`ip link property`), unique likewise.
    pub alternatives: Vec<InterfaceName>,
    /// The first header of its frames; `None` is a link that MCR cannot read.
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
    /// The networks that it is in, one for each of these addresses.
    pub networks: Vec<Network>,
}

/// An address and its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The interface's address.
    pub address: IpAddr,
    /// Leading bits that the network's addresses share.
    pub prefix: u8,
}

impl Network {
    /// Whether an address is in it.
    fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                u128::from(own.to_bits() ^ other.to_bits()) << 96
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => own.to_bits() ^ other.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= self.prefix.into()
    }

    /// Its broadcast address, if it has more than two addresses (RFC 3021).
    fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(v4) if self.prefix <= 30 => {
                let hosts = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                Some(Ipv4Addr::from_bits(v4.to_bits() | hosts))
            }
            _ => None,
        }
    }
}

impl Interface {
    /// Every name that rules may call it by.
    pub fn names(&self) -> impl Iterator<Item = &InterfaceName> {
        std::iter::once(&self.name).chain(&self.alternatives)
    }

    /// The broadcast addresses of its IPv4 networks.
    pub fn broadcasts(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.networks.iter().filter_map(Network::broadcast)
    }

    /// The address that datagrams to `destination` should come from: one of the destination's
    /// network, as the kernel's route there has it; else one of the destination's reach (RFC 6724,
    /// rule 2, and RFC 3927); else the primary one of its family.
    pub fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        let networks = self.networks.iter().filter(|network| network.contains(destination));
        // Of equals the last would be taken, and the first is the primary one.
        if let Some(network) = networks.rev().max_by_key(|network| network.prefix) {
            return Some(network.address);
        }
        let family = || self.addresses.iter().filter(|a| a.is_ipv4() == destination.is_ipv4());
        let local = is_link_local(destination);
        family().find(|a| is_link_local(**a) == local).or_else(|| family().next()).copied()
    }
}

/// Link-local, of a host (RFC 3927, RFC 4291) or of an IPv6 group (scope 2 and below, RFC 7346).
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) if v6.is_multicast() => v6.octets()[1] & 0x0f <= 2,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// All interfaces, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    by_name: BTreeMap<InterfaceName, Interface>,
    /// The name of each alternative one.
    alternatives: BTreeMap<InterfaceName, InterfaceName>,
}

impl Interfaces {
    /// The interface of that name, or of that alternative name.
    pub fn named(&self, name: &InterfaceName) -> Option<&Interface> {
        self.by_name.get(name).or_else(|| self.by_name.get(self.alternatives.get(name)?))
    }

    /// The interface of that number.
    pub fn numbered(&self, index: IfIndex) -> Option<&Interface> {
        self.iter().find(|interface| interface.index == index)
    }

    /// These without the interfaces of such numbers.
    #[must_use]
    pub fn without(mut self, numbers: &BTreeSet<IfIndex>) -> Self {
        self.by_name.retain(|_, interface| !numbers.contains(&interface.index));
        let Self { by_name, alternatives } = &mut self;
        alternatives.retain(|_, name| by_name.contains_key(name));
        self
    }

    /// Whether an address is one of this host's, or a broadcast address of a network that it is in.
    pub fn is_local(&self, address: IpAddr) -> bool {
        let broadcast = |i: &Interface| match address {
            IpAddr::V4(v4) => v4.is_broadcast() || i.broadcasts().any(|address| address == v4),
            IpAddr::V6(_) => false,
        };
        address.is_loopback() || self.iter().any(|i| i.addresses.contains(&address) || broadcast(i))
    }

    /// Every interface in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.by_name.values()
    }
}

impl FromIterator<Interface> for Interfaces {
    fn from_iter<I: IntoIterator<Item = Interface>>(interfaces: I) -> Self {
        let by_name: BTreeMap<_, _> = interfaces.into_iter().map(|i| (i.name.clone(), i)).collect();
        let of = |i: &Interface| i.alternatives.clone().into_iter().zip(repeat(i.name.clone()));
        let alternatives = by_name.values().flat_map(of).collect();
        Self { by_name, alternatives }
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
            alternatives: vec!["a-name-of-more-than-fifteen-letters".parse().unwrap()],
            link: Some(LinkLayer::Ethernet),
            hardware: None,
            mtu: 1500,
            up: true,
            carrier: true,
            controller: None,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            networks: [("10.0.0.1", 24), ("10.0.0.2", 24), ("fd00::1", 64)]
                .map(|(address, prefix)| Network { address: address.parse().unwrap(), prefix })
                .into(),
        };
        let all: Interfaces = [interface.clone()].into_iter().collect();
        let named = |name: &str| all.named(&name.parse().unwrap()).is_some();
        assert!(named("eth0") && named("a-name-of-more-than-fifteen-letters") && !named("eth1"));
        let local = |address: &str| all.is_local(address.parse().unwrap());
        assert!(local("10.0.0.2") && local("10.0.0.255") && local("255.255.255.255"));
        assert!(!local("10.0.0.3"));
        let source = |to: &str| interface.source_for(to.parse().unwrap()).unwrap().to_string();
        assert_eq!(source("239.1.1.1"), "10.0.0.1");
        assert_eq!(source("ff3e::1234"), "fd00::1");
        assert_eq!(source("ff02::1234"), "fe80::1");
        assert_eq!(source("fe80::9"), "fe80::1");
        assert_eq!(source("2001:db8::1"), "fd00::1");
    }

    #[test]
    fn source_is_of_the_destinations_network() {
        let network =
            |(address, prefix): (&str, u8)| Network { address: address.parse().unwrap(), prefix };
        let networks = [
            ("169.254.29.54", 16),
            ("10.2.0.1", 24),
            ("10.2.0.77", 24),
            ("10.3.0.1", 8),
            ("fe80::1", 64),
            ("fd00:1::1", 64),
            ("fd00:2::1", 64),
        ];
        let networks: Vec<Network> = networks.map(network).into();
        let interface = Interface {
            index: IfIndex(1),
            name: "eth0".parse().unwrap(),
            alternatives: Vec::new(),
            link: Some(LinkLayer::Ethernet),
            hardware: None,
            mtu: 1500,
            up: true,
            carrier: true,
            controller: None,
            addresses: networks.iter().map(|network| network.address).collect(),
            networks,
        };
        let source = |to: &str| interface.source_for(to.parse().unwrap()).unwrap().to_string();
        assert_eq!(source("10.2.0.9"), "10.2.0.1", "the longest prefix, and its primary address");
        assert_eq!(source("10.9.0.9"), "10.3.0.1");
        assert_eq!(source("169.254.1.1"), "169.254.29.54");
        assert_eq!(source("203.0.113.9"), "10.2.0.1", "by a router: a routable one");
        assert_eq!(source("239.1.1.1"), "10.2.0.1");
        assert_eq!(source("fd00:2::9"), "fd00:2::1");
        assert_eq!(source("2001:db8::9"), "fd00:1::1");
    }
}
