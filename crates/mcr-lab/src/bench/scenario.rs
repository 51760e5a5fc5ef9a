//! What is measured: a pure description of the traffic, the rules and the relay's cores.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde::Serialize;

use crate::limits;

/// The first input port, and the first output's.
const FIRST_PORT: u16 = 5000;

/// What is varied while all else stays as in [`Scenario::default`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Axis {
    /// One flow, one output, one rule: every peer's clean rate and latency.
    Peers,
    /// Bytes of payload.
    Payload,
    /// Copies of each datagram.
    FanOut,
    /// Flows, interleaved datagram by datagram.
    Flows,
    /// Rules, the traffic on random ones of them.
    Rules,
    /// Workers, each on a core of its own with a link of its own.
    Workers,
    /// One flow, as single frames, merged by GRO, and as super-frames of a sender on the same host.
    SuperFrames,
    /// Two relays one behind the other, what goes between them split into frames or not.
    Chain,
    /// A thousand rules, one flow, and nobody or everybody looking.
    Watched,
}

/// How datagrams come to the relay, and whether there is another behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Path {
    /// Each in a frame of its own.
    Frames,
    /// Many in a super-frame, as a sender's UDP GSO leaves it on a veth pair.
    SuperFrames,
    /// Each in a frame of its own, which a kernel thread receives, as a NIC's driver does.
    PolledFrames,
    /// The same, and the thread merges them (GRO).
    MergedFrames,
    /// In frames, also from the first relay to the second.
    ChainOfFrames,
    /// In frames to the first relay, and on to the second as the first sends them.
    ChainOfRuns,
}

impl Path {
    /// Whether a second relay follows the first.
    pub(super) fn is_chain(self) -> bool {
        matches!(self, Self::ChainOfFrames | Self::ChainOfRuns)
    }

    /// Whether a kernel thread receives for the relay.
    pub(super) fn is_polled(self) -> bool {
        matches!(self, Self::PolledFrames | Self::MergedFrames)
    }
}

impl Axis {
    /// All axes.
    pub(super) const ALL: [Self; 9] = [
        Self::Peers,
        Self::Payload,
        Self::FanOut,
        Self::Flows,
        Self::Rules,
        Self::Workers,
        Self::SuperFrames,
        Self::Chain,
        Self::Watched,
    ];

    /// Those of a quick run, which takes the point that others are compared with from `Peers`.
    pub(super) const QUICK: [Self; 3] = [Self::Peers, Self::FanOut, Self::Flows];

    /// What it is called in titles.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Payload => "payload",
            Self::FanOut => "fan-out",
            Self::Flows => "flows",
            Self::Rules => "rules",
            Self::Workers => "workers",
            Self::SuperFrames => "super-frames",
            Self::Chain => "chain",
            Self::Watched => "watched",
        }
    }
}

/// One point of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Scenario {
    /// Bytes of each payload.
    pub(super) payload: usize,
    /// Outputs of each rule.
    pub(super) fan_out: usize,
    /// Flows that the generator sends.
    pub(super) flows: usize,
    /// Rules that the relay has, at least as many as flows.
    pub(super) rules: usize,
    /// Workers of the relay, and links into it.
    pub(super) workers: usize,
    /// Whether each datagram is of another flow than the one before, where there are several.
    pub(super) interleaved: bool,
    /// How they come, and go on.
    pub(super) path: Path,
    /// Whether statistics, metrics, events and a trace of the relay are looked at meanwhile.
    pub(super) watched: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            payload: 1_000,
            fan_out: 1,
            flows: 1,
            rules: 1,
            workers: 1,
            interleaved: false,
            path: Path::Frames,
            watched: false,
        }
    }
}

impl Scenario {
    /// The points of an axis, the one that others are compared with first.
    pub(super) fn points(axis: Axis, quick: bool) -> Vec<Self> {
        let base = Self::default();
        let each = |full: &[usize], short: &[usize], point: fn(usize) -> Self| {
            let values = if quick { short } else { full };
            values.iter().map(|value| point(*value)).collect()
        };
        match axis {
            Axis::Peers => vec![base],
            Axis::Payload => {
                each(&[64, 200, 1_000, 1_472, 8_000], &[64, 1_000, 8_000], |payload| Self {
                    payload,
                    ..Self::default()
                })
            }
            Axis::FanOut => {
                each(&[1, 3, 10, 50], &[10, 50], |fan_out| Self { fan_out, ..Self::default() })
            }
            Axis::Flows => each(&[1, 10, 100], &[1, 100], Self::with_flows),
            Axis::Rules => Self::rule_points(quick),
            Axis::Workers => each(&[1, 2], &[1, 2], |workers| Self {
                // Each worker has a link and a flow of its own.
                workers,
                flows: workers,
                rules: workers,
                ..Self::default()
            }),
            Axis::SuperFrames => {
                use Path::{Frames, MergedFrames, PolledFrames, SuperFrames};
                Self::paths(&[Frames, SuperFrames, PolledFrames, MergedFrames])
            }
            Axis::Chain => Self::paths(&[Path::ChainOfFrames, Path::ChainOfRuns]),
            Axis::Watched => {
                [false, true].map(|watched| Self { rules: 1_000, watched, ..base }).to_vec()
            }
        }
    }

    fn paths(paths: &[Path]) -> Vec<Self> {
        paths.iter().map(|path| Self { path: *path, ..Self::default() }).collect()
    }

    /// First one flow, whatever the number of rules: that shows what rules cost. Then each datagram
    /// on a random rule, the hardest traffic there is: no two in a row can go as one run.
    fn rule_points(quick: bool) -> Vec<Self> {
        let rules: &[usize] = if quick { &[1, 10_000] } else { &[1, 100, 10_000, 100_000] };
        let one_flow = rules.iter().map(|rules| Self { rules: *rules, ..Self::default() });
        let all = rules[1..].iter().map(|rules| Self::with_flows(*rules));
        if quick { one_flow.collect() } else { one_flow.chain(all).collect() }
    }

    fn with_flows(flows: usize) -> Self {
        Self { flows, rules: flows, interleaved: true, ..Self::default() }
    }

    /// The point's name on its axis.
    pub(super) fn label(&self, axis: Axis) -> String {
        match axis {
            Axis::Peers | Axis::Payload => format!("{} bytes", self.payload),
            Axis::FanOut => format!("{} outputs", self.fan_out),
            Axis::Flows => format!("{} flows", self.flows),
            Axis::Rules if self.flows == 1 => format!("{} rules, 1 flow", self.rules),
            Axis::Rules => format!("{} rules, all at random", self.rules),
            Axis::Workers => format!("{} workers", self.workers),
            Axis::Watched if self.watched => "everybody looking".into(),
            Axis::Watched => "nobody looking".into(),
            Axis::SuperFrames | Axis::Chain => match self.path {
                Path::Frames => "single frames".into(),
                Path::PolledFrames => "single frames, NAPI thread".into(),
                Path::MergedFrames => "merged by GRO, NAPI thread".into(),
                Path::SuperFrames => "super-frames".into(),
                Path::ChainOfFrames => "2 relays, offloads off".into(),
                Path::ChainOfRuns => "2 relays, offloads on".into(),
            },
        }
    }

    /// The smallest usual MTU that the datagrams fit.
    pub(super) fn mtu(&self) -> u32 {
        if self.payload + limits::IPV4_UDP_BYTES <= 1_500 { 1_500 } else { 9_000 }
    }

    /// The rule that flow `flow` meets: all over the rule set, each flow another.
    pub(super) fn rule_of(&self, flow: usize) -> usize {
        // A prime that divides no number of rules in use visits every rule once.
        (flow + 1) * 7_919 % self.rules
    }

    /// The destination that rule `rule` waits for.
    pub(super) fn input(&self, rule: usize) -> SocketAddrV4 {
        let ports = self.ports_per_group();
        let port = FIRST_PORT + (rule % ports) as u16;
        SocketAddrV4::new(group(1, rule / ports), port)
    }

    /// Where rule `rule` sends copy `copy`. Each copy has its port, by which the sink tells it.
    pub(super) fn output(rule: usize, copy: usize) -> SocketAddrV4 {
        // Only so many groups that a switch's table, or a sink's, could hold them.
        let group = group(2, rule % limits::BENCH_OUTPUT_GROUPS);
        SocketAddrV4::new(group, Self::port_of_copy(copy))
    }

    /// Where the second relay of a chain sends what the first sent to `output(rule, 0)`.
    pub(super) fn second_output(rule: usize) -> SocketAddrV4 {
        let group = group(3, rule % limits::BENCH_OUTPUT_GROUPS);
        SocketAddrV4::new(group, Self::port_of_copy(0))
    }

    /// The port of every flow's copy `copy`.
    pub(super) fn port_of_copy(copy: usize) -> u16 {
        FIRST_PORT + copy as u16
    }

    /// The link on which rule `rule`'s input is.
    pub(super) fn link(&self, rule: usize) -> usize {
        rule % self.workers
    }

    /// Whether each datagram belongs to a flow taken at random; else the flows take turns.
    pub(super) fn at_random(&self) -> bool {
        self.flows > 100
    }

    /// Large rule sets share groups, as they do in the field: ten ports a group.
    fn ports_per_group(&self) -> usize {
        if self.rules > 1_000 { 10 } else { 1 }
    }
}

fn group(second: u8, number: usize) -> Ipv4Addr {
    Ipv4Addr::new(239, second, (number >> 8) as u8, number as u8)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_an_input_of_its_own() {
        for scenario in Axis::ALL.into_iter().flat_map(|axis| Scenario::points(axis, false)) {
            let inputs: BTreeSet<_> =
                (0..scenario.rules).map(|rule| scenario.input(rule)).collect();
            assert_eq!(inputs.len(), scenario.rules, "{scenario:?}");
            assert!(inputs.iter().all(|input| input.ip().octets()[1] == 1), "{scenario:?}");
        }
    }

    #[test]
    fn copies_differ_by_port_and_never_equal_an_input() {
        let scenario = Scenario { fan_out: 50, ..Scenario::with_flows(100) };
        let outputs: BTreeSet<_> = (0..100)
            .flat_map(|flow| (0..50).map(move |copy| Scenario::output(flow, copy)))
            .collect();
        assert_eq!(outputs.len(), 100 * 50);
        assert!((0..100).all(|flow| !outputs.contains(&scenario.input(flow))));
    }

    #[test]
    fn every_flow_meets_a_rule_of_its_own() {
        for scenario in Axis::ALL.into_iter().flat_map(|axis| Scenario::points(axis, false)) {
            let met: BTreeSet<_> = (0..scenario.flows).map(|flow| scenario.rule_of(flow)).collect();
            assert_eq!(met.len(), scenario.flows, "{scenario:?}");
        }
    }

    #[test]
    fn flows_are_spread_evenly_over_links() {
        let two = Scenario::points(Axis::Workers, false)[1];
        let on_first = (0..two.flows).filter(|flow| two.link(*flow) == 0).count();
        assert_eq!((two.workers, on_first * 2), (2, two.flows));
    }

    #[test]
    fn a_jumbo_payload_needs_a_jumbo_mtu() {
        let mtu = |payload| Scenario { payload, ..Scenario::default() }.mtu();
        assert_eq!([mtu(64), mtu(1_472), mtu(1_473), mtu(8_000)], [1_500, 1_500, 9_000, 9_000]);
    }

    #[test]
    fn a_quick_axis_is_part_of_the_full_one() {
        for axis in Axis::ALL {
            let full = Scenario::points(axis, false);
            assert!(Scenario::points(axis, true).iter().all(|point| full.contains(point)));
        }
    }
}
