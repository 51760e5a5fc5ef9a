//! Interfaces: made, changed and removed through rtnetlink(7), inside a namespace.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, anyhow};
use futures_util::TryStreamExt;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage, MacVlanMode, State,
};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use rtnetlink::{LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVlan};

use crate::harness::Skip;
use crate::namespace::Namespace;
use crate::netlink::converse;
use crate::{limits, wait};

/// A hardware address.
pub type MacAddress = [u8; 6];

/// Makes a veth pair with its ends in two namespaces (or in one); both ends are down.
pub fn veth_pair(near: (&Namespace, &str), far: (&Namespace, &str)) -> Result<()> {
    // 0 lets the kernel choose the index.
    veth_pair_with_index(0, near, far)
}

/// Like [`veth_pair`], with the near end's interface index chosen, such as that of an interface
/// which is gone: the kernel itself does not use an index again.
pub fn veth_pair_with_index(
    index: u32,
    near: (&Namespace, &str),
    far: (&Namespace, &str),
) -> Result<()> {
    let far_end =
        LinkUnspec::new_with_name(far.1).setns_by_fd(far.0.descriptor().as_raw_fd()).build();
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .index(index)
        .name(near.1)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)))
        .build();
    add(near.0, near.1, pair)
}

/// Makes a macvlan interface in bridge mode on top of `parent`, in the parent's namespace.
pub fn add_macvlan(namespace: &Namespace, ifname: &str, parent: &str) -> Result<()> {
    let parent = ifindex(namespace, parent)?;
    add(namespace, ifname, LinkMacVlan::new(ifname, parent, MacVlanMode::Bridge).build())
}

/// Makes the interface of a VLAN on top of `parent`, in the parent's namespace.
///
/// # Errors
/// A [`Skip`] where the kernel has no 802.1Q.
pub fn add_vlan(namespace: &Namespace, ifname: &str, parent: &str, id: u16) -> Result<()> {
    let parent = ifindex(namespace, parent)?;
    let made = add(namespace, ifname, LinkVlan::new(ifname, parent, id).build());
    made.map_err(|error| match error.downcast_ref() {
        Some(rtnetlink::Error::NetlinkError(refused))
            if refused.raw_code() == -(Errno::EOPNOTSUPP as i32) =>
        {
            Skip::KernelLacks("802.1Q".into()).into()
        }
        _ => error,
    })
}

/// Makes a bridge without ports.
pub fn add_bridge(namespace: &Namespace, ifname: &str) -> Result<()> {
    add(namespace, ifname, LinkBridge::new(ifname).build())
}

/// Makes `ifname` a port of `bridge`.
pub fn enslave(namespace: &Namespace, ifname: &str, bridge: &str) -> Result<()> {
    let bridge = ifindex(namespace, bridge)?;
    change(namespace, ifname, |link| link.controller(bridge))
}

/// Makes `ifname` a port of nothing again.
pub fn release(namespace: &Namespace, ifname: &str) -> Result<()> {
    change(namespace, ifname, |link| link.controller(0))
}

/// Moves an interface to another namespace, where it arrives down and without addresses. Its index
/// stays, if that is free there.
pub fn move_to(namespace: &Namespace, ifname: &str, to: &Namespace) -> Result<()> {
    change(namespace, ifname, |link| link.setns_by_fd(to.descriptor().as_raw_fd()))
}

/// Sets the interface administratively up.
pub fn set_up(namespace: &Namespace, ifname: &str) -> Result<()> {
    change(namespace, ifname, LinkMessageBuilder::up)
}

/// Waits until the interface is operationally up.
///
/// The first end of a veth pair set up gets its carrier with the second, but the kernel attaches
/// its queue later, in a work queue; until then it silently drops what is sent.
pub fn wait_until_up(namespace: &Namespace, ifname: &str) -> Result<()> {
    let index = ifindex(namespace, ifname)?;
    let what = format!("{}: {ifname} is operationally up", namespace.label());
    wait::until(&what, limits::LINK_UP, || {
        let state = converse(namespace, |netlink| async move {
            netlink.link().get().match_index(index).execute().try_next().await
        })?;
        let up = LinkAttribute::OperState(State::Up);
        Ok(state.is_some_and(|link| link.attributes.contains(&up)))
    })
}

/// Sets the interface administratively down.
pub fn set_down(namespace: &Namespace, ifname: &str) -> Result<()> {
    change(namespace, ifname, LinkMessageBuilder::down)
}

/// Sets the interface down and up again, so many times, as fast as the kernel goes along.
pub fn flap(namespace: &Namespace, ifname: &str, times: u32) -> Result<()> {
    let index = ifindex(namespace, ifname)?;
    converse(namespace, |netlink| async move {
        for _ in 0..times {
            let link = || LinkUnspec::new_with_index(index);
            netlink.link().set(link().down().build()).execute().await?;
            netlink.link().set(link().up().build()).execute().await?;
        }
        Ok(())
    })
    .with_context(|| format!("{}: flapping {ifname}", namespace.label()))
}

/// Sets the interface's MTU in bytes.
pub fn set_mtu(namespace: &Namespace, ifname: &str, mtu: u32) -> Result<()> {
    change(namespace, ifname, |link| link.mtu(mtu))
}

/// Limits the segments of a super-frame that the interface accepts from the kernel.
///
/// With 1 every datagram leaves a veth as a frame of its own, as from a real NIC: the kernel
/// splits a sender's `UDP_SEGMENT` run before the interface.
pub fn set_gso_max_segments(namespace: &Namespace, ifname: &str, segments: u32) -> Result<()> {
    let limit = LinkAttribute::GsoMaxSegs(segments);
    change(namespace, ifname, |link| link.append_extra_attribute(limit))
}

/// The offload of checksums of sent frames: without it the kernel fills them in itself, and splits
/// what is longer than a frame, since a device without the one lacks the other.
pub const TX_CHECKSUMS: &str = "tx-checksum-ip-generic";

/// Switches a feature of the interface, by the name that `ethtool -k` has in the kernel.
pub fn set_feature(namespace: &Namespace, ifname: &str, feature: &str, on: bool) -> Result<()> {
    Ok(namespace.enter(|| mcr_sys::offload::set_feature(ifname, feature, on))?)
}

/// Renames an interface; the kernel wants it down first.
pub fn rename(namespace: &Namespace, ifname: &str, new_name: &str) -> Result<()> {
    change(namespace, ifname, |link| link.name(new_name))
}

/// Gives an interface an alternative name.
pub fn add_alternative_name(namespace: &Namespace, ifname: &str, name: &str) -> Result<()> {
    let index = ifindex(namespace, ifname)?;
    converse(namespace, |netlink| async move {
        netlink.link().property_add(index).alt_ifname(&[name]).execute().await
    })
    .with_context(|| format!("{}: naming {ifname} {name}", namespace.label()))
}

/// Deletes an interface; deleting one end of a veth pair deletes both.
pub fn delete_link(namespace: &Namespace, ifname: &str) -> Result<()> {
    let index = ifindex(namespace, ifname)?;
    converse(namespace, |netlink| async move { netlink.link().del(index).execute().await })
        .with_context(|| format!("{}: deleting {ifname}", namespace.label()))
}

/// The interface's index in its namespace.
pub fn ifindex(namespace: &Namespace, ifname: &str) -> Result<u32> {
    namespace
        .enter(|| if_nametoindex(ifname))
        .with_context(|| format!("{}: interface {ifname}", namespace.label()))
}

/// Whether the namespace has an interface of that name.
pub fn exists(namespace: &Namespace, ifname: &str) -> bool {
    ifindex(namespace, ifname).is_ok()
}

/// The interface's hardware address.
pub fn mac_address(namespace: &Namespace, ifname: &str) -> Result<MacAddress> {
    namespace.enter(|| {
        getifaddrs()?
            .filter(|entry| entry.interface_name == ifname)
            .find_map(|entry| entry.address?.as_link_addr()?.addr())
            .ok_or_else(|| anyhow!("{}: {ifname} has no hardware address", namespace.label()))
    })
}

fn add(namespace: &Namespace, ifname: &str, link: LinkMessage) -> Result<()> {
    converse(namespace, |netlink| async move { netlink.link().add(link).execute().await })
        .with_context(|| format!("{}: making {ifname}", namespace.label()))
}

fn change(
    namespace: &Namespace,
    ifname: &str,
    edit: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
) -> Result<()> {
    let message = edit(LinkUnspec::new_with_index(ifindex(namespace, ifname)?)).build();
    converse(namespace, |netlink| async move { netlink.link().set(message).execute().await })
        .with_context(|| format!("{}: changing {ifname}", namespace.label()))
}
