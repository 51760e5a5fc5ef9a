//! Who takes part: the namespaces, the group that is relayed, and where it goes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::Result;
use mcr_api::rule::{OutputSpec, RuleSpec};

use crate::address::add_address;
use crate::generator::Generator;
use crate::sink::Sink;
use crate::topology::{self, RelayTopology};

/// The stage as the newcomer sees it.
pub(super) const PICTURE: &str = "
  source               relay                                   receivers
  198.51.100.10 ────── in0 10.1.0.1       10.2.0.1 out0 ────── 239.2.2.2:6000
                       strict             10.2.1.1 out1 ──┬─── 239.3.3.3:6000
                       rp_filter                          └─── 10.2.1.2:7000

  The relay has no route back to 198.51.100.10, which sends to 239.1.1.1:5000.
";

/// What the source sends to.
pub(super) const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 1, 1, 1), 5000);

/// The name of the rule.
pub(super) const RULE: &str = "demo";

/// A second address of the source, within the network of the relay's `in0`: a route exists.
pub(super) const ROUTABLE_SOURCE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

/// Bits of the network of `in0`.
const INGRESS_PREFIX_LENGTH: u8 = 24;

/// Where the relay sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Output {
    /// The egress link.
    pub(super) link: u8,
    /// The group or host.
    pub(super) destination: SocketAddrV4,
}

/// Two groups and a host on two interfaces.
pub(super) const OUTPUTS: [Output; 3] = [
    Output { link: 0, destination: SocketAddrV4::new(Ipv4Addr::new(239, 2, 2, 2), 6000) },
    Output { link: 1, destination: SocketAddrV4::new(Ipv4Addr::new(239, 3, 3, 3), 6000) },
    Output { link: 1, destination: SocketAddrV4::new(Ipv4Addr::new(10, 2, 1, 2), 7000) },
];

impl Output {
    /// The relay's interface.
    pub(super) fn ifname(self) -> String {
        format!("out{}", self.link)
    }

    /// `239.2.2.2:6000@out0`
    pub(super) fn endpoint(self) -> String {
        format!("{}@{}", self.destination, self.ifname())
    }

    /// What receivers should see as the source.
    pub(super) fn relay_address(self) -> IpAddr {
        topology::egress_v4(self.link).into()
    }
}

/// The namespaces.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) net: RelayTopology,
    /// Whether it stands in a user namespace of the demo's own.
    pub(super) own_user_namespace: bool,
}

impl Stage {
    pub(super) fn build(own_user_namespace: bool) -> Result<Self> {
        let net = RelayTopology::builder().egress_links(2).ipv6(false).build()?;
        add_address(&net.source, "src0", ROUTABLE_SOURCE.into(), INGRESS_PREFIX_LENGTH)?;
        for (link, sink) in net.sinks.iter().enumerate() {
            // A new namespace takes this from the host. Receivers that refuse unroutable sources
            // would make the kernel's forwarding look worse than it is.
            sink.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
            sink.sysctl(&format!("net/ipv4/conf/sink{link}/rp_filter"), "0")?;
        }
        Ok(Self { net, own_user_namespace })
    }

    /// Traffic to the group, from the address that the relay has no route to.
    pub(super) fn unroutable_traffic(&self, stream: u32) -> Generator {
        self.traffic(stream, topology::source_v4(0))
    }

    /// Traffic to the group, from the address that the relay can route back to.
    pub(super) fn routable_traffic(&self, stream: u32) -> Generator {
        self.traffic(stream, ROUTABLE_SOURCE)
    }

    fn traffic(&self, stream: u32, source: Ipv4Addr) -> Generator {
        Generator::new(&self.net.source, "src0")
            .flow(stream, GROUP.into())
            .one_core()
            .source((source, 0).into())
    }

    /// A receiver of the group as it was sent, at the far end of an egress link.
    pub(super) fn sink_of_group(&self, link: u8) -> Result<Sink> {
        Sink::multicast(&self.net.sinks[usize::from(link)], &format!("sink{link}"), GROUP.into())
    }

    /// A receiver of one output.
    pub(super) fn sink_of(&self, output: Output) -> Result<Sink> {
        let namespace = &self.net.sinks[usize::from(output.link)];
        let destination = SocketAddr::from(output.destination);
        if output.destination.ip().is_multicast() {
            Sink::multicast(namespace, &format!("sink{}", output.link), destination)
        } else {
            Sink::unicast(namespace, destination)
        }
    }
}

/// The rule that the demo adds.
pub(super) fn rule() -> RuleSpec {
    RuleSpec {
        name: Some(RULE.into()),
        input: input(),
        source: None,
        outputs: OUTPUTS.map(|output| OutputSpec::Text(output.endpoint())).to_vec(),
        exclusive: false,
    }
}

/// The rule's input: `239.1.1.1:5000@in0`.
pub(super) fn input() -> String {
    format!("{GROUP}@in0")
}
