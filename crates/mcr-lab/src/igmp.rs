//! Multicast memberships as the kernel shows them in `/proc/net`, and a querier's question for
//! them.

mod query;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Result;

use crate::link;
use crate::namespace::Namespace;
use crate::wait;

pub use query::{general_query_v4, general_query_v6};

/// One group that an interface listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Index of the interface.
    pub ifindex: u32,
    /// The group.
    pub group: IpAddr,
    /// Sockets that joined it.
    pub users: u32,
}

/// One source that sockets included or excluded on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFilter {
    /// Index of the interface.
    pub ifindex: u32,
    /// The group.
    pub group: IpAddr,
    /// The source.
    pub source: IpAddr,
    /// Sockets that want the source.
    pub included: u32,
    /// Sockets that want every source but this.
    pub excluded: u32,
}

/// Every membership in the namespace, IPv4 and IPv6.
pub fn memberships(namespace: &Namespace) -> Result<Vec<Membership>> {
    let mut all = parse_igmp(&namespace.read_proc_net("igmp")?);
    // Without IPv6 in the kernel there is no such file, and no IPv6 membership.
    all.extend(parse_igmp6(&namespace.read_proc_net("igmp6").unwrap_or_default()));
    Ok(all)
}

/// Every source filter in the namespace, IPv4 and IPv6.
pub fn source_filters(namespace: &Namespace) -> Result<Vec<SourceFilter>> {
    let mut all = parse_mcfilter(&namespace.read_proc_net("mcfilter")?);
    all.extend(parse_mcfilter6(&namespace.read_proc_net("mcfilter6").unwrap_or_default()));
    Ok(all)
}

/// Whether the interface listens to the group.
pub fn is_member(namespace: &Namespace, ifname: &str, group: IpAddr) -> Result<bool> {
    let ifindex = link::ifindex(namespace, ifname)?;
    Ok(memberships(namespace)?.iter().any(|m| m.ifindex == ifindex && m.group == group))
}

/// Waits until the interface listens to the group.
pub fn wait_for_member(
    namespace: &Namespace,
    ifname: &str,
    group: IpAddr,
    timeout: Duration,
) -> Result<()> {
    let what = format!("{}: {ifname} joins {group}", namespace.label());
    wait::until(&what, timeout, || is_member(namespace, ifname, group))
}

/// `/proc/net/igmp`: a line per interface, below it an indented line per group.
fn parse_igmp(text: &str) -> Vec<Membership> {
    let mut ifindex = 0;
    let mut found = Vec::new();
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if !line.starts_with(char::is_whitespace) {
            ifindex = first.parse().unwrap_or_default();
            continue;
        }
        let (Ok(group), Some(users)) = (u32::from_str_radix(first, 16), words.next()) else {
            continue;
        };
        // The kernel prints the network-order word as if it were a number of this machine.
        let group = IpAddr::V4(Ipv4Addr::from(group.to_ne_bytes()));
        found.push(Membership { ifindex, group, users: users.parse().unwrap_or_default() });
    }
    found
}

/// `/proc/net/igmp6`: index, device, group, users, flags, timer.
fn parse_igmp6(text: &str) -> Vec<Membership> {
    text.lines()
        .filter_map(|line| {
            let word: Vec<&str> = line.split_whitespace().collect();
            Some(Membership {
                ifindex: word.first()?.parse().ok()?,
                group: hex_ipv6(word.get(2)?)?,
                users: word.get(3)?.parse().ok()?,
            })
        })
        .collect()
}

/// `/proc/net/mcfilter`: index, device (cut to six letters), group, source, includes, excludes.
fn parse_mcfilter(text: &str) -> Vec<SourceFilter> {
    parse_filters(text, |word| {
        let number = u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()?;
        Some(IpAddr::V4(Ipv4Addr::from(number)))
    })
}

/// `/proc/net/mcfilter6`: as `mcfilter`, with IPv6 addresses as 32 hexadecimal digits.
fn parse_mcfilter6(text: &str) -> Vec<SourceFilter> {
    parse_filters(text, hex_ipv6)
}

fn parse_filters(text: &str, address: impl Fn(&str) -> Option<IpAddr>) -> Vec<SourceFilter> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let word: Vec<&str> = line.split_whitespace().collect();
            Some(SourceFilter {
                ifindex: word.first()?.parse().ok()?,
                group: address(word.get(2)?)?,
                source: address(word.get(3)?)?,
                included: word.get(4)?.parse().ok()?,
                excluded: word.get(5)?.parse().ok()?,
            })
        })
        .collect()
}

fn hex_ipv6(word: &str) -> Option<IpAddr> {
    (word.len() == 32)
        .then(|| u128::from_str_radix(word, 16).ok())
        .flatten()
        .map(|number| IpAddr::V6(Ipv6Addr::from(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn igmp_lists_groups_below_their_interface() {
        let text = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
            1\tlo        :     1      V3\n\
            \t\t\t\t010000E0     1 0:00000000\t\t0\n\
            7\tin0       :     2      V3\n\
            \t\t\t\t010101EF     2 0:00000000\t\t0\n\
            \t\t\t\t010000E0     1 0:00000000\t\t0\n";
        // The word is printed in this machine's byte order.
        let text = if cfg!(target_endian = "big") {
            text.replace("010101EF", "EF010101").replace("010000E0", "E0000001")
        } else {
            text.into()
        };
        let found = parse_igmp(&text);
        assert_eq!(found.len(), 3);
        let expected = Membership { ifindex: 7, group: [239, 1, 1, 1].into(), users: 2 };
        assert_eq!(found[1], expected);
    }

    #[test]
    fn igmp6_is_a_table() {
        let text = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n\
            7    in0             ff3e0000000000000000000000001234     1 00000004 0\n";
        let expected = Membership { ifindex: 7, group: "ff3e::1234".parse().unwrap(), users: 1 };
        assert_eq!(parse_igmp6(text)[1], expected);
    }

    #[test]
    fn source_filters_are_tables() {
        let text = "Idx Device        MCA        SRC    INC    EXC\n  \
            7    in0 0xe8010101 0xc633640a      1      0\n";
        let expected = SourceFilter {
            ifindex: 7,
            group: [232, 1, 1, 1].into(),
            source: [198, 51, 100, 10].into(),
            included: 1,
            excluded: 0,
        };
        assert_eq!(parse_mcfilter(text), [expected]);
        let text = "Idx Device                Multicast Address                   Source \
            Address    INC    EXC\n  7    in0 ff3e0000000000000000000000001234 \
            20010db8005100000000000000000010      1      0\n";
        let source: IpAddr = "2001:db8:51::10".parse().unwrap();
        assert_eq!(parse_mcfilter6(text)[0].source, source);
    }
}
