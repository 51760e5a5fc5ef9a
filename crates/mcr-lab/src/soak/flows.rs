//! The ten rules and the flows that they make, each from one ingress to one egress interface.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::topology::{sink_v4, sink_v6};

/// Ingress links, and as many egress links.
pub(super) const LINKS: u8 = 3;

/// A link of the relay's, by the interface at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Link {
    /// From the source, by `inN`.
    Ingress(u8),
    /// To a sink, by `outN`.
    Egress(u8),
}

impl Link {
    /// Every link, in an order of its own.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..LINKS).map(Self::Ingress).chain((0..LINKS).map(Self::Egress))
    }
}

impl fmt::Display for Link {
    /// The relay's interface.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ingress(number) => write!(f, "in{number}"),
            Self::Egress(number) => write!(f, "out{number}"),
        }
    }
}

/// A rule: what comes to a group on an ingress link goes to each of the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SoakRule {
    /// The group and port.
    pub(super) input: SocketAddr,
    /// The ingress link.
    pub(super) ingress: u8,
    /// The egress links with what is sent to there.
    pub(super) outputs: Vec<(u8, SocketAddr)>,
}

impl fmt::Display for SoakRule {
    /// As a table of the daemon's configuration file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outputs: Vec<String> = self
            .outputs
            .iter()
            .map(|(egress, destination)| format!("\"{destination}@out{egress}\""))
            .collect();
        let (input, ingress, outputs) = (self.input, self.ingress, outputs.join(", "));
        write!(f, "[[rule]]\ninput = \"{input}@in{ingress}\"\noutputs = [{outputs}]\n")
    }
}

/// What one rule makes for one of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flow {
    /// The rule, and the stream of its datagrams.
    pub(super) rule: usize,
    /// Which of the workers handles it: the one whose core the rule's datagrams are sent on.
    pub(super) worker: usize,
    /// The ingress link.
    pub(super) ingress: u8,
    /// The egress link.
    pub(super) egress: u8,
    /// The group or host.
    pub(super) destination: SocketAddr,
}

impl Flow {
    /// Whether the flow goes by the link.
    pub(super) fn uses(&self, link: Link) -> bool {
        match link {
            Link::Ingress(number) => self.ingress == number,
            Link::Egress(number) => self.egress == number,
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, ingress, egress, destination, .. } = self;
        write!(f, "rule {rule}, in{ingress} to {destination}@out{egress}")
    }
}

/// Where a rule's output leads to, before it has its address.
#[derive(Clone, Copy)]
enum To {
    V4Group(u8),
    V6Group(u8),
    V4Host(u8),
    V6Host(u8),
}

/// Ten rules over all links: both families, from one to the other, groups and hosts, and a fan-out
/// of up to three.
pub(super) fn rules() -> Vec<SoakRule> {
    use To::{V4Group, V4Host, V6Group, V6Host};
    let layout: [(bool, u8, &[To]); 10] = [
        (true, 0, &[V4Group(0)]),
        (true, 0, &[V4Group(1), V4Host(2)]),
        (true, 1, &[V4Group(1)]),
        (true, 1, &[V4Group(0), V4Group(1), V4Group(2)]),
        (true, 2, &[V4Host(2)]),
        (false, 0, &[V6Group(0)]),
        (false, 1, &[V6Host(1), V6Group(2)]),
        (false, 2, &[V6Group(0), V6Group(1)]),
        (false, 2, &[V4Group(1)]),
        (true, 2, &[V6Group(0)]),
    ];
    let rule = |(number, (v4, ingress, outputs)): (u16, (bool, u8, &[To]))| SoakRule {
        input: SocketAddr::new(group(v4, 1, number), 5000 + number),
        ingress,
        outputs: outputs.iter().map(|to| to.output(number)).collect(),
    };
    (0..).zip(layout).map(rule).collect()
}

/// Every flow of the rules, where so many workers share them.
pub(super) fn flows(rules: &[SoakRule], workers: usize) -> Vec<Flow> {
    let of_rule = |(number, rule): (usize, &SoakRule)| {
        let flow = |&(egress, destination): &(u8, SocketAddr)| Flow {
            rule: number,
            worker: number % workers,
            ingress: rule.ingress,
            egress,
            destination,
        };
        rule.outputs.iter().map(flow).collect::<Vec<_>>()
    };
    rules.iter().enumerate().flat_map(of_rule).collect()
}

impl To {
    fn output(self, rule: u16) -> (u8, SocketAddr) {
        let (egress, address) = match self {
            Self::V4Group(egress) => (egress, group(true, 2, rule)),
            Self::V6Group(egress) => (egress, group(false, 2, rule)),
            Self::V4Host(egress) => (egress, sink_v4(egress).into()),
            Self::V6Host(egress) => (egress, sink_v6(egress).into()),
        };
        (egress, SocketAddr::new(address, 6000 + rule))
    }
}

fn group(v4: bool, side: u8, rule: u16) -> IpAddr {
    if v4 {
        Ipv4Addr::new(239, side, 0, rule as u8 + 1).into()
    } else {
        Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, side.into(), rule + 1).into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mcr_api::config::Config;

    use super::*;

    #[test]
    fn the_rules_are_what_mcrd_reads() {
        let text: String = rules().iter().map(ToString::to_string).collect();
        assert_eq!(Config::parse(&text, "soak").unwrap().rules.len(), 10);
    }

    #[test]
    fn every_link_and_every_worker_has_flows_and_others_that_do_not_use_it() {
        let flows = flows(&rules(), 2);
        for link in Link::all() {
            let of_link = flows.iter().filter(|flow| flow.uses(link)).count();
            assert!(of_link > 1 && of_link + 1 < flows.len(), "{link}: {of_link}");
        }
        let of_first = flows.iter().filter(|flow| flow.worker == 0).count();
        assert!(of_first > 1 && of_first + 1 < flows.len());
        assert!(flows.iter().any(|flow| flow.destination.is_ipv6()));
        let destinations: BTreeSet<_> = flows.iter().map(|flow| flow.destination).collect();
        assert!(destinations.len() >= 10, "a sink's socket is told by where it listens");
    }

    #[test]
    fn no_two_flows_on_one_link_have_one_destination() {
        let flows = flows(&rules(), 2);
        let places: BTreeSet<_> = flows.iter().map(|f| (f.egress, f.destination)).collect();
        assert_eq!(places.len(), flows.len());
    }
}
