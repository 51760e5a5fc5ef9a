//! The kernel objects that the supervisor holds for the rules.

mod admission;
pub(crate) mod devices;
pub(crate) mod egress;
pub(crate) mod exclusion;
pub(crate) mod ingress;
pub(crate) mod problems;

use mcr_core::endpoint::InterfaceName;
use mcr_core::interfaces::LinkLayer;
use mcr_core::plan::Membership;
use mcr_sys::SetupError;
use mcr_sys::filter::LinkHeader;
use mcr_sys::membership::{self, MembershipPool};

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

/// Memberships: held by the supervisor alone, no worker knows of them.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    memberships: MembershipPool,
}

impl Addresses {
    pub(crate) fn join(&mut self, membership: &Membership) -> Result<(), Refusal> {
        Ok(self.memberships.join(kernel_membership(membership))?)
    }

    pub(crate) fn leave(&mut self, membership: &Membership) {
        self.memberships.leave(&kernel_membership(membership));
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
