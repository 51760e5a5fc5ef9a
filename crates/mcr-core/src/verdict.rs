//! The verdict on a frame, and the names of every reason not to forward or send.
//!
//! The enums here *are* the lists of counters: whoever adds a reason adds its counter, its name and
//! its explanation in the same line.

use std::ops::Range;

use crate::ids::RuleSlot;

/// The decision about one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the payload to every output of a rule.
    Forward {
        /// The rule that matched.
        rule: RuleSlot,
        /// The place of the UDP payload in the frame's bytes.
        payload: Range<usize>,
    },
    /// Do not forward, and count why.
    Drop(DropReason),
}

/// Makes an enum whose members are counters: an index, a name for machines, a sentence for people.
macro_rules! counted {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$member_doc:meta])* $member:ident = $text:literal, $explanation:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$member_doc])* #[doc = $explanation] $member,)*
        }

        impl $name {
            /// Every member, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$member,)*];
            /// How many members there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The counter's place among its kind.
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The counter's name in statistics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$member => $text,)*
                }
            }

            /// Its meaning, in a sentence.
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$member => $explanation,)*
                }
            }
        }
    };
}
pub(crate) use counted;

counted! {
    /// Why a frame is not forwarded.
    DropReason {
        Fragment = "ip_fragments_dropped", "An IP fragment; MCR never reassembles.";
        Truncated = "truncated", "The frame ends before the datagram that it announces.";
        Malformed = "malformed", "Its headers contradict each other or the standards.";
        Martian = "martian", "Its source cannot be a sender's (RFC 1122, 3.2.1.3; RFC 4291, 2.7).";
        SourceRouted = "source_routed", "A source route, or routing segments left (RFC 5095).";
        BadChecksum = "bad_checksum", "The UDP or IPv4 header checksum is wrong.";
        NoChecksum = "no_checksum", "UDP over IPv6 without a checksum (RFC 8200, section 8.1).";
        WrongVlan = "wrong_vlan", "A VLAN-tagged frame seen on the parent interface.";
        OtherHost = "other_host", "A frame for another host's address, on a promiscuous link.";
        Unfilled = "unfilled", "A checksum within its payload that cannot be filled in.";
        Coalesced = "coalesced", "Merged by GRO, LRO or GSO in a form that cannot be taken apart.";
        NotUdp = "not_udp", "Neither UDP over IPv4 nor UDP over IPv6.";
        NoRule = "no_rule", "No rule wants this destination (or this source of it).";
        Own = "own", "MCR's own transmission seen again: forwarding it would make a loop.";
        Circle = "circle", "Another relay brought back what this rule had just relayed.";
    }
}

counted! {
    /// Why a copy that a rule wanted sent was not sent.
    EgressError {
        QueueFull = "queue_full", "The socket's or the device's queue is full.";
        NoInterface = "no_interface", "The egress interface does not exist.";
        NoAddress = "no_address", "The egress interface has no address of the output's family.";
        NoSocket = "no_socket", "The egress socket could not be made; the rule's problem says why.";
        InterfaceDown = "interface_down", "The egress interface is down.";
        NoCarrier = "no_carrier", "The egress interface has no carrier: its cable or peer is gone.";
        NoRoute = "no_route", "The kernel has no route to the destination by that interface.";
        TooLong = "too_long", "The datagram is longer than the path takes.";
        Denied = "denied", "A local firewall rule or policy refused it.";
        Other = "other", "The kernel refused for another reason.";
        Abandoned = "abandoned", "The worker died before it could say whether it was sent.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_dense_and_names_unique() {
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place);
        }
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        names.extend(EgressError::ALL.iter().map(|e| e.name()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
