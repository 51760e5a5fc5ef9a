use super::*;
use crate::test_namespace::{ifindex, in_own_namespace, proc_net, wait_until, with_veth_pair};
use mcr_lab::address::add_address;
use std::net::UdpSocket;
use std::time::Duration;

/// Port 0 stands for one that the kernel picks.
fn options(ifname: &str, source: &str) -> EgressOptions {
    let source: SocketAddr = source.parse().unwrap();
    let port = match source.port() {
        0 => SourcePort::Unused,
        port => SourcePort::Named(port),
    };
    EgressOptions {
        ifindex: ifindex(ifname),
        ifname: ifname.to_owned(),
        source: source.ip(),
        port,
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
        let options = options("va", "10.9.0.1:0");
        let second = EgressOptions { port: SourcePort::Picked(port), ..options };
        let second = EgressSocket::open(&second).unwrap();
        assert_eq!(second.local_addr(), first.local_addr());
    });
}

/// Two ports to pick from, and a program that shares each of its ports with whoever asks.
#[test]
fn a_picked_port_is_nobody_elses() {
    with_interface(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50222 50223").unwrap();
        let program = sharing("0.0.0.0:50222");
        let picked = EgressSocket::open(&options("va", "10.9.0.1:0")).unwrap();
        assert_eq!(picked.local_addr().port(), 50223);
        let error = EgressSocket::open(&options("va", "10.9.0.1:0")).unwrap_err().to_string();
        assert!(error.contains("ip_local_port_range"), "{error}");
        drop(program);
    });
}

/// A program's socket with `SO_REUSEADDR`.
fn sharing(address: &str) -> UdpSocket {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Family::of(address.ip()).domain(), Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.into()
}

#[test]
fn a_named_port_is_shared_and_takes_nothing() {
    with_interface(|| {
        for (own, wildcard) in [("10.9.0.1:1707", "0.0.0.0:1707"), ("[fd09::1]:1707", "[::]:1707")]
        {
            for program_first in [true, false] {
                let before = program_first.then(|| sharing(wildcard));
                let egress = [(); 2].map(|()| EgressSocket::open(&options("va", own)).unwrap());
                let program = before.unwrap_or_else(|| sharing(wildcard));
                let sender = UdpSocket::bind(wildcard.replace("1707", "0")).unwrap();
                sender.send_to(b"request", own).unwrap();
                assert_eq!(program.recv(&mut [0; 16]).unwrap(), 7);
                let elsewhere = sharing(&wildcard.replace("1707", "1708"));
                send(&egress[0], &own.replace("1707", "1708"), b"copy");
                assert_eq!(elsewhere.recv_from(&mut [0; 16]).unwrap(), (4, own.parse().unwrap()));
            }
        }
    });
}

/// An address of another interface has no local route by this one.
#[test]
fn an_unnumbered_interface_can_name_its_port() {
    with_veth_pair(|namespace| {
        add_address(namespace, "lo", "10.8.0.1".parse().unwrap(), 32).unwrap();
        let _egress = EgressSocket::open(&options("va", "10.8.0.1:5004")).unwrap();
    });
}

#[test]
fn a_port_that_its_holder_does_not_share_is_named() {
    with_interface(|| {
        let _holder = UdpSocket::bind("0.0.0.0:5004").unwrap();
        let error = EgressSocket::open(&options("va", "10.9.0.1:5004")).unwrap_err().to_string();
        assert!(error.contains("10.9.0.1:5004 on va") && error.contains("SO_REUSEADDR"), "{error}");
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
        let egress = EgressSocket::open(&options("lo", "127.0.0.1:0")).unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.send_to(b"unwanted", egress.local_addr()).unwrap();
        let error = egress.socket.peek_sender().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(egress.arrived().unwrap(), 1);
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
