//! How a route stands in a message: so short that the largest fits one.
//!
//! `{"id":7,"slot":3,"on":2,"to":"239.1.1.1:5000","first":9,"outputs":[["239.2.2.2:6000",1]]}`

use std::net::{IpAddr, SocketAddr};

use mcr_core::ids::{EgressId, IfIndex, OutputSlot, RuleId, RuleSlot};
use mcr_core::limits;
use mcr_core::route::{Route, RouteKey, RouteOutput, Via};
use mcr_core::verdict::EgressError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wire::within;

/// A route as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteWire {
    id: u64,
    slot: u32,
    /// The ingress interface's number.
    on: u32,
    /// The destination that it matches.
    to: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    /// The first output's slot; the others follow it.
    first: u32,
    outputs: Vec<OutputWire>,
}

/// An output as it is written: where to, and by which egress, or -1 - n for none, where n is the
/// index of the [`EgressError`] under which its copies are counted (as in the ledger, whose layout
/// both sides share). The reason's name in each output would not fit the largest route.
#[derive(Serialize, Deserialize)]
struct OutputWire(SocketAddr, i64);

impl From<&Route> for RouteWire {
    fn from(route: &Route) -> Self {
        let first = route.outputs.first().map_or(0, |output| output.slot.0);
        let contiguous = (first..).zip(&route.outputs).all(|(n, o)| o.slot.0 == n);
        assert!(contiguous, "a rule's output slots follow each other");
        Self {
            id: route.id.0,
            slot: route.slot.0,
            on: route.key.ifindex.0,
            to: SocketAddr::new(route.key.address, route.key.port),
            source: route.source,
            first,
            outputs: route.outputs.iter().map(OutputWire::from).collect(),
        }
    }
}

impl From<&RouteOutput> for OutputWire {
    fn from(output: &RouteOutput) -> Self {
        let via = match output.via {
            Via::Egress(egress) => i64::from(egress.0),
            Via::Nothing(error) => -1 - error.index() as i64,
        };
        Self(output.destination, via)
    }
}

impl TryFrom<RouteWire> for Route {
    type Error = serde_json::Error;

    fn try_from(wire: RouteWire) -> Result<Self, serde_json::Error> {
        let count = wire.outputs.len();
        within("rule slot", wire.slot, 0..limits::RULES as u32)?;
        within("ifindex", wire.on, 1..u32::MAX)?;
        within("number of outputs", count, 1..limits::OUTPUTS_PER_RULE + 1)?;
        let slots = 0..(limits::OUTPUTS - count + 1) as u32;
        within("first output slot", wire.first, slots)?;
        let outputs = (wire.first..).zip(wire.outputs).map(|(slot, output)| {
            let OutputWire(destination, via) = output;
            Ok(RouteOutput { slot: OutputSlot(slot), destination, via: read_via(via)? })
        });
        Ok(Self {
            id: RuleId(wire.id),
            slot: RuleSlot(wire.slot),
            key: RouteKey {
                ifindex: IfIndex(wire.on),
                address: wire.to.ip(),
                port: wire.to.port(),
            },
            source: wire.source,
            outputs: outputs.collect::<Result<_, serde_json::Error>>()?,
        })
    }
}

fn read_via(via: i64) -> Result<Via, serde_json::Error> {
    let none = serde::de::Error::custom(format_args!("no egress and no reason has number {via}"));
    if let Ok(egress) = u32::try_from(via) {
        return Ok(Via::Egress(EgressId(egress)));
    }
    let error = via
        .checked_neg()
        .and_then(|number| usize::try_from(number - 1).ok())
        .and_then(|index| EgressError::ALL.get(index));
    error.copied().map(Via::Nothing).ok_or(none)
}

pub(super) fn serialize<S: Serializer>(route: &Route, to: S) -> Result<S::Ok, S::Error> {
    RouteWire::from(route).serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Route, D::Error> {
    let wire = RouteWire::deserialize(from)?;
    wire.try_into().map_err(serde::de::Error::custom)
}

/// The bytes that a route takes in a message.
pub(super) fn encoded_len(route: &Route) -> usize {
    let json = serde_json::to_vec(&RouteWire::from(route));
    json.expect("text and numbers always become JSON").len()
}

/// The routes of one message.
pub(super) mod list {
    use super::{Deserialize, Deserializer, Route, RouteWire, Serializer, within};
    use crate::limits::{OUTPUTS_PER_MESSAGE, ROUTES_PER_MESSAGE};

    pub(in super::super) fn serialize<S: Serializer>(
        routes: &[Route],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(routes.iter().map(RouteWire::from))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Route>, D::Error> {
        let routes = Vec::<RouteWire>::deserialize(from)?;
        let outputs = routes.iter().map(|route| route.outputs.len()).sum();
        within("number of routes", routes.len(), 0..ROUTES_PER_MESSAGE + 1)?;
        within("number of outputs", outputs, 0..OUTPUTS_PER_MESSAGE + 1)?;
        let routes = routes.into_iter().map(Route::try_from);
        routes.collect::<Result<_, _>>().map_err(serde::de::Error::custom)
    }
}
