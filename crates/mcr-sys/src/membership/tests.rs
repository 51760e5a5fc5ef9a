use super::*;
use crate::test_namespace::{ifindex, proc_net, with_veth_pair};
use mcr_lab::link;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Ten thousand joins take well under a second here; slow test machines get thirty.
const TEN_THOUSAND_WITHIN: Duration = Duration::from_secs(30);

/// An interface that carries multicast, in a namespace of the test's own.
fn with_interface(body: impl FnOnce(u32) + Send) {
    with_veth_pair(|_| body(ifindex("va")));
}

fn group_v4(i: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xef01_0000 + i).into()
}

fn group_v6(i: u32) -> IpAddr {
    Ipv6Addr::from_bits(0xff3e_0000_0000_0000_0000_0000_8000_0000 + u128::from(i)).into()
}

/// The lines of a `/proc/net` file in which the kernel tells of groups of these tests.
fn lines_with(file: &str, needle: &str) -> usize {
    proc_net(file).lines().filter(|line| line.contains(needle)).count()
}

fn ten_thousand(group: fn(u32) -> IpAddr, file: &str, needle: &str) {
    with_interface(|ifindex| {
        let mut pool = MembershipPool::new();
        let started = Instant::now();
        for i in 0..10_000 {
            pool.join(Membership { ifindex, group: group(i), source: None }).unwrap();
        }
        assert!(started.elapsed() < TEN_THOUSAND_WITHIN, "{:?}", started.elapsed());
        assert_eq!(lines_with(file, needle), 10_000);
        for i in 0..9_999 {
            pool.leave(&Membership { ifindex, group: group(i), source: None });
        }
        assert_eq!(lines_with(file, needle), 1);
        assert_eq!((pool.len(), pool.socket_count()), (1, 1));
        drop(pool);
        assert_eq!(lines_with(file, needle), 0);
    });
}

#[test]
fn ten_thousand_ipv4_groups_at_default_limits() {
    // /proc/net/igmp shows the group in network order as a little-endian number: 239.1 ends it.
    crate::process::raise_descriptor_limit().unwrap();
    ten_thousand(group_v4, "igmp", "01EF ");
}

#[test]
fn ten_thousand_ipv6_groups_at_default_limits() {
    crate::process::raise_descriptor_limit().unwrap();
    ten_thousand(group_v6, "igmp6", "ff3e00000000000000000000800");
}

#[test]
fn more_sources_than_one_socket_may_filter() {
    with_interface(|ifindex| {
        let mut pool = MembershipPool::new();
        let membership = |i: u32| Membership {
            ifindex,
            group: "232.1.1.1".parse().unwrap(),
            source: Some(Ipv4Addr::from_bits(0x0a00_0001 + i).into()),
        };
        for i in 0..35 {
            pool.join(membership(i)).unwrap();
        }
        assert_eq!(lines_with("mcfilter", "0xe8010101"), 35);
        for i in 0..35 {
            pool.leave(&membership(i));
        }
        assert_eq!(lines_with("mcfilter", "0xe8010101"), 0);
        assert_eq!(pool.socket_count(), 0);
    });
}

#[test]
fn any_source_and_one_source_of_the_same_group() {
    with_interface(|ifindex| {
        let mut pool = MembershipPool::new();
        for (group, source) in [("232.1.1.1", "10.0.0.1"), ("ff3e::8000:1", "2001:db8::1")] {
            let group: IpAddr = group.parse().unwrap();
            let any = Membership { ifindex, group, source: None };
            let one = Membership { source: Some(source.parse().unwrap()), ..any };
            for membership in [any, one, any, one] {
                pool.join(membership).unwrap();
            }
            pool.leave(&any);
            pool.join(any).unwrap();
        }
        assert_eq!(pool.len(), 4);
    });
}

#[test]
fn memberships_of_a_gone_interface_leave_no_place_taken() {
    with_veth_pair(|namespace| {
        let gone = ifindex("va");
        let mut pool = MembershipPool::new();
        let group: IpAddr = "232.1.1.1".parse().unwrap();
        let source = Some("10.0.0.1".parse().unwrap());
        let on = |ifindex| Membership { ifindex, group, source };
        pool.join(on(gone)).unwrap();
        pool.join(on(ifindex("vb"))).unwrap_or_else(|error| panic!("{error}"));
        link::delete_link(namespace, "va").unwrap();
        link::veth_pair_with_index(gone, (namespace, "va"), (namespace, "vb")).unwrap();
        link::set_up(namespace, "va").unwrap();
        assert_eq!(ifindex("va"), gone);
        pool.leave(&on(gone));
        pool.join(on(gone)).unwrap();
        assert_eq!(lines_with("mcfilter", "0xe8010101"), 1);
    });
}

#[test]
fn what_the_kernel_refuses_is_named_and_not_held() {
    with_interface(|ifindex| {
        let mut pool = MembershipPool::new();
        let group = "239.1.2.3".parse().unwrap();
        let absent = Membership { ifindex: 12_345, group, source: None };
        let message = pool.join(absent).unwrap_err().to_string();
        assert!(message.contains("239.1.2.3") && message.contains("12345"), "{message}");
        let unicast = Membership { ifindex, group: "10.1.2.3".parse().unwrap(), source: None };
        assert!(pool.join(unicast).is_err());
        let mixed = Membership { ifindex, group, source: Some("::1".parse().unwrap()) };
        assert!(pool.join(mixed).is_err());
        assert!(pool.is_empty());
        assert_eq!(pool.socket_count(), 0);
    });
}
