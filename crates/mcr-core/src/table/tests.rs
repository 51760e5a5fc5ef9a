use proptest::prelude::*;

use super::*;

fn key(ifindex: u32, address: &str, port: u16) -> RouteKey {
    RouteKey { ifindex: IfIndex(ifindex), address: address.parse().unwrap(), port }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_source_is_more_specific_than_none() {
    for (group, source, other) in
        [("239.1.1.1", "10.0.0.7", "10.0.0.8"), ("ff3e::1234", "fd00::7", "fd00::8")]
    {
        let mut table = ForwardingTable::with_capacity(4);
        let key = key(2, group, 5000);
        table.insert(key, Some(ip(source)), RuleSlot(1));
        assert_eq!(table.lookup(&key, ip(source)), Some(RuleSlot(1)));
        assert_eq!(table.lookup(&key, ip(other)), None);
        table.insert(key, None, RuleSlot(2));
        assert_eq!(table.lookup(&key, ip(source)), Some(RuleSlot(1)));
        assert_eq!(table.lookup(&key, ip(other)), Some(RuleSlot(2)));
        assert_eq!(table.len(), 2);
        assert_eq!(table.remove(&key, Some(ip(source))), Some(RuleSlot(1)));
        assert_eq!(table.lookup(&key, ip(source)), Some(RuleSlot(2)));
        assert_eq!(table.remove(&key, Some(ip(source))), None);
        assert_eq!(table.remove(&key, None), Some(RuleSlot(2)));
        assert!(table.is_empty());
    }
}

#[test]
fn a_slot_is_replaced_and_handed_back() {
    let mut table = ForwardingTable::with_capacity(4);
    let key = key(2, "239.1.1.1", 5000);
    let source = Some(ip("10.0.0.7"));
    assert_eq!(table.insert(key, source, RuleSlot(1)), None);
    assert_eq!(table.insert(key, source, RuleSlot(2)), Some(RuleSlot(1)));
    assert_eq!(table.remove(&key, source), Some(RuleSlot(2)));
    assert_eq!(table.lookup(&key, ip("10.0.0.7")), None);
}

#[test]
fn families_do_not_mix() {
    let mut table = ForwardingTable::with_capacity(4);
    let key = key(2, "239.1.1.1", 5000);
    assert_eq!(table.insert(key, Some(ip("fd00::7")), RuleSlot(1)), None);
    assert!(table.is_empty());
    table.insert(key, None, RuleSlot(1));
    assert_eq!(table.lookup(&key, ip("fd00::7")), None);
}

const NEAR: Egress = Egress { ifindex: IfIndex(5), hardware: Some([2, 0, 0, 0, 0, 5]) };

fn own(address: &str) -> OwnSocket {
    OwnSocket { address: address.parse().unwrap(), egress: NEAR }
}

fn arrival(ifindex: u32, last: Option<u8>) -> Arrival {
    Arrival { ifindex: IfIndex(ifindex), sender: last.map(|last| [2, 0, 0, 0, 0, last]) }
}

#[test]
fn own_sockets_are_counted() {
    let mut table = ForwardingTable::with_capacity(4);
    let own = own("10.0.0.1:40000");
    let other = OwnSocket { egress: Egress { ifindex: IfIndex(6), hardware: None }, ..own };
    let is_own =
        |table: &ForwardingTable, port| table.is_own(own.address.ip(), port, arrival(5, Some(9)));
    table.remove_own(own);
    assert!(!is_own(&table, 40000));
    table.insert_own(own);
    table.insert_own(own);
    table.insert_own(other);
    table.remove_own(own);
    assert!(is_own(&table, 40000));
    assert!(!is_own(&table, 40001));
    table.remove_own(own);
    assert!(!is_own(&table, 40000), "the other interface's");
    table.remove_own(other);
    assert!(table.own.is_empty());
}

/// The same address and port on another network are another host's.
#[test]
fn own_sockets_are_told_by_interface_or_hardware_address() {
    let mut table = ForwardingTable::with_capacity(4);
    table.insert_own(own("10.0.0.1:5353"));
    let is_own = |arrival| table.is_own(ip("10.0.0.1"), 5353, arrival);
    assert!(is_own(arrival(5, Some(9))), "reflected on its interface");
    assert!(is_own(arrival(6, Some(5))), "another interface of the same link");
    assert!(!is_own(arrival(6, Some(9))), "another network");
    assert!(is_own(arrival(6, None)), "a link that cannot tell");
}

/// The scope that a link-local socket address carries stands in no packet.
#[test]
fn own_addresses_are_told_without_their_scope() {
    let mut table = ForwardingTable::with_capacity(4);
    table.insert_own(own("[fe80::1%3]:40000"));
    assert!(table.is_own(ip("fe80::1"), 40000, arrival(5, Some(9))));
}

/// What the documented room was reckoned with.
#[test]
fn matches_are_small() {
    assert_eq!(size_of::<(FamilyMatch<Ipv4Addr>, RuleSlot)>(), 20);
    assert_eq!(size_of::<(FamilyMatch<Ipv6Addr>, RuleSlot)>(), 44);
}

/// A table that grows has more room than before; one about to sweep has no more than its rules.
#[test]
fn a_full_table_does_not_move_its_entries() {
    let mut table = ForwardingTable::new();
    let room = table.v4.by_match.capacity();
    let source = Some(ip("10.0.0.7"));
    let nth = |n: usize| {
        let address = Ipv4Addr::from_bits(0xef00_0000 | (n as u32 & 0xffff));
        RouteKey { ifindex: IfIndex(2), address: address.into(), port: (n >> 16) as u16 + 1 }
    };
    for n in 0..limits::RULES {
        table.insert(nth(n), source, RuleSlot(n as u32));
    }
    for n in 0..limits::RULES {
        let slot = table.remove(&nth(n), source);
        assert_eq!(slot, Some(RuleSlot(n as u32)));
        table.insert(nth(n + limits::RULES), source, RuleSlot(n as u32));
        let left = table.v4.by_match.capacity();
        assert!(left <= room && left > 2 * limits::RULES);
    }
    assert_eq!(table.len(), limits::RULES);
}

/// One change of a table, over few enough values that they meet.
#[derive(Clone, Debug)]
enum Change {
    Insert(RouteKey, Option<IpAddr>, RuleSlot),
    Remove(RouteKey, Option<IpAddr>),
}

fn small_address(ipv6: bool, number: u8) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(239, 0, 0, number).into()
    }
}

fn any_key() -> impl Strategy<Value = (RouteKey, IpAddr)> {
    (1..3_u32, any::<bool>(), 0..3_u8, 1..3_u16, 0..3_u8).prop_map(
        |(ifindex, ipv6, group, port, source)| {
            let key =
                RouteKey { ifindex: IfIndex(ifindex), address: small_address(ipv6, group), port };
            (key, small_address(ipv6, source))
        },
    )
}

fn any_change() -> impl Strategy<Value = Change> {
    (any_key(), any::<bool>(), any::<bool>(), 0..100_u32).prop_map(
        |((key, source), with_source, insert, slot)| {
            let source = with_source.then_some(source);
            if insert {
                Change::Insert(key, source, RuleSlot(slot))
            } else {
                Change::Remove(key, source)
            }
        },
    )
}

/// The rules in a row, and a look at each.
#[derive(Default)]
struct Naive(Vec<(RouteKey, Option<IpAddr>, RuleSlot)>);

impl Naive {
    fn remove(&mut self, key: &RouteKey, source: Option<IpAddr>) -> Option<RuleSlot> {
        let place = self.0.iter().position(|r| r.0 == *key && r.1 == source)?;
        Some(self.0.remove(place).2)
    }

    fn lookup(&self, key: &RouteKey, source: IpAddr) -> Option<RuleSlot> {
        let find = |wanted| self.0.iter().find(|r| r.0 == *key && r.1 == wanted);
        find(Some(source)).or_else(|| find(None)).map(|r| r.2)
    }
}

proptest! {
    #[test]
    fn equals_a_scan_of_the_rules(
        changes in prop::collection::vec(any_change(), 0..60),
        looks in prop::collection::vec(any_key(), 1..60),
    ) {
        let mut table = ForwardingTable::with_capacity(4);
        let mut naive = Naive::default();
        for change in changes {
            match change {
                Change::Insert(key, source, slot) => {
                    let replaced = naive.remove(&key, source);
                    naive.0.push((key, source, slot));
                    prop_assert_eq!(table.insert(key, source, slot), replaced);
                }
                Change::Remove(key, source) => {
                    prop_assert_eq!(table.remove(&key, source), naive.remove(&key, source));
                }
            }
            prop_assert_eq!(table.len(), naive.0.len());
        }
        for (key, source) in looks {
            prop_assert_eq!(table.lookup(&key, source), naive.lookup(&key, source));
        }
    }
}
