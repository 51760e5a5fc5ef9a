use super::*;
use crate::test_namespace::{ifindex, in_own_namespace, proc_net, wait_until, with_veth_pair};
use mcr_lab::address::add_address;
use std::net::UdpSocket;
use std::time::Duration;

fn options(ifname: &str, source: &str) -> EgressOptions {
    EgressOptions {
        ifindex: ifindex(ifname),
        ifname: ifname.to_owned(),
        source: source.parse().unwrap(),
        ttl: 17,
        dscp: 46,
        multicast_loop: true,
        send_buffer_bytes: 4 * 1024 * 1024,
    }
}

/// A veth pair with addresses on one end, set up without waiting for duplicate detection.
fn with_interface(body: impl FnOnce() + Send) {
    with_veth_pair(|namespace| {
        for (address, prefix_length) in [("10.9.0.1", 24), ("fd09::1", 64), ("fe80::9", 64)] {
            add_address(namespace, "va", address.parse().unwrap(), prefix_length).unwrap();
        }
        wait_until("ff00::/8 is routed to va", || has_ipv6_multicast_route("va"));
        body();
    });
}

/// The kernel adds `ff00::/8` when it has noticed that the link has a carrier.
fn has_ipv6_multicast_route(ifname: &str) -> bool {
    proc_net("ipv6_route").lines().any(|r| r.starts_with("ff000000") && r.ends_with(ifname))
}

fn send(socket: &EgressSocket, to: &str, payload: &[u8]) {
    let to: SocketAddr = to.parse().unwrap();
    assert_eq!(socket.socket.send_to(payload, &to.into()).unwrap(), payload.len());
}

#[test]
fn multicast_leaves_with_source_ttl_and_dscp() {
    with_interface(|| {
        let egress = EgressSocket::open(&options("va", "10.9.0.1:5004")).unwrap();
        let receiver = UdpSocket::bind("239.9.9.9:6000").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let receiver = Socket::from(receiver);
        let group = "239.9.9.9".parse().unwrap();
        let a = socket2::InterfaceIndexOrAddress::Index(ifindex("va"));
        receiver.join_multicast_v4_n(&group, &a).unwrap();
        send(&egress, "239.9.9.9:6000", b"payload");
        let receiver = UdpSocket::from(receiver);
        let (length, from) = receiver.recv_from(&mut [0; 16]).unwrap();
        assert_eq!((length, from), (7, "10.9.0.1:5004".parse().unwrap()));
        assert_eq!(egress.socket.multicast_ttl_v4().unwrap(), 17);
        assert_eq!(egress.socket.ttl_v4().unwrap(), 17);
        assert_eq!(egress.socket.tos_v4().unwrap(), 46 << 2);
    });
}

#[test]
fn workers_share_a_port_that_the_kernel_picked() {
    with_interface(|| {
        let first = EgressSocket::open(&options("va", "10.9.0.1:0")).unwrap();
        let port = first.local_addr().port();
        assert_ne!(port, 0);
        let second = EgressSocket::open(&options("va", &format!("10.9.0.1:{port}"))).unwrap();
        assert_eq!(second.local_addr(), first.local_addr());
    });
}

#[test]
fn ipv6_sources_global_and_link_local() {
    with_interface(|| {
        for source in ["[fd09::1]:5004", "[fe80::9]:5004"] {
            let egress = EgressSocket::open(&options("va", source)).unwrap();
            assert_eq!(egress.local_addr().port(), 5004);
            assert_eq!(egress.socket.tclass_v6().unwrap(), 46 << 2);
            assert_eq!(egress.socket.multicast_hops_v6().unwrap(), 17);
            assert_eq!(egress.socket.unicast_hops_v6().unwrap(), 17);
            send(&egress, "[ff3e::8000:1]:6000", b"payload");
        }
    });
}

#[test]
fn datagrams_above_the_mtu_are_fragmented() {
    with_interface(|| {
        let four = EgressSocket::open(&options("va", "10.9.0.1:5004")).unwrap();
        let six = EgressSocket::open(&options("va", "[fd09::1]:5004")).unwrap();
        send(&four, "239.9.9.9:6000", &[7; 4000]);
        send(&six, "[ff3e::8000:1]:6000", &[7; 4000]);
    });
}

#[test]
fn a_dead_host_does_not_fail_the_next_send() {
    in_own_namespace(|| {
        let egress = EgressSocket::open(&options("lo", "127.0.0.1:5004")).unwrap();
        for _ in 0..3 {
            send(&egress, "127.0.0.1:9", b"nobody listens");
        }
    });
}

#[test]
fn what_arrives_at_an_egress_port_is_not_queued() {
    in_own_namespace(|| {
        let egress = EgressSocket::open(&options("lo", "127.0.0.1:5004")).unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.send_to(b"unwanted", egress.local_addr()).unwrap();
        let error = egress.socket.peek_sender().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn a_source_that_is_not_ours_is_named() {
    with_interface(|| {
        let message = EgressSocket::open(&options("va", "192.0.2.7:5004")).unwrap_err().to_string();
        assert!(message.contains("192.0.2.7:5004 on va"), "{message}");
        assert!(message.contains("not configured on this host"), "{message}");
    });
}
