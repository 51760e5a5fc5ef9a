//! A rule made concrete for the workers: interface numbers, counter slots and egress sockets in
//! place of names. A route is what a rule is on this host at this moment.

use std::net::{IpAddr, SocketAddr};

use crate::ids::{EgressId, IfIndex, OutputSlot, RuleId, RuleSlot};
use crate::verdict::EgressError;

/// The match of a datagram: its ingress interface and its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// The ingress interface.
    pub ifindex: IfIndex,
    /// The destination address.
    pub address: IpAddr,
    /// The destination UDP port.
    pub port: u16,
}

/// How a route's output leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// By this set of sockets.
    Egress(EgressId),
    /// Not at all: each copy is counted under this reason.
    Nothing(EgressError),
}

/// One output of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteOutput {
    /// The place of its counters.
    pub slot: OutputSlot,
    /// The destination of the payload.
    pub destination: SocketAddr,
    /// By which sockets.
    pub via: Via,
}

/// One rule, as the workers carry it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The rule.
    pub id: RuleId,
    /// The place of its counters.
    pub slot: RuleSlot,
    /// The datagrams that it matches.
    pub key: RouteKey,
    /// The source of an (S,G) rule.
    pub source: Option<IpAddr>,
    /// The destinations of the payload.
    pub outputs: Vec<RouteOutput>,
}

impl Route {
    /// A number that differs (but for one chance in 2^64) when any part of the route does.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut mixer = Mixer::new(Kind::Route);
        mixer.word(self.id.0);
        mixer.word(u64::from(self.slot.0));
        mixer.word(u64::from(self.key.ifindex.0));
        mixer.address(self.key.address);
        mixer.word(u64::from(self.key.port));
        match self.source {
            Some(source) => mixer.address(source),
            None => mixer.word(0),
        }
        for output in &self.outputs {
            mixer.word(u64::from(output.slot.0));
            mixer.address(output.destination.ip());
            mixer.word(u64::from(output.destination.port()));
            match output.via {
                Via::Egress(id) => mixer.word(1 << 32 | u64::from(id.0)),
                Via::Nothing(error) => mixer.word(error.index() as u64),
            }
        }
        mixer.finish()
    }
}

/// The subject of a fingerprint, so that a socket set and a route never have the same one.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A [`Route`].
    Route = 1,
    /// A set of ingress sockets.
    Ingress = 2,
    /// A set of egress sockets.
    Egress = 3,
}

/// The fingerprint of one thing that a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a thing that its number alone identifies.
    pub fn of(kind: Kind, number: u32) -> Self {
        let mut mixer = Mixer::new(kind);
        mixer.word(u64::from(number));
        mixer.finish()
    }
}

/// The hash of all that a worker holds: the sum of the fingerprints, so that the order of coming
/// and going says nothing and each change costs one addition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateHash(pub u64);

impl StateHash {
    /// Takes a thing in.
    pub fn add(&mut self, fingerprint: Fingerprint) {
        self.0 = self.0.wrapping_add(fingerprint.0);
    }

    /// Takes a thing out that was in.
    pub fn remove(&mut self, fingerprint: Fingerprint) {
        self.0 = self.0.wrapping_sub(fingerprint.0);
    }
}

/// A state of the rules and sockets: that desired, or that held by a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// How many changes led to it.
    pub generation: u64,
    /// Its parts.
    pub hash: StateHash,
}

/// Folds words into one, each through the finaliser of SplitMix64. Nothing here comes from the
/// wire, so the hash need not be keyed; it must only be the same in two processes.
struct Mixer(u64);

impl Mixer {
    fn new(kind: Kind) -> Self {
        Self(kind as u64)
    }

    fn word(&mut self, word: u64) {
        let mut mixed = self.0.rotate_left(5) ^ word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ (mixed >> 31);
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.word(1 << 32 | u64::from(v4.to_bits())),
            IpAddr::V6(v6) => {
                self.word((v6.to_bits() >> 64) as u64);
                self.word(v6.to_bits() as u64);
            }
        }
    }

    fn finish(self) -> Fingerprint {
        Fingerprint(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route {
            id: RuleId(7),
            slot: RuleSlot(3),
            key: RouteKey {
                ifindex: IfIndex(2),
                address: "239.1.1.1".parse().unwrap(),
                port: 5000,
            },
            source: None,
            outputs: vec![RouteOutput {
                slot: OutputSlot(9),
                destination: "239.2.2.2:6000".parse().unwrap(),
                via: Via::Egress(EgressId(1)),
            }],
        }
    }

    #[test]
    fn every_part_counts() {
        type Change = fn(&mut Route);
        let changes: [Change; 10] = [
            |r| r.id = RuleId(8),
            |r| r.slot = RuleSlot(4),
            |r| r.key.ifindex = IfIndex(3),
            |r| r.key.address = "239.1.1.2".parse().unwrap(),
            |r| r.key.port = 5001,
            |r| r.source = Some("10.0.0.7".parse().unwrap()),
            |r| r.outputs[0].slot = OutputSlot(1),
            |r| r.outputs[0].destination = "239.2.2.2:6001".parse().unwrap(),
            |r| r.outputs[0].via = Via::Nothing(EgressError::NoAddress),
            |r| r.outputs.push(r.outputs[0]),
        ];
        for change in changes {
            let mut other = route();
            change(&mut other);
            assert_ne!(other.fingerprint(), route().fingerprint());
        }
    }

    #[test]
    fn order_says_nothing_and_removal_undoes() {
        let (a, b) = (route().fingerprint(), Fingerprint::of(Kind::Egress, 1));
        let mut one = StateHash::default();
        one.add(a);
        one.add(b);
        let mut other = StateHash::default();
        other.add(b);
        other.add(a);
        assert_eq!(one, other);
        other.remove(b);
        other.remove(a);
        assert_eq!(other, StateHash::default());
        assert_ne!(Fingerprint::of(Kind::Egress, 1), Fingerprint::of(Kind::Ingress, 1));
    }
}
