//! A ring, the payloads gathered from it, and both mechanisms that send them, on the loopback
//! interface of a namespace of our own.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mcr_lab::frame::FrameBuilder;
use mcr_lab::link;
use mcr_lab::raw_sender::RawSender;
use nix::sys::socket::{setsockopt, sockopt};

use super::*;
use crate::filter::{Admission, Interval, LinkHeader, Program};
use crate::gather::{Gather, GatherBuffer};
use crate::limits;
use crate::packet::PacketSocket;
use crate::poll::Poll;
use crate::send::{Errno, Outcome, SendRequest};
use crate::sockaddr::KernelAddress;
use crate::test_namespace::{ifindex, in_own_namespace, wait_until, with_veth_pair};
use crate::uring::Uring;

const GEOMETRY: RingGeometry = RingGeometry { slot_bytes: 2048, slots: 32 };
const INPUT_PORT: u16 = 4000;
/// Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 14 + 20 + 8;
/// The checksum of UDP.
const NOT_FILLED_IN: Checksum = Checksum::NotFilledIn { start: 14 + 20, offset: 6 };

fn ring() -> RxRing {
    ring_of(GEOMETRY)
}

fn ring_of(geometry: RingGeometry) -> RxRing {
    ring_at(geometry, "lo")
}

fn ring_on(ifname: &str) -> RxRing {
    ring_at(GEOMETRY, ifname)
}

fn ring_at(geometry: RingGeometry, ifname: &str) -> RxRing {
    let socket = PacketSocket::open(geometry).unwrap();
    socket.bind(ifindex(ifname)).unwrap();
    let interval = Interval { first: 0x7f00_0001, last: 0x7f00_0001, ports: vec![INPUT_PORT] };
    let admission =
        Admission { link: LinkHeader::Ethernet, v4: vec![interval], v6: vec![], strangers: None };
    socket.set_filter(&Program::admit(&admission)).unwrap();
    RxRing::map(socket.try_clone().unwrap(), geometry).unwrap()
}

#[test]
fn slots_that_would_not_be_aligned_are_refused() {
    in_own_namespace(|| {
        let socket = PacketSocket::open(RingGeometry { slot_bytes: 2048, slots: 33 * 32 }).unwrap();
        // The same size, so that the kernel would map it.
        let misread = RingGeometry { slot_bytes: 66, slots: 32 * 1024 };
        let refusal = RxRing::map(socket.try_clone().unwrap(), misread).unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::InvalidInput);
    });
}

fn send_input(payloads: &[&[u8]]) {
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for payload in payloads {
        sender.send_to(payload, ("127.0.0.1", INPUT_PORT)).unwrap();
    }
}

fn receiver() -> (UdpSocket, KernelAddress) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address.into())
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let bytes = socket.recv(&mut buffer).unwrap();
    buffer[..bytes].to_vec()
}

/// Where the payloads of the oldest frames stand.
fn payloads(ring: &mut RxRing, count: usize) -> Vec<Range<usize>> {
    let payload = |n| {
        let frame = ring.frame(n).unwrap();
        frame.offset + HEADERS..frame.offset + frame.bytes.len()
    };
    (0..count).map(payload).collect()
}

#[test]
fn frames_are_read_in_place_and_slots_go_back() {
    in_own_namespace(|| {
        let mut ring = ring();
        assert!(ring.frame(0).is_none());
        for round in 0..3_u8 {
            for n in 0..30_u8 {
                send_input(&[&[round, n]]);
            }
            assert_eq!(ring.backlog(), 30);
            for n in 0..30_u8 {
                let frame = ring.frame(n.into()).unwrap();
                assert_eq!(&frame.bytes[HEADERS..], [round, n]);
                assert_eq!(frame.original_len as usize, HEADERS + 2);
                assert_eq!(frame.checksum, NOT_FILLED_IN);
                assert!(!frame.vlan_tagged);
                assert_eq!(frame.coalescing, Coalescing::Single);
            }
            ring.release(30);
            assert_eq!(ring.backlog(), 0);
        }
    });
}

#[test]
fn a_full_ring_is_seen() {
    in_own_namespace(|| {
        let mut ring = ring();
        for _ in 0..40 {
            send_input(&[b"x"]);
        }
        assert_eq!(ring.backlog(), 32);
        assert!(ring.frame(32).is_none());
    });
}

#[test]
fn frames_longer_than_a_slot_come_whole_and_in_order() {
    in_own_namespace(|| {
        let mut ring = ring();
        for round in 0..5_u8 {
            let sent = [vec![round; 20], vec![round; 5_000], vec![round; 30], vec![round; 65_000]];
            for payload in &sent {
                send_input(&[payload]);
            }
            // Looking twice is looking at the same.
            for n in [0, 1, 1, 2, 3, 3, 1] {
                let frame = ring.frame(n).unwrap();
                assert_eq!(&frame.bytes[HEADERS..], sent[n], "frame {n} of round {round}");
                assert_eq!(frame.original_len as usize, HEADERS + sent[n].len());
                assert_eq!(frame.checksum, NOT_FILLED_IN);
                assert_eq!(frame.coalescing, Coalescing::Single);
            }
            ring.release(4);
        }
    });
}

#[test]
fn a_long_frame_that_was_not_queued_is_shown_cut() {
    in_own_namespace(|| {
        let mut ring = ring();
        socket2::SockRef::from(&ring.socket).set_recv_buffer_size(1).unwrap();
        send_input(&[&[1; 5_000], &[2; 5_000]]);
        assert_eq!(ring.frame(0).unwrap().bytes.len(), HEADERS + 5_000);
        let cut = ring.frame(1).unwrap();
        assert_eq!(cut.original_len as usize, HEADERS + 5_000);
        assert!(cut.bytes.len() < 2048);
    });
}

#[test]
fn long_frames_keep_to_their_slots_when_the_link_goes_down_and_up() {
    with_veth_pair(|namespace| {
        let mut ring = ring_on("va");
        let frame = |n: u8| {
            let (from, to) = ("198.51.100.7:4000", "127.0.0.1:4000");
            let frame = FrameBuilder::udp(from.parse().unwrap(), to.parse().unwrap());
            frame.payload(&[n; 3_000]).build()
        };
        for end in ["va", "vb"] {
            link::set_mtu(namespace, end, 9_000).unwrap();
        }
        let sender = RawSender::open(namespace, "vb").unwrap();
        for round in 0..3 {
            sender.send(&frame(3 * round)).unwrap();
            wait_until("a frame", || ring.backlog() == 1);
            link::flap(namespace, "va", 1).unwrap();
            link::wait_until_up(namespace, "va").unwrap();
            for n in [1, 2] {
                sender.send(&frame(3 * round + n)).unwrap();
            }
            wait_until("all frames", || ring.backlog() == 3);
            for n in 0..3 {
                let long = ring.frame(n.into()).unwrap();
                assert_eq!(long.bytes[HEADERS..], [3 * round + n; 3_000], "{n} of {round}");
            }
            ring.release(3);
        }
    });
}

#[test]
fn a_long_frame_without_a_slot_is_passed_over() {
    in_own_namespace(|| {
        let mut ring = ring();
        for n in 0..3 {
            send_input(&[&[n; 3_000]]);
        }
        // As if the slot of the first had gone without its frame.
        ring.release(1);
        for n in [1, 2] {
            assert_eq!(ring.frame(n - 1).unwrap().bytes[HEADERS..], [n as u8; 3_000]);
        }
    });
}

#[test]
fn long_frames_wait_until_there_is_room_for_them() {
    in_own_namespace(|| {
        let mut ring = ring_of(RingGeometry { slots: 64, ..GEOMETRY });
        let count = limits::LONG_FRAMES + 10;
        for n in 0..count {
            send_input(&[&[n as u8; 3_000]]);
        }
        for n in 0..limits::LONG_FRAMES {
            assert_eq!(ring.frame(n).unwrap().bytes[HEADERS], n as u8);
        }
        assert!(ring.frame(limits::LONG_FRAMES).is_none());
        ring.release(limits::LONG_FRAMES);
        for n in 0..10 {
            let frame = ring.frame(n).unwrap();
            assert_eq!(frame.bytes[HEADERS..], [(limits::LONG_FRAMES + n) as u8; 3_000]);
        }
    });
}

#[test]
fn super_frames_tell_their_segments() {
    in_own_namespace(|| {
        let mut ring = ring();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (n, (segment, whole)) in
            [(100, 450), (1_000, 5_300), (1_400, 60_000)].iter().enumerate()
        {
            setsockopt(&sender, sockopt::UdpGsoSegment, segment).unwrap();
            let payload: Vec<u8> = (0..*whole).map(|byte: usize| byte as u8).collect();
            sender.send_to(&payload, ("127.0.0.1", INPUT_PORT)).unwrap();
            let frame = ring.frame(n).unwrap();
            assert_eq!(frame.bytes[HEADERS..], payload);
            assert_eq!(frame.checksum, NOT_FILLED_IN);
            let segment = NonZeroU16::new(*segment as u16).unwrap();
            assert_eq!(frame.coalescing, Coalescing::Segments(segment));
        }
    });
}

/// Sends three payloads as one run and two more singly, one of them longer than a slot, and has a
/// send refused between them.
fn check_sends(mut send_all: impl FnMut(&Gather<'_>, Vec<SendRequest<'_>>) -> Vec<Outcome>) {
    let mut ring = ring();
    let long = [7; 3_000];
    send_input(&[b"one ", b"two ", b"end", b"single", &long]);
    let (output, address) = receiver();
    let nowhere = KernelAddress::from("203.0.113.1:9".parse::<SocketAddr>().unwrap());
    let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
    sender.set_nonblocking(true).unwrap();
    let request = |destination, payloads, segment_bytes| SendRequest {
        socket: sender.as_fd(),
        place: 1,
        destination,
        payloads,
        segment_bytes,
    };
    let mut buffer = GatherBuffer::with_room_for(8);
    let payloads = payloads(&mut ring, 5);
    let mut gather = buffer.gather(&ring, 5);
    for (place, payload) in payloads.into_iter().enumerate() {
        gather.place(place, payload);
    }
    let requests = vec![
        request(&address, 0..3, Some(4)),
        request(&nowhere, 0..1, None),
        request(&address, 3..4, None),
        request(&address, 4..5, None),
    ];
    let outcomes = send_all(&gather, requests);
    assert_eq!(outcomes, [Ok(11), Err(Errno(libc::ENETUNREACH)), Ok(6), Ok(3_000)]);
    ring.release(5);
    for expected in [&b"one "[..], b"two ", b"end", b"single", &long] {
        assert_eq!(receive(&output), expected);
    }
}

#[test]
fn both_mechanisms_send_runs_and_tell_refusals_in_order() {
    in_own_namespace(|| {
        let mut poll = Poll::new();
        check_sends(|gather, requests| {
            let mut outcomes = Vec::new();
            poll.send_all(gather, requests.into_iter(), |_, outcome| outcomes.push(outcome));
            outcomes
        });
        assert_eq!(poll.take_system_calls(), 3);
        assert_eq!(poll.take_system_calls(), 0);
        let Ok(mut uring) = Uring::new(2) else {
            println!("SKIP: io_uring is refused here");
            return;
        };
        check_sends(|gather, requests| {
            uring.admit(1, requests[0].socket).unwrap();
            uring.take_system_calls();
            let mut outcomes = Vec::new();
            uring.send_all(gather, requests.into_iter(), |_, outcome| outcomes.push(outcome));
            outcomes
        });
        assert_eq!(uring.take_system_calls(), 1);
    });
}

/// A wait ends by itself, by a frame, and, the watch over, not by a frame; and it says whether it
/// was by one.
fn check_waits(mut call: impl FnMut(Call<'_>) -> bool) {
    let mut ring = ring();
    let waited = |call: &mut dyn FnMut(Call<'_>) -> bool, milliseconds| {
        let begun = Instant::now();
        let fired = call(Call::Wait(Duration::from_millis(milliseconds)));
        (fired, begun.elapsed())
    };
    call(Call::Watch(1, ring.as_fd()));
    let (fired, time) = waited(&mut call, 50);
    assert!(!fired && time >= Duration::from_millis(49));
    for _ in 0..3 {
        send_input(&[b"wake"]);
        let (fired, time) = waited(&mut call, 10_000);
        assert!(fired && time < Duration::from_secs(5));
        wait_until("the frame is in the ring", || ring.backlog() == 1);
        ring.release(1);
    }
    call(Call::Wait(Duration::from_millis(1)));
    call(Call::Unwatch(1));
    send_input(&[b"unseen"]);
    assert!(waited(&mut call, 50).1 >= Duration::from_millis(49));
}

enum Call<'a> {
    Watch(u32, BorrowedFd<'a>),
    Unwatch(u32),
    Wait(Duration),
}

#[test]
fn both_mechanisms_wait_for_frames() {
    in_own_namespace(|| {
        let mut poll = Poll::new();
        check_waits(|call| {
            match call {
                Call::Watch(token, descriptor) => poll.watch(token, descriptor),
                Call::Unwatch(token) => poll.unwatch(token),
                Call::Wait(time) => poll.wait(time),
            }
            poll.fired(1)
        });
        let Ok(mut uring) = Uring::new(2) else {
            println!("SKIP: io_uring is refused here");
            return;
        };
        check_waits(|call| {
            match call {
                Call::Watch(token, descriptor) => uring.watch(token, descriptor),
                Call::Unwatch(token) => uring.unwatch(token),
                Call::Wait(time) => uring.wait(time),
            }
            uring.fired(1)
        });
    });
}
