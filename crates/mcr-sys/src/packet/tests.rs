use super::*;
use crate::abi::VNET_HEADER_BYTES;
use crate::filter::{Admission, Interval, LinkHeader};
use crate::mapping::Mapping;
use crate::test_namespace::{ifindex, in_own_namespace};
use mcr_core::steering::{Shares, Steering};
use mcr_lab::frame::FrameBuilder;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::sync::atomic::Ordering;

const GEOMETRY: RingGeometry = RingGeometry { slot_bytes: 2048, slots: 32 };

/// Lets in what goes to one port of 127.0.0.1.
fn loopback_port(port: u16) -> Program {
    let interval = Interval { first: 0x7f00_0001, last: 0x7f00_0001, ports: vec![port] };
    Program::admit(&Admission {
        link: LinkHeader::Ethernet,
        v4: vec![interval],
        v6: vec![],
        strangers: None,
    })
}

fn send(port: u16, count: usize) {
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..count {
        sender.send_to(b"frame", ("127.0.0.1", port)).unwrap();
    }
}

fn bound() -> PacketSocket {
    let socket = PacketSocket::open(GEOMETRY).unwrap();
    socket.bind(ifindex("lo")).unwrap();
    socket
}

#[test]
fn blocks_hold_whole_slots() {
    for slot_bytes in [2048, 4096, 16384, 131_072] {
        for slots in [1, 31, 33, 4096] {
            let geometry = RingGeometry::covering(slot_bytes, slots).checked().unwrap();
            let request = geometry.request();
            assert_eq!(request.tp_block_size % (64 * 1024), 0);
            assert_eq!(request.tp_block_size % slot_bytes, 0);
            assert!(geometry.slots >= slots);
            let blocks = request.tp_block_nr as usize * request.tp_block_size as usize;
            assert_eq!(geometry.ring_bytes(), blocks);
        }
    }
}

#[test]
fn impossible_rings_are_refused_before_the_kernel_sees_them() {
    for (slot_bytes, slots) in [(0, 1), (3000, 1), (1024, 64), (2048, 0), (2048, 33), (1 << 18, 1)]
    {
        assert!(PacketSocket::open(RingGeometry { slot_bytes, slots }).is_err());
    }
}

#[test]
fn received_includes_dropped_and_reading_resets() {
    in_own_namespace(|| {
        let socket = bound();
        socket.set_filter(&loopback_port(4000)).unwrap();
        // Nobody releases slots: the first 32 frames fill the ring, the others are dropped.
        send(4000, 100);
        send(4001, 10);
        let statistics = socket.take_statistics().unwrap();
        assert_eq!(statistics, PacketStatistics { received: 100, dropped: 100 - 32 });
        assert_eq!(socket.take_statistics().unwrap(), PacketStatistics::default());
    });
}

#[test]
fn nothing_enters_before_a_filter_admits_it() {
    in_own_namespace(|| {
        let socket = bound();
        send(4000, 10);
        assert_eq!(socket.take_statistics().unwrap(), PacketStatistics::default());
    });
}

#[test]
fn steering_gives_each_frame_to_the_member_of_its_core() {
    in_own_namespace(|| {
        let (first, second) = (bound(), bound());
        let group = first.join_steering(None).unwrap();
        assert_eq!(second.join_steering(Some(group)).unwrap(), group);
        for member in [&first, &second] {
            member.set_filter(&loopback_port(4000)).unwrap();
        }
        let received = |to: &PacketSocket| to.take_statistics().unwrap().received;
        // No core has the number 5000 or 5001, so the member is the number's place or the modulo.
        let core = nix::sched::sched_getcpu().unwrap();
        first.set_steering(&Program::steer_by_cpu(&[5000, core])).unwrap();
        pinned(core, || send(4000, 5));
        assert_eq!([received(&first), received(&second)], [0, 5]);
        first.set_steering(&Program::steer_by_cpu(&[core, 5000])).unwrap();
        pinned(core, || send(4000, 7));
        assert_eq!([received(&first), received(&second)], [7, 0]);
    });
}

/// Though somebody else holds the socket still.
#[test]
fn who_gives_up_its_ring_leaves_its_place_to_the_last_member() {
    in_own_namespace(|| {
        let (old, other, new) = (bound(), bound(), bound());
        let held = old.try_clone().unwrap();
        let group = old.join_steering(None).unwrap();
        for member in [&other, &new] {
            member.join_steering(Some(group)).unwrap();
        }
        for member in [&old, &other, &new] {
            member.set_filter(&loopback_port(4000)).unwrap();
        }
        let core = nix::sched::sched_getcpu().unwrap();
        other.set_steering(&Program::steer_by_cpu(&[core, 5000])).unwrap();
        pinned(core, || send(4000, 5));
        old.give_up_ring().unwrap();
        assert_eq!(old.take_statistics().unwrap().received, 5, "what it has counted stays");
        drop(old);
        send(4000, 7);
        let received = |to: &PacketSocket| to.take_statistics().unwrap().received;
        assert_eq!([received(&other), received(&new)], [0, 7]);
        assert_eq!(take_statistics(held.as_fd()).unwrap().received, 0);
        drop(held);
        send(4000, 3);
        assert_eq!([received(&other), received(&new)], [0, 3]);
    });
}

/// The kernel computes what `mcr_core::steering` says, of both families.
#[test]
fn steering_by_hash_gives_each_destination_to_its_owner() {
    in_own_namespace(|| {
        let cores = [0, 1, 5];
        let members = cores.map(|_| bound());
        let mut group = None;
        for member in &members {
            group = Some(member.join_steering(group).unwrap());
            let every = Interval { first: 0, last: u32::MAX, ports: Vec::new() };
            let (v4, v6) = (vec![every.clone()], vec![every]);
            let admission = Admission { link: LinkHeader::Ethernet, v4, v6, strangers: None };
            member.set_filter(&Program::admit(&admission)).unwrap();
        }
        let shares = Shares::new(Steering::Hash, &cores);
        members[0].set_steering(&Program::steer_by_hash(shares.seeds())).unwrap();
        let mut owners = BTreeSet::new();
        for host in [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()] {
            for port in 4_000..4_020 {
                let socket = UdpSocket::bind((host, 0)).unwrap();
                socket.send_to(b"to its owner", (host, port)).unwrap();
                let received = members.each_ref().map(|m| m.take_statistics().unwrap().received);
                let owner = shares.owner(host, port).unwrap().0 as usize;
                let expected = [0, 1, 2].map(|member| u64::from(member == owner));
                assert_eq!(received, expected, "{host} {port}");
                owners.insert(owner);
            }
        }
        assert_eq!(owners.len(), cores.len(), "every member was met");
    });
}

/// Loopback frames are received on the core that sends them.
fn pinned(core: usize, body: impl FnOnce()) {
    crate::process::pin_to_core(core).unwrap();
    body();
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    in_own_namespace(|| {
        let socket = PacketSocket::open(GEOMETRY).unwrap();
        let error = socket.bind(12_345).unwrap_err();
        assert_eq!(error.cause.raw_os_error(), Some(libc::ENODEV));
        assert!(error.to_string().contains("12345"));
    });
}

#[test]
fn a_clone_is_the_same_socket() {
    in_own_namespace(|| {
        packet_sockets_permitted().unwrap();
        let socket = bound();
        let clone = socket.try_clone().unwrap();
        socket.set_filter(&loopback_port(4000)).unwrap();
        drop(socket);
        send(4000, 3);
        assert_eq!(take_statistics(clone.as_fd()).unwrap().received, 3);
    });
}

/// Nobody who takes over a worker is to make frames of its own.
#[test]
fn an_ingress_socket_sends_nothing() {
    in_own_namespace(|| {
        let addresses = ["127.0.0.1:5000", "127.0.0.1:4000"].map(|text| text.parse().unwrap());
        let frame = FrameBuilder::udp(addresses[0], addresses[1]).payload(b"forged").build();
        let tap = bound();
        tap.set_filter(&loopback_port(4000)).unwrap();
        let seen = || tap.take_statistics().unwrap().received;
        // What is sent on lo has arrived when the call returns.
        let plain = packet_socket().unwrap();
        bind_link(&plain, ifindex("lo"), libc::ETH_P_ALL as u16).unwrap();
        assert_eq!(plain.send(&frame).unwrap(), frame.len());
        assert_eq!(seen(), 1, "by any other socket");
        let muted = bound();
        let with_vnet_header = [&[0; VNET_HEADER_BYTES], &frame[..]].concat();
        for bytes in [&frame, &with_vnet_header] {
            assert!(!matches!(muted.socket.send(bytes), Ok(1..)));
        }
        // Nor through its transmit ring, by whoever writes into that.
        let longest = (1..=frame.len()).rev().find(|length| {
            write_into_mute_ring(&muted, &with_vnet_header, VNET_HEADER_BYTES + length);
            matches!(muted.socket.send(&[]), Ok(1..))
        });
        assert_eq!(longest, Some(22));
        assert_eq!(seen(), 0);
    });
}

/// As a hijacked worker could: has the next slot to send say that it holds so many bytes.
fn write_into_mute_ring(socket: &PacketSocket, frame: &[u8], length: usize) {
    let slot_bytes = limits::MUTE_SLOT_BYTES;
    let before = GEOMETRY.ring_bytes() / slot_bytes as usize;
    let slots = before as u32 + limits::MUTE_RING_BYTES / slot_bytes;
    let mut rings = Mapping::of(socket, RingGeometry { slot_bytes, slots }, 0).unwrap();
    // SAFETY: the kernel takes only slots that are marked to be sent; this one is marked below.
    unsafe { rings.header(before) }.tp_len = length as u32;
    // SAFETY: as above.
    let room = unsafe { rings.bytes(before, 32..slot_bytes as usize) };
    room.copy_from_slice(&frame[..room.len()]);
    rings.status(before).store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
}
