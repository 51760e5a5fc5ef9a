//! The needs of one rule towards the kernel, and what the workers make of it once that is there.

use std::net::{IpAddr, SocketAddr};

use super::resource::{EgressKey, Exclusion, Fate, IngressKey, Membership, Resource, RingClass};
use crate::endpoint::{Endpoint, InterfaceName};
use crate::ids::{EgressId, OutputSlot};
use crate::interfaces::{Interface, Interfaces, LinkLayer};
use crate::route::{Route, RouteKey, RouteOutput, Via};
use crate::rule::{InputKey, Output, Rule};
use crate::rule_set::DeclaredRule;
use crate::verdict::EgressError;

/// The needs of a rule on the interfaces as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Resources that the kernel must be asked for, sorted, each once.
    pub resources: Vec<Resource>,
    /// Lacks of the network that keep the rule from working whole, sorted, each once.
    pub pending: Vec<Pending>,
    /// Whether the input's interface can deliver: it is there, up, and has a carrier.
    pub hears: bool,
    /// Whether the rule as a whole waits for its input interface: it then needs nothing and has no
    /// route. An output that waits holds up no other.
    pub is_pending: bool,
}

/// A lack that a rule waits for; a state, not an error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Pending {
    /// The interface of the input or of an output is not there.
    #[error("interface {0} does not exist")]
    InterfaceMissing(InterfaceName),
    /// The input interface's frames begin with something that MCR cannot read.
    #[error(
        "interface {0} is of a kind that MCR cannot receive from (neither Ethernet nor plain IP)"
    )]
    UnreadableLink(InterfaceName),
    /// The interface of the input or of an output is administratively down.
    #[error("interface {0} is down")]
    InterfaceDown(InterfaceName),
    /// The interface of the input or of an output has no carrier.
    #[error("interface {0} has no carrier: check its cable or its peer")]
    NoCarrier(InterfaceName),
    /// The input's address is none of this host's, so that other hosts send nothing here, unless a
    /// route or a neighbour entry of theirs says so.
    #[error("{0} is not an address of this host: add it, or let the sender's network lead it here")]
    NotLocal(IpAddr),
    /// The output's interface has no address that its datagrams could come from.
    #[error(
        "interface {interface} has no {} address to send to {output} from",
        if output.is_ipv4() { "IPv4" } else { "IPv6" }
    )]
    NoAddress {
        /// The egress interface.
        interface: InterfaceName,
        /// The output's destination.
        output: SocketAddr,
    },
    /// The output is a host's, and its interface a port: the answers to the kernel's question for
    /// the host's hardware address come to the controller.
    #[error(
        "interface {port} is a port of {controller}, which the answers of {output} go to: send \
         from {controller}"
    )]
    Unanswered {
        /// The egress interface.
        port: InterfaceName,
        /// The bridge, bond or team.
        controller: InterfaceName,
        /// The output's destination.
        output: SocketAddr,
    },
}

impl Pending {
    /// Whether nothing can pass by the interface until this ends.
    pub fn blocks(&self) -> bool {
        match self {
            Self::InterfaceMissing(_)
            | Self::UnreadableLink(_)
            | Self::InterfaceDown(_)
            | Self::NoCarrier(_)
            | Self::NoAddress { .. } => true,
            Self::Unanswered { .. } | Self::NotLocal(_) => false,
        }
    }
}

/// The needs of a rule on the interfaces as they are.
pub fn demand(rule: &Rule, interfaces: &Interfaces) -> Demand {
    let mut demand = Demand::default();
    match ingress_of(&rule.input, interfaces) {
        Ok((interface, link)) => {
            demand.take_input(rule, interface, link, interfaces);
            demand.take_outputs(rule, interfaces);
        }
        Err(pending) => {
            demand.take_outputs(rule, interfaces);
            // A rule that cannot receive holds nothing; the operator still sees all that it lacks.
            demand.resources.clear();
            demand.pending.push(pending);
            demand.is_pending = true;
        }
    }
    demand.resources.sort_unstable();
    demand.resources.dedup();
    demand.pending.sort_unstable();
    demand.pending.dedup();
    demand
}

impl Demand {
    fn take_input(
        &mut self,
        rule: &Rule,
        interface: &Interface,
        link: LinkLayer,
        interfaces: &Interfaces,
    ) {
        let input = &rule.input;
        let Endpoint { address, port, .. } = input.endpoint;
        if address.is_multicast() {
            // On a port the kernel does report the group, but only its controller hears, and
            // answers, the queries that keep it alive in the network.
            let joining = [Some(interface.index), interface.controller];
            self.resources.extend(joining.into_iter().flatten().map(|ifindex| {
                Resource::Membership(Membership { ifindex, group: address, source: input.source })
            }));
        }
        if !address.is_multicast() && !interfaces.is_local(address) {
            self.pending.push(Pending::NotLocal(address));
        }
        // A unicast input holds no port. A socket on it would take the datagrams from a program on
        // the wildcard address, or keep a program from starting.
        if !interface.up {
            // The kernel steers only between sockets that run, and on an interface that is down
            // none does. The membership stays: the kernel reports it again when the interface is
            // up.
            self.pending.push(Pending::InterfaceDown(interface.name.clone()));
            return;
        }
        self.resources.push(Resource::Ingress(IngressKey {
            ifindex: interface.index,
            interface: interface.name.clone(),
            link,
            class: RingClass::for_mtu(interface.mtu),
        }));
        // The ring stays without a carrier: a link that flaps must not cost a socket.
        self.hears = interface.carrier;
        if !interface.carrier {
            self.pending.push(Pending::NoCarrier(interface.name.clone()));
        }
        let fate = if rule.exclusive { Fate::Ends } else { Fate::GoesOn };
        // Without an entry it goes on, too, unless one for any source says otherwise.
        if fate == Fate::Ends || input.source.is_some() {
            self.resources.push(Resource::Exclusion(Exclusion {
                ifindex: interface.index,
                interface: interface.name.clone(),
                link,
                address,
                port,
                source: input.source,
                fate,
            }));
        }
    }

    fn take_outputs(&mut self, rule: &Rule, interfaces: &Interfaces) {
        for output in &rule.outputs {
            let interface = &output.endpoint.interface;
            match egress_of(output, interfaces) {
                Ok(key) => {
                    self.resources.push(Resource::Egress(key));
                    self.pending.extend(unanswered(output, interfaces));
                }
                Err(NoEgress::Interface) => {
                    self.pending.push(Pending::InterfaceMissing(interface.clone()));
                }
                // It takes its IPv6 addresses along when it goes down.
                Err(NoEgress::Address) if is_down(interface, interfaces) => {}
                Err(NoEgress::Address) => self.pending.push(Pending::NoAddress {
                    interface: interface.clone(),
                    output: output.endpoint.socket_address(),
                }),
            }
            self.pending.extend(blocked(interface, interfaces).map(|(lack, _)| lack));
        }
    }
}

/// The rule as the workers carry it out; nothing while it [is pending](Demand::is_pending).
/// `egress` tells which sockets are held for a key that [`demand`] listed.
pub fn route(
    declared: &DeclaredRule,
    interfaces: &Interfaces,
    egress: impl Fn(&EgressKey) -> Option<EgressId>,
) -> Option<Route> {
    let input = &declared.rule.input;
    let (interface, _) = ingress_of(input, interfaces).ok()?;
    let via = |output: &Output| {
        // The kernel would refuse each copy with the words "no route", or take it for nothing.
        if let Some((_, error)) = blocked(&output.endpoint.interface, interfaces) {
            return Via::Nothing(error);
        }
        match egress_of(output, interfaces) {
            Ok(key) => egress(&key).map_or(Via::Nothing(EgressError::NoSocket), Via::Egress),
            Err(NoEgress::Interface) => Via::Nothing(EgressError::NoInterface),
            Err(NoEgress::Address) => Via::Nothing(EgressError::NoAddress),
        }
    };
    let route_output = |(output, slot): (&Output, OutputSlot)| RouteOutput {
        slot,
        destination: output.endpoint.socket_address(),
        via: via(output),
    };
    let outputs = declared.rule.outputs.iter().zip(declared.output_slots());
    Some(Route {
        id: declared.id,
        slot: declared.slot,
        key: RouteKey {
            ifindex: interface.index,
            address: input.endpoint.address,
            port: input.endpoint.port,
        },
        source: input.source,
        outputs: outputs.map(route_output).collect(),
    })
}

/// The interface on which an input can be received, and what its frames start with.
fn ingress_of<'a>(
    input: &InputKey,
    interfaces: &'a Interfaces,
) -> Result<(&'a Interface, LinkLayer), Pending> {
    let name = &input.endpoint.interface;
    let interface = interfaces.named(name);
    let interface = interface.ok_or_else(|| Pending::InterfaceMissing(name.clone()))?;
    let link = interface.link;
    let link = link.ok_or_else(|| Pending::UnreadableLink(name.clone()))?;
    Ok((interface, link))
}

fn is_down(name: &InterfaceName, interfaces: &Interfaces) -> bool {
    interfaces.named(name).is_some_and(|interface| !interface.up)
}

/// Why nothing leaves by an interface that is there, and how copies are counted meanwhile.
fn blocked(name: &InterfaceName, interfaces: &Interfaces) -> Option<(Pending, EgressError)> {
    let interface = interfaces.named(name)?;
    if !interface.up {
        return Some((Pending::InterfaceDown(name.clone()), EgressError::InterfaceDown));
    }
    let lack = (Pending::NoCarrier(name.clone()), EgressError::NoCarrier);
    (!interface.carrier).then_some(lack)
}

fn unanswered(output: &Output, interfaces: &Interfaces) -> Option<Pending> {
    let endpoint = &output.endpoint;
    let interface = interfaces.named(&endpoint.interface)?;
    let controller = interface.controller?;
    // Nobody is asked for the hardware address of a group or a broadcast.
    let is_host = match endpoint.address {
        IpAddr::V4(v4) => {
            !v4.is_multicast()
                && !v4.is_broadcast()
                && !interface.broadcasts().any(|address| address == v4)
        }
        IpAddr::V6(v6) => !v6.is_multicast(),
    };
    is_host.then_some(Pending::Unanswered {
        port: endpoint.interface.clone(),
        controller: interfaces.numbered(controller)?.name.clone(),
        output: endpoint.socket_address(),
    })
}

/// Why there are no sockets that an output could leave by.
enum NoEgress {
    Interface,
    Address,
}

/// The sockets by which an output leaves: the one answer that demands and routes are made from.
fn egress_of(output: &Output, interfaces: &Interfaces) -> Result<EgressKey, NoEgress> {
    let Output { endpoint, options } = output;
    let interface = interfaces.named(&endpoint.interface);
    let interface = interface.ok_or(NoEgress::Interface)?;
    let primary = || interface.source_for(endpoint.address);
    Ok(EgressKey {
        ifindex: interface.index,
        interface: interface.name.clone(),
        hardware: interface.hardware,
        source: options.source.or_else(primary).ok_or(NoEgress::Address)?,
        source_port: options.source_port,
        ttl: options.ttl,
        dscp: options.dscp,
        multicast_loop: options.multicast_loop,
        mtu: interface.mtu,
    })
}
