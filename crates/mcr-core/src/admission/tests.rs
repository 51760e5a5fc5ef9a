use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn wanted(destinations: &[(IpAddr, u16)]) -> WantedDestinations {
    let mut wanted = WantedDestinations::default();
    for &(address, port) in destinations {
        wanted.insert(address, port);
    }
    wanted
}

fn v4(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}

fn interval(first: u32, last: u32, ports: &[u16]) -> Interval {
    Interval { first, last, ports: ports.to_vec() }
}

#[test]
fn nothing_wanted_admits_nothing() {
    let admission = WantedDestinations::default().intervals();
    assert_eq!(admission, Admission::default());
    assert!(!admission.admits(v4(0xef01_0101), 5000));
    assert!(!admission.admits("::".parse().unwrap(), 5000));
}

#[test]
fn few_destinations_are_told_apart() {
    let group: IpAddr = "239.1.1.1".parse().unwrap();
    let group6: IpAddr = "ff3e::1:2".parse().unwrap();
    let wanted = wanted(&[(group, 7), (group, 5), (group6, 9)]);
    let admission = wanted.intervals();
    assert_eq!(admission.v4, [interval(0xef01_0101, 0xef01_0101, &[5, 7])]);
    assert_eq!(admission.v6, [interval(0x0001_0002, 0x0001_0002, &[9])]);
}

#[test]
fn many_ports_of_one_address_are_any_port() {
    let address = v4(0xef01_0101);
    let ports = |count: u16| {
        let destinations: Vec<_> = (1..=count).map(|port| (address, port)).collect();
        wanted(&destinations).intervals().v4
    };
    let key = 0xef01_0101;
    assert_eq!(ports(4), [interval(key, key, &[1, 2, 3, 4])]);
    assert_eq!(ports(5), [interval(key, key, &[])]);
}

#[test]
fn ipv6_addresses_alike_in_their_low_bits_share_an_interval() {
    let one: IpAddr = "ff3e::1:2".parse().unwrap();
    let other: IpAddr = "ff05::1:2".parse().unwrap();
    let wanted = wanted(&[(one, 5), (other, 5), (other, 6)]);
    assert_eq!(wanted.intervals().v6, [interval(0x0001_0002, 0x0001_0002, &[5, 6])]);
}

#[test]
fn a_destination_stays_while_one_rule_wants_it() {
    let address = v4(0xef01_0101);
    let mut wanted = WantedDestinations::default();
    assert!(!wanted.remove(address, 5000));
    assert!(wanted.insert(address, 5000));
    assert!(!wanted.insert(address, 5000));
    assert!(!wanted.remove(address, 5000));
    assert!(wanted.intervals().admits(address, 5000));
    assert!(wanted.remove(address, 5000));
    assert!(!wanted.intervals().admits(address, 5000));
}

/// Two runs of groups, one interval too many: the gap that closes is the smallest.
#[test]
fn the_smallest_gap_closes_first() {
    let mut keys: Vec<u32> = (0..256).map(|n| 0xef00_0000 + n * 16).collect();
    keys.push(keys[100] + 3);
    let destinations: Vec<_> = keys.iter().map(|key| (v4(*key), 5000)).collect();
    let intervals = wanted(&destinations).intervals().v4;
    assert_eq!(intervals.len(), limits::FILTER_INTERVALS);
    assert_eq!(intervals[100], interval(keys[100], keys[100] + 3, &[]));
    assert_eq!(intervals[99], interval(keys[99], keys[99], &[5000]));
    assert_eq!(intervals[255], interval(keys[255], keys[255], &[5000]));
}

fn any_destination() -> impl Strategy<Value = (IpAddr, u16)> {
    let bits = prop_oneof![0xef00_0000..0xef00_0800_u32, any::<u32>()];
    (bits, any::<bool>(), any::<bool>(), 1..8_u16).prop_map(|(bits, ipv6, wide, port)| {
        let prefix: u128 = if wide { 0xff3e << 112 } else { 0xff05 << 112 };
        let address =
            if ipv6 { Ipv6Addr::from_bits(prefix | u128::from(bits)).into() } else { v4(bits) };
        (address, port)
    })
}

fn is_sound(intervals: &[Interval]) -> bool {
    intervals.len() <= limits::FILTER_INTERVALS
        && intervals.iter().all(|i| i.first <= i.last)
        && intervals.windows(2).all(|pair| pair[0].last < pair[1].first)
        && intervals.iter().all(|i| {
            i.ports.is_empty() || (i.first == i.last && i.ports.len() <= limits::FILTER_PORTS)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_admits_less_than_wanted(
        added in prop::collection::vec(any_destination(), 0..1500),
        removed in 0..100_usize,
    ) {
        let mut wanted = wanted(&added);
        let removed = removed.min(added.len());
        for &(address, port) in &added[..removed] {
            wanted.remove(address, port);
        }
        let admission = wanted.intervals();
        for &(address, port) in &added[removed..] {
            prop_assert!(admission.admits(address, port));
        }
        prop_assert!(is_sound(&admission.v4));
        prop_assert!(is_sound(&admission.v6));
    }

    #[test]
    fn admits_no_more_than_wanted_when_few(
        added in prop::collection::vec((0..60_u32, 1..4_u16), 0..100),
        asked in prop::collection::vec((0..60_u32, 1..4_u16), 0..100),
    ) {
        let address = |bits: u32| v4(0xef00_0000 + bits);
        let destinations: Vec<_> = added.iter().map(|(bits, p)| (address(*bits), *p)).collect();
        let admission = wanted(&destinations).intervals();
        let added: HashSet<_> = added.into_iter().collect();
        for (bits, port) in asked {
            prop_assert_eq!(
                admission.admits(address(bits), port),
                added.contains(&(bits, port))
            );
        }
    }
}
