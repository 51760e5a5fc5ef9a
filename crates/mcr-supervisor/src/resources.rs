//! The kernel objects that the supervisor holds for the rules.

mod admission;
mod buffers;
pub(crate) mod devices;
pub(crate) mod egress;
pub(crate) mod exclusion;
pub(crate) mod ingress;
pub(crate) mod pause;
pub(crate) mod problems;

use mcr_core::endpoint::InterfaceName;
use mcr_core::interfaces::LinkLayer;
use mcr_core::plan::{Membership, Resource};
use mcr_sys::SetupError;
use mcr_sys::filter::LinkHeader;
use mcr_sys::membership::{self, MembershipPool};
use tokio::sync::mpsc;
use tracing::debug;

use crate::asked::Ticket;
use crate::event::Event;
use crate::hands::{Hands, Rights, Serial};

/// Why a resource could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] SetupError),
    /// The call was not made.
    #[error("{0}")]
    NoThread(std::io::Error),
    /// A limit of MCR's own.
    #[error("limit reached: {0}; remove rules that use others")]
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

/// Memberships: held by the supervisor alone, no worker knows of them. A thread joins and leaves,
/// for both wait for RTNL.
#[derive(Debug)]
pub(crate) struct Addresses {
    memberships: Serial<MembershipPool>,
}

impl Addresses {
    pub(crate) fn new(hands: &Hands) -> Self {
        Self { memberships: hands.serial("memberships", Rights::None, MembershipPool::new()) }
    }

    /// Joins; the answer comes as [`Event::Acquired`].
    pub(crate) fn join(&mut self, membership: Membership, ticket: Ticket) -> Result<(), Refusal> {
        let join = move |pool: &mut MembershipPool, events: &mpsc::Sender<Event>| {
            let outcome = pool.join(kernel_membership(&membership)).map_err(Refusal::from);
            let resource = Resource::Membership(membership);
            // Without a supervisor there is nobody to be told.
            _ = events.blocking_send(Event::Acquired { resource, ticket, outcome });
        };
        self.memberships.order(join).map_err(Refusal::NoThread)
    }

    /// Leaves, after all joins that were ordered before.
    pub(crate) fn leave(&mut self, membership: Membership) {
        let left = self.memberships.order(move |pool, _| {
            pool.leave(&kernel_membership(&membership));
        });
        if let Err(error) = left {
            debug!("{}: not left: {error}", membership.group);
        }
    }

    /// Leaves every group.
    pub(crate) fn clear(&mut self) {
        if let Err(error) = self.memberships.order(|pool, _| *pool = MembershipPool::new()) {
            debug!("the groups are left when mcrd ends: {error}");
        }
    }
}

/// The header before the IP header, in the kernel layer's words.
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
