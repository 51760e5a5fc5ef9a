//! The network interfaces, by rtnetlink(7). A message from the kernel is only a wake-up: whatever
//! it says, links and addresses are read again as a whole.

pub(crate) mod changes;
mod listing;
mod neighbours;
mod observer;

use std::collections::BTreeMap;
use std::net::IpAddr;

use mcr_core::endpoint::InterfaceName;
use mcr_core::ids::IfIndex;
use mcr_core::interfaces::{HardwareAddress, Interface, Interfaces, LinkLayer, Network};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, Prop,
};

pub(crate) use neighbours::{Silence, Silent, Target, Watch};
pub(crate) use observer::observe;

/// What is observed where the kernel lists links and addresses in these bytes, as a netlink socket
/// gives them; `None` where it is no whole listing.
#[cfg(feature = "fuzzing")]
pub fn observed(mut bytes: &[u8]) -> Option<Interfaces> {
    use rtnetlink::packet_core::{NetlinkBuffer, NetlinkMessage};
    let mut listing = listing::Listing::default();
    while !bytes.is_empty() {
        let length = NetlinkBuffer::new_checked(bytes).ok()?.length() as usize;
        listing.take(NetlinkMessage::deserialize(bytes).ok()?).ok()?;
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    let is_whole = listing.is_whole() && !listing.was_interrupted();
    is_whole.then(|| interfaces(&listing.links, &listing.addresses))
}

/// Puts links and addresses together.
fn interfaces(links: &[LinkMessage], messages: &[AddressMessage]) -> Interfaces {
    let mut by_index: BTreeMap<u32, Vec<(bool, Network)>> = BTreeMap::new();
    // The kernel lists IPv4 addresses in the order in which they were set, but IPv6 ones newest
    // first: reversed, so that a new address does not become the source of running flows.
    let is_v6 = |message: &&AddressMessage| message.header.family == AddressFamily::Inet6;
    let v4 = messages.iter().filter(|message| !is_v6(message));
    for message in v4.chain(messages.iter().rev().filter(is_v6)) {
        if let Some(address) = usable_address(message) {
            let flags = message.header.flags;
            let secondary = AddressHeaderFlags::Secondary | AddressHeaderFlags::Deprecated;
            let is_secondary = flags.intersects(secondary);
            let network = Network { address, prefix: message.header.prefix_len };
            by_index.entry(message.header.index).or_default().push((is_secondary, network));
        }
    }
    let interface = |link: &LinkMessage| {
        let mut addresses = by_index.remove(&link.header.index).unwrap_or_default();
        // Stable: among primary addresses the oldest stays first.
        addresses.sort_by_key(|(is_secondary, _)| *is_secondary);
        Some(Interface {
            index: IfIndex(link.header.index),
            name: name(link)?,
            alternatives: alternative_names(link),
            link: link_layer(link.header.link_layer_type),
            hardware: hardware_address(link),
            mtu: mtu(link)?,
            up: link.header.flags.contains(LinkFlags::Up),
            carrier: has_carrier(link),
            controller: controller(link),
            addresses: addresses.iter().map(|(_, network)| network.address).collect(),
            networks: addresses.into_iter().map(|(_, network)| network).collect(),
        })
    };
    links.iter().filter_map(interface).collect()
}

/// An address that datagrams can come from: not one whose uniqueness is in doubt (RFC 4862).
fn usable_address(message: &AddressMessage) -> Option<IpAddr> {
    let doubtful = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    if message.header.flags.intersects(doubtful) {
        return None;
    }
    // On a point-to-point link "local" is ours and "address" the peer's.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn name(link: &LinkMessage) -> Option<InterfaceName> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => name.parse().ok(),
        _ => None,
    })
}

fn alternative_names(link: &LinkMessage) -> Vec<InterfaceName> {
    let properties = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::PropList(properties) => Some(properties),
        _ => None,
    });
    let name = |property: &Prop| match property {
        Prop::AltIfName(name) => name.parse().ok(),
        _ => None,
    };
    properties.flatten().filter_map(name).collect()
}

/// By the flags of netdevice(7) that the kernel sets at once. It sets `IFF_RUNNING` up to a second
/// later, where a carrier comes back soon after it went (`link_watch.c`).
fn has_carrier(link: &LinkMessage) -> bool {
    let flags = link.header.flags;
    flags.contains(LinkFlags::LowerUp) && !flags.contains(LinkFlags::Dormant)
}

/// Tunnels have addresses of other lengths.
fn hardware_address(link: &LinkMessage) -> Option<HardwareAddress> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => address[..].try_into().ok(),
        _ => None,
    })
}

fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// The controller that takes what comes in by the link. A VRF's ports keep theirs.
fn controller(link: &LinkMessage) -> Option<IfIndex> {
    let is_vrf = |info: &LinkInfo| matches!(info, LinkInfo::PortKind(InfoPortKind::Vrf));
    let mut controller = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Controller(index) => controller = Some(IfIndex(*index)),
            LinkAttribute::LinkInfo(infos) if infos.iter().any(is_vrf) => return None,
            _ => {}
        }
    }
    controller
}

/// The first header of frames (`linux/if_arp.h`).
fn link_layer(kind: LinkLayerType) -> Option<LinkLayer> {
    match kind {
        LinkLayerType::Ether | LinkLayerType::Loopback => Some(LinkLayer::Ethernet),
        LinkLayerType::None
        | LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Sit
        | LinkLayerType::Ipgre
        | LinkLayerType::Ppp
        | LinkLayerType::Rawip => Some(LinkLayer::Ip),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: LinkLayerType) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.link_layer_type = kind;
        link.header.flags = LinkFlags::Up;
        link.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::Mtu(1500)];
        link
    }

    fn address(
        index: u32,
        flags: AddressHeaderFlags,
        attributes: &[AddressAttribute],
    ) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message.attributes = attributes.to_vec();
        message
    }

    #[test]
    fn usable_addresses_stand_in_their_order() {
        let none = AddressHeaderFlags::empty();
        let own = |text: &str| [AddressAttribute::Address(text.parse().unwrap())];
        let peer = [
            AddressAttribute::Address("10.0.0.9".parse().unwrap()),
            AddressAttribute::Local("10.0.0.1".parse().unwrap()),
        ];
        let addresses = [
            address(2, AddressHeaderFlags::Secondary, &own("10.0.0.2")),
            address(2, none, &peer),
            address(2, AddressHeaderFlags::Tentative, &own("fd00::1")),
            address(2, AddressHeaderFlags::Dadfailed, &own("fd00::2")),
            address(3, none, &own("fe80::1")),
        ];
        let links = [link(2, "eth0", LinkLayerType::Ether), link(3, "tun0", LinkLayerType::None)];
        let read = interfaces(&links, &addresses);
        let of = |name: &str| {
            let interface = read.named(&name.parse().unwrap()).unwrap();
            (interface.link, interface.addresses.iter().map(ToString::to_string).collect())
        };
        let eth0: Vec<String> = vec!["10.0.0.1".into(), "10.0.0.2".into()];
        assert_eq!(of("eth0"), (Some(LinkLayer::Ethernet), eth0));
        assert_eq!(of("tun0"), (Some(LinkLayer::Ip), vec!["fe80::1".into()]));
    }

    #[test]
    fn the_oldest_address_stays_the_primary_one() {
        let listed = |family, texts: [&str; 2]| {
            texts.map(|text| {
                let own = [AddressAttribute::Address(text.parse().unwrap())];
                let mut message = address(2, AddressHeaderFlags::empty(), &own);
                message.header.family = family;
                message
            })
        };
        let mut addresses = listed(AddressFamily::Inet, ["10.0.0.1", "10.0.0.2"]).to_vec();
        addresses.extend(listed(AddressFamily::Inet6, ["fd00::2", "fd00::1"]));
        let read = interfaces(&[link(2, "eth0", LinkLayerType::Ether)], &addresses);
        let eth0 = read.named(&"eth0".parse().unwrap()).unwrap();
        let order: Vec<String> = eth0.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(order, ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]);
    }

    #[test]
    fn a_controller_takes_what_comes_in_but_a_vrf() {
        let port = |kind| {
            let mut link = link(2, "eth0", LinkLayerType::Ether);
            let info = LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(kind)]);
            link.attributes.extend([LinkAttribute::Controller(9), info]);
            let read = interfaces(&[link], &[]);
            read.named(&"eth0".parse().unwrap()).unwrap().controller
        };
        assert_eq!(port(InfoPortKind::Bridge), Some(IfIndex(9)));
        assert_eq!(port(InfoPortKind::Bond), Some(IfIndex(9)));
        assert_eq!(port(InfoPortKind::Other("openvswitch".into())), Some(IfIndex(9)));
        assert_eq!(port(InfoPortKind::Vrf), None);
    }

    #[test]
    fn what_cannot_be_read_is_known_and_not_readable() {
        let read = interfaces(&[link(4, "can0", LinkLayerType::Can)], &[]);
        assert_eq!(read.named(&"can0".parse().unwrap()).unwrap().link, None);
    }
}
