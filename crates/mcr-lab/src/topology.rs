//! The network most tests want: a source the relay has no route to, the relay, and sinks.
//!
//! ```text
//!  source            relay                       sink 0, sink 1, ...
//!  src0 ------------ in0   (rp_filter = 1)
//!  src1 ------------ in1             out0 ------ sink0
//!  ...                               out1 ------ sink1
//! ```
//! | interface | IPv4 | IPv6 |
//! |---|---|---|
//! | `srcN` | `198.51.100.(16 N + 10)/28` | `2001:db8:51:N::10/64` |
//! | `inN` | `10.1.N.1/24` | `fd00:1:N::1/64` |
//! | `outN` | `10.2.N.1/24` | `fd00:2:N::1/64` |
//! | `sinkN` | `10.2.N.2/24` | `fd00:2:N::2/64` |

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};

use crate::address::{add_address, add_link_route, add_neighbour};
use crate::link::{mac_address, set_mtu, set_up, veth_pair, wait_until_up};
use crate::namespace::Namespace;

/// Links of a kind: so many /28 networks has 198.51.100.0/24.
const MAX_LINKS: u8 = 16;

/// The namespaces of the picture above, with everything up and addressed.
#[derive(Debug)]
pub struct RelayTopology {
    /// Where the traffic comes from; interfaces `src0`, `src1`, ...
    pub source: Namespace,
    /// Where the relay runs; interfaces `in0`, ..., `out0`, ...
    pub relay: Namespace,
    /// Where the traffic goes, one per egress link; in sink N the interface `sinkN`.
    pub sinks: Vec<Namespace>,
}

/// What the topology should look like; default: one link in, two out, MTU 1500, IPv6 too.
#[derive(Debug, Clone)]
pub struct RelayTopologyBuilder {
    ingress_links: u8,
    egress_links: u8,
    ingress_mtu: u32,
    egress_mtu: u32,
    ipv6: bool,
}

impl RelayTopologyBuilder {
    /// Number of links from the source to the relay, 1 to 16.
    #[must_use]
    pub fn ingress_links(mut self, links: u8) -> Self {
        self.ingress_links = links;
        self
    }

    /// Number of links from the relay to sinks, 1 to 16.
    #[must_use]
    pub fn egress_links(mut self, links: u8) -> Self {
        self.egress_links = links;
        self
    }

    /// MTU of the links from the source, both ends, in bytes.
    #[must_use]
    pub fn ingress_mtu(mut self, bytes: u32) -> Self {
        self.ingress_mtu = bytes;
        self
    }

    /// MTU of the links to the sinks, both ends, in bytes (IPv6 needs 1280).
    #[must_use]
    pub fn egress_mtu(mut self, bytes: u32) -> Self {
        self.egress_mtu = bytes;
        self
    }

    /// Whether the interfaces have IPv6 addresses.
    #[must_use]
    pub fn ipv6(mut self, wanted: bool) -> Self {
        self.ipv6 = wanted;
        self
    }

    /// Makes it all.
    pub fn build(&self) -> Result<RelayTopology> {
        let links = 1..=MAX_LINKS;
        ensure!(links.contains(&self.ingress_links), "1 to {MAX_LINKS} ingress links");
        ensure!(links.contains(&self.egress_links), "1 to {MAX_LINKS} egress links");
        let source = Namespace::new("source")?;
        let relay = Namespace::new("relay")?;
        // The filter in force is the larger of "all" and the interface's own value.
        relay.sysctl("net/ipv4/conf/all/rp_filter", "1")?;
        relay.sysctl("net/ipv4/conf/default/rp_filter", "1")?;
        for link in 0..self.ingress_links {
            self.join_source(&source, &relay, link)?;
        }
        let sinks = (0..self.egress_links)
            .map(|link| self.join_sink(&relay, link))
            .collect::<Result<_>>()?;
        Ok(RelayTopology { source, relay, sinks })
    }

    fn join_source(&self, source: &Namespace, relay: &Namespace, link: u8) -> Result<()> {
        let near = End::new(source, format!("src{link}"), (source_v4(link), 28), source_v6(link));
        let far = End::new(relay, format!("in{link}"), (ingress_v4(link), 24), ingress_v6(link));
        self.join(&near, &far, self.ingress_mtu)?;
        // The relay answers neither ARP nor ND from an address it has no route to, so the
        // source must know the way to the relay's unicast addresses by itself.
        let relay_mac = mac_address(relay, &far.ifname)?;
        add_link_route(source, &near.ifname, far.v4.0.into(), 32)?;
        add_neighbour(source, &near.ifname, far.v4.0.into(), relay_mac)?;
        if self.ipv6 {
            add_link_route(source, &near.ifname, far.v6.into(), 128)?;
            add_neighbour(source, &near.ifname, far.v6.into(), relay_mac)?;
        }
        Ok(())
    }

    fn join_sink(&self, relay: &Namespace, link: u8) -> Result<Namespace> {
        let sink = Namespace::new(&format!("sink {link}"))?;
        let near = End::new(relay, format!("out{link}"), (egress_v4(link), 24), egress_v6(link));
        let far = End::new(&sink, format!("sink{link}"), (sink_v4(link), 24), sink_v6(link));
        self.join(&near, &far, self.egress_mtu)?;
        Ok(sink)
    }

    fn join(&self, near: &End<'_>, far: &End<'_>, mtu: u32) -> Result<()> {
        veth_pair((near.namespace, &near.ifname), (far.namespace, &far.ifname))?;
        for end in [near, far] {
            set_mtu(end.namespace, &end.ifname, mtu)?;
            set_up(end.namespace, &end.ifname)?;
            let (v4, prefix_length) = end.v4;
            add_address(end.namespace, &end.ifname, v4.into(), prefix_length)?;
            if self.ipv6 {
                add_address(end.namespace, &end.ifname, end.v6.into(), 64)?;
            }
        }
        wait_until_up(near.namespace, &near.ifname)?;
        wait_until_up(far.namespace, &far.ifname)
    }
}

/// One end of a link.
struct End<'a> {
    namespace: &'a Namespace,
    ifname: String,
    v4: (Ipv4Addr, u8),
    v6: Ipv6Addr,
}

impl<'a> End<'a> {
    fn new(namespace: &'a Namespace, ifname: String, v4: (Ipv4Addr, u8), v6: Ipv6Addr) -> Self {
        Self { namespace, ifname, v4, v6 }
    }
}

impl RelayTopology {
    /// Begins a description.
    pub fn builder() -> RelayTopologyBuilder {
        RelayTopologyBuilder {
            ingress_links: 1,
            egress_links: 2,
            ingress_mtu: 1500,
            egress_mtu: 1500,
            ipv6: true,
        }
    }
}

/// Address of `srcN`; the relay has no route to it.
pub fn source_v4(link: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 16 * link + 10)
}

/// Address of `srcN`; the relay has no route to it.
pub fn source_v6(link: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x51, link.into(), 0, 0, 0, 0x10)
}

/// Address of the relay's `inN`.
pub fn ingress_v4(link: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, link, 1)
}

/// Address of the relay's `inN`.
pub fn ingress_v6(link: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, link.into(), 0, 0, 0, 0, 1)
}

/// Address of the relay's `outN`.
pub fn egress_v4(link: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, link, 1)
}

/// Address of the relay's `outN`.
pub fn egress_v6(link: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 2, link.into(), 0, 0, 0, 0, 1)
}

/// Address of sink N's `sinkN`.
pub fn sink_v4(link: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, link, 2)
}

/// Address of sink N's `sinkN`.
pub fn sink_v6(link: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 2, link.into(), 0, 0, 0, 0, 2)
}
