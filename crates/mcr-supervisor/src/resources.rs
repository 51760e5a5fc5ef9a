//! The kernel objects that the supervisor holds for the rules.

mod admission;
pub(crate) mod devices;
pub(crate) mod egress;
pub(crate) mod exclusion;
pub(crate) mod ingress;
pub(crate) mod problems;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use mcr_core::endpoint::InterfaceName;
use mcr_core::interfaces::LinkLayer;
use mcr_core::plan::{Membership, Reservation};
use mcr_sys::SetupError;
use mcr_sys::filter::LinkHeader;
use mcr_sys::membership::{self, MembershipPool};
use mcr_sys::reservation::PortReservation;
use tracing::debug;

use crate::privileged;

/// Why a resource could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] SetupError),
    /// A limit of MCR's own.
    #[error("no more than {0} can be held at a time: remove rules that use others")]
    Full(String),
    /// The kernel refused to end at the ingress what a rule takes.
    #[error(
        "exclusive is not in force: {0}; until it is, this host's own network stack also sees what \
         the rule takes"
    )]
    NotExclusive(SetupError),
    /// Without a ring, what ends at the ingress would come to nobody.
    #[error("exclusive is not in force: nothing is received on {0}")]
    NotReceived(InterfaceName),
}

/// Memberships and reservations: held by the supervisor alone, no worker knows of them.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    memberships: MembershipPool,
    reservations: BTreeMap<Reservation, PortReservation>,
}

impl Addresses {
    pub(crate) fn join(&mut self, membership: &Membership) -> Result<(), Refusal> {
        Ok(self.memberships.join(kernel_membership(membership))?)
    }

    pub(crate) fn leave(&mut self, membership: &Membership) {
        self.memberships.leave(&kernel_membership(membership));
    }

    /// Holds a unicast input's port. That it cannot be held is no problem of the rule's: either a
    /// local program holds it, and then the kernel sends no ICMP, or the address is not local, and
    /// then it does not either.
    pub(crate) fn reserve(&mut self, wanted: &Reservation) {
        let address = scoped(wanted.address, wanted.port, wanted.ifindex.0);
        match privileged::port_reservation(wanted.interface.as_str(), address) {
            Ok(held) => {
                self.reservations.insert(wanted.clone(), held);
            }
            Err(error) => debug!("{address}@{}: port not held: {error}", wanted.interface),
        }
    }

    pub(crate) fn free(&mut self, reservation: &Reservation) {
        self.reservations.remove(reservation);
    }
}

/// What stands before the IP header, in the kernel layer's words.
fn link_header(link: LinkLayer) -> LinkHeader {
    match link {
        LinkLayer::Ethernet => LinkHeader::Ethernet,
        LinkLayer::Ip => LinkHeader::None,
    }
}

fn kernel_membership(membership: &Membership) -> membership::Membership {
    membership::Membership {
        ifindex: membership.ifindex.0,
        group: membership.group,
        source: membership.source,
    }
}

/// A socket address with the scope that a link-local IPv6 address needs.
fn scoped(address: IpAddr, port: u16, ifindex: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, ifindex).into()
        }
        _ => SocketAddr::new(address, port),
    }
}
