//! Addresses, routes and neighbours, through rtnetlink(7), inside a namespace.

use std::net::IpAddr;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressFlags};
use netlink_packet_route::neighbour::NeighbourState;
use netlink_packet_route::route::RouteScope;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use rtnetlink::RouteMessageBuilder;

use crate::link::{MacAddress, ifindex};
use crate::namespace::Namespace;
use crate::netlink::converse;

/// Gives the interface an address; an IPv6 one is usable at once.
pub fn add_address(
    namespace: &Namespace,
    ifname: &str,
    address: IpAddr,
    prefix_length: u8,
) -> Result<()> {
    let index = ifindex(namespace, ifname)?;
    converse(namespace, |netlink| async move {
        let mut request = netlink.address().add(index, address, prefix_length);
        if address.is_ipv6() {
            // Duplicate address detection would keep it unusable for a second.
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            request.message_mut().attributes.push(flags);
        }
        request.execute().await
    })
    .with_context(|| format!("{}: adding {address} to {ifname}", namespace.label()))
}

/// The interface's addresses.
pub fn addresses(namespace: &Namespace, ifname: &str) -> Result<Vec<IpAddr>> {
    let of_entry = |entry: InterfaceAddress| -> Option<IpAddr> {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
    };
    namespace.enter(|| {
        let here = getifaddrs()?.filter(|entry| entry.interface_name == ifname);
        Ok(here.filter_map(of_entry).collect())
    })
}

/// Removes every address `address` of the interface.
pub fn delete_address(namespace: &Namespace, ifname: &str, address: IpAddr) -> Result<()> {
    let index = ifindex(namespace, ifname)?;
    converse(namespace, |netlink| async move {
        let all = netlink.address().get().set_link_index_filter(index);
        let mut found = Box::pin(all.set_address_filter(address).execute());
        while let Some(message) = found.try_next().await? {
            netlink.address().del(message).execute().await?;
        }
        Ok(())
    })
    .with_context(|| format!("{}: deleting {address} from {ifname}", namespace.label()))
}

/// Routes `network/prefix_length` to the interface, without a gateway.
pub fn add_link_route(
    namespace: &Namespace,
    ifname: &str,
    network: IpAddr,
    prefix_length: u8,
) -> Result<()> {
    let index = ifindex(namespace, ifname)?;
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(network, prefix_length)?
        .output_interface(index)
        .scope(if network.is_ipv4() { RouteScope::Link } else { RouteScope::Universe })
        .build();
    converse(namespace, |netlink| async move { netlink.route().add(route).execute().await })
        .with_context(|| format!("{}: route to {network} by {ifname}", namespace.label()))
}

/// Routes `network/prefix_length` by way of `gateway`.
pub fn add_route(
    namespace: &Namespace,
    network: IpAddr,
    prefix_length: u8,
    gateway: IpAddr,
) -> Result<()> {
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(network, prefix_length)?
        .gateway(gateway)?
        .build();
    converse(namespace, |netlink| async move { netlink.route().add(route).execute().await })
        .with_context(|| format!("{}: route to {network} by {gateway}", namespace.label()))
}

/// Writes a permanent neighbour entry, so that neither ARP nor ND is needed for `address`.
pub fn add_neighbour(
    namespace: &Namespace,
    ifname: &str,
    address: IpAddr,
    mac: MacAddress,
) -> Result<()> {
    write_neighbour(namespace, ifname, (address, mac), NeighbourState::Permanent)
}

/// Has the kernel ask whether the neighbour is still there.
pub fn doubt_neighbour(
    namespace: &Namespace,
    ifname: &str,
    address: IpAddr,
    mac: MacAddress,
) -> Result<()> {
    write_neighbour(namespace, ifname, (address, mac), NeighbourState::Probe)
}

fn write_neighbour(
    namespace: &Namespace,
    ifname: &str,
    (address, mac): (IpAddr, MacAddress),
    state: NeighbourState,
) -> Result<()> {
    let index = ifindex(namespace, ifname)?;
    converse(namespace, |netlink| async move {
        let entry = netlink.neighbours().add(index, address);
        entry.link_layer_address(&mac).state(state).replace().execute().await
    })
    .with_context(|| format!("{}: neighbour {address} on {ifname}", namespace.label()))
}
