//! The network of the soak: three links in, three out, each of which can be taken away and made
//! anew.

use std::net::IpAddr;

use anyhow::{Context, Result};
use nix::errno::Errno;

use super::flows::{LINKS, Link};
use crate::address::{add_address, add_neighbour, delete_address, doubt_neighbour};
use crate::namespace::Namespace;
use crate::topology::{self, RelayTopology};
use crate::{limits, link};

/// Addresses with the lengths of their prefixes.
type Addresses = [(IpAddr, u8); 2];

/// A pair of interfaces in the relay that no rule is on.
pub(super) const BYSTANDERS: [&str; 2] = ["idle0", "idle1"];

/// A pair of interfaces in the relay on which rules come and go, and nothing is sent.
pub(super) const SILENT: [&str; 2] = ["quiet0", "quiet1"];

/// The namespaces and what stands in them.
#[derive(Debug)]
pub(super) struct Bed {
    /// The namespaces.
    pub(super) net: RelayTopology,
}

/// One end of a link.
struct End<'a> {
    namespace: &'a Namespace,
    ifname: String,
    addresses: Addresses,
}

impl Bed {
    /// Makes it all.
    pub(super) fn build() -> Result<Self> {
        let net = RelayTopology::builder().ingress_links(LINKS).egress_links(LINKS).build()?;
        // Else the kernel deletes an interface's other addresses with the first of their network.
        net.relay.sysctl("net/ipv4/conf/all/promote_secondaries", "1")?;
        for [near, far] in [BYSTANDERS, SILENT] {
            link::veth_pair((&net.relay, near), (&net.relay, far))?;
        }
        for ifname in SILENT {
            link::set_up(&net.relay, ifname)?;
        }
        let bed = Self { net };
        for link in Link::all() {
            bed.restore(link)?;
        }
        Ok(bed)
    }

    /// Makes a link what it was at first, whatever became of it.
    pub(super) fn restore(&self, link: Link) -> Result<()> {
        let ends = self.ends(link);
        let [near, far] = &ends;
        if !link::exists(near.namespace, &near.ifname) {
            let pair = ((near.namespace, near.ifname.as_str()), (far.namespace, &*far.ifname));
            link::veth_pair(pair.0, pair.1)?;
        }
        for End { namespace, ifname, addresses } in &ends {
            link::set_mtu(namespace, ifname, limits::soak::MTU)?;
            link::set_up(namespace, ifname)?;
            for &(address, prefix_length) in addresses {
                ensure_address(namespace, ifname, address, prefix_length)?;
            }
        }
        for End { namespace, ifname, .. } in &ends {
            link::wait_until_up(namespace, ifname)?;
        }
        if let Link::Egress(_) = link {
            // While the kernel asks for a host's address it holds back few packets.
            let mac = link::mac_address(far.namespace, &far.ifname)?;
            for (host, _) in far.addresses {
                add_neighbour(near.namespace, &near.ifname, host, mac)?;
            }
        }
        Ok(())
    }

    /// Takes an interface of the relay away, and its other end with it.
    pub(super) fn delete(&self, link: Link) -> Result<()> {
        link::delete_link(&self.net.relay, &link.to_string())
    }

    /// Sets the relay's interface down, or its other end.
    pub(super) fn set_down(&self, link: Link, far: bool) -> Result<()> {
        let [near_end, far_end] = self.ends(link);
        let End { namespace, ifname, .. } = if far { far_end } else { near_end };
        link::set_down(namespace, &ifname)
    }

    /// A host at a link's far end does not answer for its address any more, and the relay's kernel
    /// finds that out.
    pub(super) fn silence(&self, link: Link, host: IpAddr) -> Result<()> {
        let [near, far] = self.ends(link);
        let mac = link::mac_address(far.namespace, &far.ifname)?;
        delete_address(far.namespace, &far.ifname, host)?;
        doubt_neighbour(near.namespace, &near.ifname, host, mac)
    }

    /// It answers again. The relay's kernel has to ask it.
    pub(super) fn answer(&self, link: Link, host: IpAddr) -> Result<()> {
        let [_, End { namespace, ifname, addresses }] = self.ends(link);
        let own = addresses.into_iter().find(|(address, _)| *address == host);
        let (address, prefix_length) = own.context("the address is the far end's")?;
        ensure_address(namespace, &ifname, address, prefix_length)
    }

    /// Gives the relay's interface another name, or its own back; it is down afterwards.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        link::set_down(&self.net.relay, from)?;
        link::rename(&self.net.relay, from, to)
    }

    /// Gives the relay's interface the other addresses in place of its own, or its own in place
    /// of the others. Returns those that it has now.
    pub(super) fn swap_addresses(&self, link: Link, to_others: bool) -> Result<[IpAddr; 2]> {
        let [End { namespace, ifname, addresses: own }, _] = self.ends(link);
        let others = own.map(|(address, length)| (other(address), length));
        let (new, old) = if to_others { (others, own) } else { (own, others) };
        for (address, prefix_length) in new {
            ensure_address(namespace, &ifname, address, prefix_length)?;
        }
        for (address, _) in old {
            delete_address(namespace, &ifname, address)?;
        }
        Ok(new.map(|(address, _)| address))
    }

    fn ends(&self, link: Link) -> [End<'_>; 2] {
        let RelayTopology { source, relay, sinks } = &self.net;
        let end = |namespace, ifname: String, v4: (std::net::Ipv4Addr, u8), v6| End {
            namespace,
            ifname,
            addresses: [(IpAddr::V4(v4.0), v4.1), (IpAddr::V6(v6), 64)],
        };
        match link {
            Link::Ingress(n) => [
                end(
                    relay,
                    format!("in{n}"),
                    (topology::ingress_v4(n), 24),
                    topology::ingress_v6(n),
                ),
                end(
                    source,
                    format!("src{n}"),
                    (topology::source_v4(n), 28),
                    topology::source_v6(n),
                ),
            ],
            Link::Egress(n) => [
                end(relay, format!("out{n}"), (topology::egress_v4(n), 24), topology::egress_v6(n)),
                end(
                    &sinks[usize::from(n)],
                    format!("sink{n}"),
                    (topology::sink_v4(n), 24),
                    topology::sink_v6(n),
                ),
            ],
        }
    }
}

/// Another address of the same network, which nobody has.
fn other(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => (v4 | std::net::Ipv4Addr::new(0, 0, 0, 8)).into(),
        IpAddr::V6(v6) => (v6 | std::net::Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 8)).into(),
    }
}

/// Adds an address that may be there: setting an interface down takes its IPv6 addresses alone.
fn ensure_address(
    namespace: &Namespace,
    ifname: &str,
    address: IpAddr,
    prefix_length: u8,
) -> Result<()> {
    let added = add_address(namespace, ifname, address, prefix_length);
    added.or_else(|error| match error.downcast_ref() {
        Some(rtnetlink::Error::NetlinkError(refused))
            if refused.raw_code() == -(Errno::EEXIST as i32) =>
        {
            Ok(())
        }
        _ => Err(error).context("restoring a link"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_address_is_of_the_same_network_and_nobodys() {
        for link in 0..LINKS {
            let v4 = other(topology::egress_v4(link).into());
            assert_eq!(v4, IpAddr::from([10, 2, link, 9]));
            let v6 = other(topology::egress_v6(link).into());
            assert_eq!(v6, format!("fd00:2:{link}::9").parse::<IpAddr>().unwrap());
        }
    }
}
