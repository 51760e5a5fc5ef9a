//! Identifiers. Each has its own type, so that none can stand for another.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A rule's identity, made by the supervisor and never used again after the rule is gone.
    RuleId(u64)
}
id! {
    /// The place of a rule's counters in every worker's ledger; used again after the rule is gone.
    RuleSlot(u32)
}
id! {
    /// The place of an output's counters in every worker's ledger; used again like [`RuleSlot`].
    OutputSlot(u32)
}
id! {
    /// A worker's place: its member number in every steering group, from 0.
    WorkerId(u32)
}
id! {
    /// One set of ingress sockets (one socket a worker) on one interface; never used again.
    IngressId(u32)
}
id! {
    /// One set of egress sockets (one socket a worker) alike in all options; never used again.
    EgressId(u32)
}
id! {
    /// The kernel's number of a network interface (netdevice(7)), from 1.
    IfIndex(u32)
}
