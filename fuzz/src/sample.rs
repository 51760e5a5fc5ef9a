//! Small things made of arbitrary bytes: few addresses, interfaces and ports, so that what is made
//! often meets.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use arbitrary::{Result, Unstructured};
use mcr_core::endpoint::{Endpoint, InterfaceName};
use mcr_core::ids::{EgressId, IfIndex, OutputSlot, RuleId, RuleSlot};
use mcr_core::route::{Route, RouteKey, RouteOutput, Via};
use mcr_core::rule::{InputKey, Output, OutputOptions, Rule};
use mcr_core::verdict::EgressError;

/// Names of interfaces that there may be.
pub(crate) const INTERFACES: [&str; 4] = ["eth0", "eth1", "wg0", "eth,9"];

/// Groups and hosts, of both families.
const ADDRESSES: [IpAddr; 6] = [
    v4([239, 1, 1, 1]),
    v4([239, 1, 1, 2]),
    v4([10, 0, 0, 7]),
    v6([0xff3e, 0, 0, 0, 0, 0, 0, 0x1234]),
    v6([0xff02, 0, 0, 0, 0, 0, 0, 0x1234]),
    v6([0xfd00, 0, 0, 0, 0, 0, 0, 7]),
];

const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

pub(crate) fn interface(u: &mut Unstructured<'_>) -> Result<InterfaceName> {
    Ok(u.choose(&INTERFACES)?.parse().expect("they are names"))
}

pub(crate) fn address(u: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok(*u.choose(&ADDRESSES)?)
}

fn endpoint(u: &mut Unstructured<'_>) -> Result<Endpoint> {
    let port = 5_000 + u.int_in_range(0..=1)?;
    Ok(Endpoint { address: address(u)?, port, interface: interface(u)? })
}

/// A rule; many are wrong by themselves, as a rule from outside may be.
pub(crate) fn rule(u: &mut Unstructured<'_>) -> Result<Rule> {
    let name = if u.ratio(1, 4)? { Some(*u.choose(&["a", "b", "c"])?) } else { None };
    let endpoint = endpoint(u)?;
    let source = if u.ratio(1, 4)? { Some(address(u)?) } else { None };
    let outputs = (0..u.int_in_range(0..=3)?).map(|_| output(u)).collect::<Result<_>>()?;
    Ok(Rule {
        name: name.map(|name| name.parse().expect("they are names")),
        input: InputKey { endpoint, source },
        outputs,
        exclusive: u.ratio(1, 4)?,
    })
}

fn output(u: &mut Unstructured<'_>) -> Result<Output> {
    let endpoint = endpoint(u)?;
    let mut options = OutputOptions::default();
    if u.ratio(1, 4)? {
        options = OutputOptions {
            source: if u.arbitrary()? { Some(address(u)?) } else { None },
            source_port: if u.arbitrary()? { Some(u.int_in_range(0..=2)?) } else { None },
            ttl: u.int_in_range(0..=2)?,
            dscp: u.int_in_range(62..=64)?,
            multicast_loop: u.arbitrary()?,
        };
    }
    Ok(Output { endpoint, options })
}

/// A route to some outputs, by any of these ways.
pub(crate) fn route_of(slot: u32, to: SocketAddr, source: Option<IpAddr>, on: IfIndex) -> Route {
    let by = [
        Via::Egress(EgressId(1)),
        Via::Nothing(EgressError::NoAddress),
        Via::Egress(EgressId(404)),
        Via::Egress(EgressId(2)),
    ];
    let destination = SocketAddr::new(ADDRESSES[1], 6_000);
    let outputs = (4 * slot..).zip(by).map(|(slot, via)| {
        let slot = OutputSlot(slot);
        RouteOutput { slot, destination, via }
    });
    Route {
        id: RuleId(u64::from(slot) + 1),
        slot: RuleSlot(slot),
        key: RouteKey { ifindex: on, address: to.ip(), port: to.port() },
        source,
        outputs: outputs.collect(),
    }
}

/// Routes that the corpus's frames meet: any source, one source, and IPv6.
pub(crate) fn routes(on: IfIndex) -> Vec<Route> {
    let [group, other, host, group_v6, _, host_v6] = ADDRESSES;
    vec![
        route_of(0, SocketAddr::new(group, 5_000), None, on),
        route_of(1, SocketAddr::new(group, 5_000), Some(host), on),
        route_of(2, SocketAddr::new(other, 5_000), Some(host), on),
        route_of(3, SocketAddr::new(host, 5_000), None, on),
        route_of(4, SocketAddr::new(group_v6, 5_000), None, on),
        route_of(5, SocketAddr::new(host_v6, 5_000), Some(host_v6), on),
    ]
}

/// A sender that is one of our own sockets.
pub(crate) fn own() -> SocketAddr {
    SocketAddr::new(v4([10, 0, 0, 9]), 40_000)
}
