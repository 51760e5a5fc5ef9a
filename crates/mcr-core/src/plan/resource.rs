//! A need of a rule towards the kernel. Two needs that are equal are served by the same sockets.

use std::net::IpAddr;

use crate::endpoint::InterfaceName;
use crate::ids::IfIndex;
use crate::interfaces::{HardwareAddress, LinkLayer};
use crate::limits;

/// Something of the kernel's that the supervisor holds while a rule needs it.
///
/// Every part that the sockets depend on is in the key: an interface that comes back with another
/// number, a new address or another MTU makes another resource, never a change to one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// For a multicast input.
    Membership(Membership),
    /// For every input: a packet ring for each worker.
    Ingress(IngressKey),
    /// For outputs: a UDP socket for each worker.
    Egress(EgressKey),
    /// For an exclusive input, and for one of a single source, which may be the exception to an
    /// exclusive one of any source.
    Exclusion(Exclusion),
}

impl Resource {
    /// The interface that it is on.
    pub fn ifindex(&self) -> IfIndex {
        match self {
            Self::Membership(membership) => membership.ifindex,
            Self::Ingress(key) => key.ifindex,
            Self::Egress(key) => key.ifindex,
            Self::Exclusion(entry) => entry.ifindex,
        }
    }

    /// The name of that, where it depends on it.
    pub fn interface(&self) -> Option<&InterfaceName> {
        match self {
            Self::Membership(_) => None,
            Self::Ingress(key) => Some(&key.interface),
            Self::Egress(key) => Some(&key.interface),
            Self::Exclusion(entry) => Some(&entry.interface),
        }
    }

    /// The interface with whose end the kernel ends this, also where another one comes with the
    /// same number. UDP sockets are bound to the number alone: they serve the other one as well.
    pub fn ends_with(&self) -> Option<IfIndex> {
        match self {
            Self::Membership(membership) => Some(membership.ifindex),
            Self::Ingress(key) => Some(key.ifindex),
            Self::Exclusion(entry) => Some(entry.ifindex),
            Self::Egress(_) => None,
        }
    }
}

/// Being a member of a group on an interface (IGMP, RFC 3376; MLD, RFC 3810).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Membership {
    /// The interface.
    pub ifindex: IfIndex,
    /// The group.
    pub group: IpAddr,
    /// The one source to be heard (RFC 4607); `None` is any.
    pub source: Option<IpAddr>,
}

/// The properties in which the ingress sockets of one interface differ from another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IngressKey {
    /// The interface.
    pub ifindex: IfIndex,
    /// Its name.
    pub interface: InterfaceName,
    /// The first header of its frames.
    pub link: LinkLayer,
    /// The size of its rings.
    pub class: RingClass,
}

/// An entry in the kernel that says how a frame fares behind the rings that have taken it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exclusion {
    /// The interface.
    pub ifindex: IfIndex,
    /// Its name.
    pub interface: InterfaceName,
    /// The first header of its frames.
    pub link: LinkLayer,
    /// The input's address.
    pub address: IpAddr,
    /// The input's UDP port.
    pub port: u16,
    /// The one source that it is about; `None` is any.
    pub source: Option<IpAddr>,
    /// How the frame fares.
    pub fate: Fate,
}

/// How a frame that a rule takes fares in the host's network stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It ends at the ingress: the rule is exclusive.
    Ends,
    /// It goes on, even where those of other sources end: the rule is not exclusive.
    GoesOn,
}

/// The properties in which one set of egress sockets differs from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressKey {
    /// The interface.
    pub ifindex: IfIndex,
    /// Its name.
    pub interface: InterfaceName,
    /// Its hardware address, by which its frames are known.
    pub hardware: Option<HardwareAddress>,
    /// The source address.
    pub source: IpAddr,
    /// The source port; `None` leaves it to the kernel.
    pub source_port: Option<u16>,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// Differentiated services code point, 0 to 63.
    pub dscp: u8,
    /// Whether local members of a group receive a copy.
    pub multicast_loop: bool,
    /// The interface's MTU in bytes: no segment of a GSO run may be longer than it allows.
    pub mtu: u32,
}

/// The size of an interface's rings, by the longest frame that it can deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RingClass {
    /// Slots of 2 KiB.
    Small,
    /// Slots of 4 KiB.
    Standard,
    /// Slots of 16 KiB.
    Jumbo,
}

impl RingClass {
    /// The smallest class whose slots hold every frame of an MTU. Past what the largest holds
    /// (such as the loopback interface's 65,536) it is the largest: longer frames then arrive cut
    /// short and are counted as truncated.
    pub fn for_mtu(mtu: u32) -> Self {
        let needed = mtu.saturating_add(limits::LINK_HEADER_BYTES + limits::RING_SLOT_HEADER_BYTES);
        [Self::Small, Self::Standard]
            .into_iter()
            .find(|class| needed <= class.slot_bytes())
            .unwrap_or(Self::Jumbo)
    }

    /// Bytes of a slot.
    pub const fn slot_bytes(self) -> u32 {
        match self {
            Self::Small => limits::SMALL_SLOT_BYTES,
            Self::Standard => limits::STANDARD_SLOT_BYTES,
            Self::Jumbo => limits::JUMBO_SLOT_BYTES,
        }
    }

    /// Slots of a ring.
    pub const fn slots(self) -> u32 {
        match self {
            Self::Small => limits::SMALL_SLOTS,
            Self::Standard => limits::STANDARD_SLOTS,
            Self::Jumbo => limits::JUMBO_SLOTS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_the_longest_frame() {
        assert_eq!(RingClass::for_mtu(1500), RingClass::Small);
        assert_eq!(RingClass::for_mtu(1920), RingClass::Small);
        assert_eq!(RingClass::for_mtu(1921), RingClass::Standard);
        assert_eq!(RingClass::for_mtu(3968), RingClass::Standard);
        assert_eq!(RingClass::for_mtu(3969), RingClass::Jumbo);
        assert_eq!(RingClass::for_mtu(9000), RingClass::Jumbo);
        assert_eq!(RingClass::for_mtu(65_536), RingClass::Jumbo);
        assert_eq!(RingClass::for_mtu(u32::MAX), RingClass::Jumbo);
    }

    #[test]
    fn rings_are_of_the_size_that_the_limits_name() {
        let mebibytes = |class: RingClass| class.slots() * class.slot_bytes() / (1024 * 1024);
        assert_eq!(mebibytes(RingClass::Small), 8);
        assert_eq!(mebibytes(RingClass::Standard), 8);
        assert_eq!(mebibytes(RingClass::Jumbo), 16);
        assert_eq!(RingClass::Small.slots(), 4096);
    }
}
