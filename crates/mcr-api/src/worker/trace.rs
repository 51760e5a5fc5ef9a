//! How orders to trace stand in a message, each checked as it is read.

use mcr_core::ids::{IfIndex, RuleId};
use mcr_core::limits;
use mcr_core::trace::Subject;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::{TraceOrder, wire};

/// [`Subject`], member for member.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Subject")]
pub(super) enum SubjectDef {
    Rule(#[serde(with = "wire::rule_id")] RuleId),
    Unmatched(#[serde(with = "wire::ifindex")] IfIndex),
}

/// A place that the ledger has.
pub(super) fn place<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let place = usize::deserialize(from)?;
    wire::within("trace place", place, 0..limits::TRACES)?;
    Ok(place)
}

/// Not more orders than there are places.
pub(super) fn at_most_all<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<TraceOrder>, D::Error> {
    let orders = Vec::<TraceOrder>::deserialize(from)?;
    if orders.len() > limits::TRACES {
        return Err(Error::custom(format_args!("more than {} trace orders", limits::TRACES)));
    }
    Ok(orders)
}
