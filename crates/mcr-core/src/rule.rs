//! A rule as its owner declares it, and what makes it valid by itself.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::endpoint::{Endpoint, InterfaceName, is_reserved};
use crate::limits;

/// A rule's name: unique, 1 to 64 printable bytes, not a number (numbers are ids).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName(Box<str>);

impl RuleName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuleName {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let valid = (1..=limits::NAME_BYTES).contains(&text.len())
            && !text.contains(|c: char| c.is_control() || c.is_whitespace())
            && !text.bytes().all(|b| b.is_ascii_digit());
        if valid { Ok(Self(text.into())) } else { Err(InvalidRule::Name(text.into())) }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an output's datagrams are sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputOptions {
    /// The source address; else the egress interface's primary address.
    pub source: Option<IpAddr>,
    /// The source port; else one that the kernel picks and that stays while the egress does.
    pub source_port: Option<u16>,
    /// IPv4 TTL or IPv6 hop limit, 1 to 255.
    pub ttl: u8,
    /// Differentiated services code point (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// Whether local members of an output's group receive a copy (`IP_MULTICAST_LOOP`, ip(7)).
    pub multicast_loop: bool,
}

impl Default for OutputOptions {
    /// TTL 64, because a source that leaves it at 1 is never heard behind the first router.
    fn default() -> Self {
        Self { source: None, source_port: None, ttl: 64, dscp: 0, multicast_loop: false }
    }
}

/// One destination of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Output {
    /// The destination of the datagrams.
    pub endpoint: Endpoint,
    /// How they go.
    pub options: OutputOptions,
}

impl From<Endpoint> for Output {
    fn from(endpoint: Endpoint) -> Self {
        Self { endpoint, options: OutputOptions::default() }
    }
}

/// The key of a rule's input: two rules with the same key conflict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputKey {
    /// The input.
    pub endpoint: Endpoint,
    /// The source of an (S,G) rule; `None` is any source, (\*,G).
    pub source: Option<IpAddr>,
}

impl fmt::Display for InputKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Some(source) => write!(f, "{} from {source}", self.endpoint),
            None => self.endpoint.fmt(f),
        }
    }
}

/// A rule as declared; the rule set gives it its [`RuleId`](crate::ids::RuleId).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The owner's name for it.
    pub name: Option<RuleName>,
    /// Its input.
    pub input: InputKey,
    /// Its outputs, at least one.
    pub outputs: Vec<Output>,
    /// Whether what it takes goes no further in this host's network stack: neither local listeners
    /// nor the kernel's routing see it.
    pub exclusive: bool,
}

impl Rule {
    /// Checks all that can be said of a rule without looking at others or at the network.
    pub fn check(&self) -> Result<(), InvalidRule> {
        let input = &self.input.endpoint;
        if let Some(source) = self.input.source {
            check_host(source, &input.interface)?;
            check_family(source, input.address)?;
        }
        if self.outputs.is_empty() {
            return Err(InvalidRule::NoOutput);
        }
        if self.outputs.len() > limits::OUTPUTS_PER_RULE {
            return Err(InvalidRule::TooManyOutputs(self.outputs.len()));
        }
        self.outputs.iter().try_for_each(|output| check_output(output, input))?;
        let mut endpoints: Vec<&Endpoint> = self.outputs.iter().map(|o| &o.endpoint).collect();
        endpoints.sort_unstable();
        match endpoints.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(InvalidRule::OutputTwice(pair[0].clone())),
            None => Ok(()),
        }
    }

    /// Whether the two declare the same thing; the order of the outputs says nothing.
    pub fn is_identical(&self, other: &Self) -> bool {
        let sorted = |rule: &Self| {
            let mut outputs = rule.outputs.clone();
            outputs.sort_unstable();
            outputs
        };
        self.name == other.name
            && self.input == other.input
            && self.exclusive == other.exclusive
            && sorted(self) == sorted(other)
    }

    /// Every interface that the rule names, its input's first.
    pub fn interfaces(&self) -> impl Iterator<Item = &InterfaceName> {
        let outputs = self.outputs.iter().map(|output| &output.endpoint.interface);
        std::iter::once(&self.input.endpoint.interface).chain(outputs)
    }
}

fn check_output(output: &Output, input: &Endpoint) -> Result<(), InvalidRule> {
    let Output { endpoint, options } = output;
    if endpoint == input {
        return Err(InvalidRule::OutputIsInput(endpoint.clone()));
    }
    if let Some(source) = options.source {
        check_host(source, &endpoint.interface)?;
        check_family(source, endpoint.address)?;
    }
    if options.source_port == Some(0) {
        return Err(InvalidRule::SourcePort(endpoint.socket_address()));
    }
    if options.ttl == 0 {
        return Err(InvalidRule::Ttl(endpoint.socket_address()));
    }
    if options.dscp > 63 {
        return Err(InvalidRule::Dscp(options.dscp));
    }
    Ok(())
}

fn check_host(source: IpAddr, interface: &InterfaceName) -> Result<(), InvalidRule> {
    let reserved = matches!(source, IpAddr::V4(v4) if is_reserved(v4));
    if source.is_multicast() || source.is_unspecified() || reserved {
        return Err(InvalidRule::SourceNotHost(source));
    }
    // The kernel refuses it at each send, and other hosts drop it as a martian.
    if source.is_loopback() && interface.as_str() != LOOPBACK {
        return Err(InvalidRule::LoopbackSource { source_address: source, on: interface.clone() });
    }
    Ok(())
}

/// The loopback interface's name, which the kernel gives it in each network namespace.
const LOOPBACK: &str = "lo";

fn check_family(source: IpAddr, address: IpAddr) -> Result<(), InvalidRule> {
    if source.is_ipv4() == address.is_ipv4() {
        Ok(())
    } else {
        Err(InvalidRule::Family { source_address: source, address })
    }
}

/// Why a rule is refused for what it says itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// The name is empty, too long, a number, or holds white space.
    #[error("{0:?} is no rule name: 1 to 64 characters without space, and not only digits")]
    Name(String),
    /// No output.
    #[error("a rule needs at least one output")]
    NoOutput,
    /// More outputs than [`limits::OUTPUTS_PER_RULE`].
    #[error("{0} outputs: a rule may have at most {max}", max = limits::OUTPUTS_PER_RULE)]
    TooManyOutputs(usize),
    /// An output stands twice.
    #[error("output {0} is given twice: it would get each datagram twice")]
    OutputTwice(Endpoint),
    /// An output is the input.
    #[error("output {0} is the rule's own input: its datagrams would circle")]
    OutputIsInput(Endpoint),
    /// A source that is no single host's address.
    #[error("source {0} is not the address of one host")]
    SourceNotHost(IpAddr),
    /// A loopback address on a network interface.
    #[error("source {source_address} on {on}: a loopback address never leaves its host")]
    LoopbackSource {
        /// The source given.
        source_address: IpAddr,
        /// The interface.
        on: InterfaceName,
    },
    /// A source of the other address family.
    #[error("source {source_address} and address {address} are not of the same family")]
    Family {
        /// The source given.
        source_address: IpAddr,
        /// The address that it goes with.
        address: IpAddr,
    },
    /// Source port 0.
    #[error("source port 0 for output {0}: leave it out to let the kernel pick one")]
    SourcePort(SocketAddr),
    /// TTL 0.
    #[error("TTL 0 for output {0}: its datagrams would not leave the host")]
    Ttl(SocketAddr),
    /// A DSCP of more than six bits.
    #[error("DSCP {0}: it has six bits, 0 to 63")]
    Dscp(u8),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(input: &str, outputs: &[&str]) -> Rule {
        Rule {
            name: None,
            input: InputKey { endpoint: input.parse().unwrap(), source: None },
            outputs: outputs.iter().map(|o| o.parse::<Endpoint>().unwrap().into()).collect(),
            exclusive: false,
        }
    }

    #[test]
    fn a_plain_rule_is_valid() {
        let rule = rule("239.1.1.1:5000@eth0", &["239.2.2.2:6000@eth1", "10.9.0.4:7000@eth2"]);
        assert_eq!(rule.check(), Ok(()));
        assert_eq!(rule.interfaces().count(), 3);
    }

    #[test]
    fn outputs_are_checked() {
        let input = "239.1.1.1:5000@eth0";
        assert_eq!(rule(input, &[]).check(), Err(InvalidRule::NoOutput));
        let twice = rule(input, &["10.0.0.1:1@eth1", "10.0.0.2:1@eth1", "10.0.0.1:1@eth1"]);
        assert!(matches!(twice.check(), Err(InvalidRule::OutputTwice(_))));
        assert!(matches!(rule(input, &[input]).check(), Err(InvalidRule::OutputIsInput(_))));
        let mut many = rule(input, &["10.0.0.1:1@eth1"]);
        many.outputs = (1..=1025)
            .map(|port| format!("10.0.0.1:{port}@eth1").parse::<Endpoint>().unwrap().into())
            .collect();
        assert_eq!(many.check(), Err(InvalidRule::TooManyOutputs(1025)));
    }

    #[test]
    fn options_are_checked() {
        let with = |change: fn(&mut OutputOptions)| {
            let mut rule = rule("239.1.1.1:5000@eth0", &["239.2.2.2:6000@eth1"]);
            change(&mut rule.outputs[0].options);
            rule.check()
        };
        assert!(matches!(with(|o| o.ttl = 0), Err(InvalidRule::Ttl(_))));
        assert!(matches!(with(|o| o.dscp = 64), Err(InvalidRule::Dscp(64))));
        assert!(matches!(with(|o| o.source_port = Some(0)), Err(InvalidRule::SourcePort(_))));
        for source in ["0.1.2.3", "239.1.1.1", "240.0.0.1", "255.255.255.255"] {
            let mut rule = rule("239.1.1.1:5000@eth0", &["239.2.2.2:6000@eth1"]);
            rule.outputs[0].options.source = Some(source.parse().unwrap());
            assert!(matches!(rule.check(), Err(InvalidRule::SourceNotHost(_))), "{source}");
        }
        let local = with(|o| o.source = Some([127, 0, 0, 1].into()));
        assert!(matches!(local, Err(InvalidRule::LoopbackSource { .. })));
        let v6 = with(|o| o.source = Some("fd00::1".parse().unwrap()));
        assert!(matches!(v6, Err(InvalidRule::Family { .. })));
        let group = with(|o| o.source = Some("239.0.0.1".parse().unwrap()));
        assert!(matches!(group, Err(InvalidRule::SourceNotHost(_))));
    }

    #[test]
    fn order_of_outputs_says_nothing() {
        let one = rule("239.1.1.1:5000@eth0", &["10.0.0.1:1@eth1", "10.0.0.2:1@eth1"]);
        let other = rule("239.1.1.1:5000@eth0", &["10.0.0.2:1@eth1", "10.0.0.1:1@eth1"]);
        assert!(one.is_identical(&other));
        assert!(!one.is_identical(&rule("239.1.1.1:5000@eth0", &["10.0.0.1:1@eth1"])));
    }

    #[test]
    fn an_exclusive_rule_is_another() {
        let shared = rule("239.1.1.1:5000@eth0", &["10.0.0.1:1@eth1"]);
        let exclusive = Rule { exclusive: true, ..shared.clone() };
        assert!(!shared.is_identical(&exclusive) && !exclusive.is_identical(&shared));
        assert!(exclusive.is_identical(&exclusive.clone()));
    }

    #[test]
    fn a_number_is_no_name() {
        assert!("17".parse::<RuleName>().is_err());
        assert!("".parse::<RuleName>().is_err());
        assert!("a b".parse::<RuleName>().is_err());
        assert_eq!("cam-17".parse::<RuleName>().unwrap().as_str(), "cam-17");
    }
}
