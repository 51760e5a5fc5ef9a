//! How the core's small types stand in a message, each checked as it is read.

use std::fmt::Display;

use mcr_core::ids::{EgressId, IfIndex, IngressId, RuleId, RuleSlot};
use mcr_core::interfaces::LinkLayer;
use mcr_core::limits;
use mcr_core::route::StateHash;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Makes the module by which serde writes and reads an id as its number.
macro_rules! number {
    ($module:ident: $id:ident($inner:ident) $(in $range:expr)?) => {
        pub(super) mod $module {
            use super::*;

            pub(in super::super) fn serialize<S: Serializer>(
                id: &$id,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                id.0.serialize(to)
            }

            pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<$id, D::Error> {
                let number = $inner::deserialize(from)?;
                $(within(stringify!($module), number, $range)?;)?
                Ok($id(number))
            }
        }
    };
}

number!(rule_id: RuleId(u64));
number!(rule_slot: RuleSlot(u32) in 0..limits::RULES as u32);
number!(ingress_id: IngressId(u32));
number!(egress_id: EgressId(u32));
number!(ifindex: IfIndex(u32) in 1..u32::MAX);

/// The place of a ring record in the ledger.
pub(super) mod ring_place {
    use super::{Deserialize, Deserializer, Serialize, Serializer, limits, within};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(in super::super) fn serialize<S: Serializer>(
        place: &usize,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        place.serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<usize, D::Error> {
        let place = usize::deserialize(from)?;
        within("ring place", place, 0..limits::INGRESSES)?;
        Ok(place)
    }
}

/// An interface's name.
pub(super) mod interface {
    use mcr_core::endpoint::InterfaceName;

    use super::{Deserialize, Deserializer, Error, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        name: &InterfaceName,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        name.as_str().serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<InterfaceName, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The first header of frames, under the core's names.
#[derive(Serialize, Deserialize)]
#[serde(remote = "LinkLayer", rename_all = "snake_case")]
pub(super) enum LinkLayerDef {
    Ethernet,
    Ip,
}

/// A state's hash as its number.
#[derive(Serialize, Deserialize)]
#[serde(remote = "StateHash")]
pub(super) struct StateHashDef(u64);

/// Reads a count that the worker may divide by.
pub(super) fn not_zero<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(from)?;
    within("count", count, 1..u32::MAX)?;
    Ok(count)
}

/// Refuses a number that no supervisor gives.
pub(super) fn within<N: Copy + PartialOrd + Display, E: Error>(
    what: &str,
    number: N,
    range: std::ops::Range<N>,
) -> Result<(), E> {
    if range.contains(&number) {
        Ok(())
    } else {
        let (first, end) = (range.start, range.end);
        Err(E::custom(format_args!("{what} {number} is not from {first} and below {end}")))
    }
}
