//! A ring, the payloads gathered from it, and both mechanisms that send them, on the loopback
//! interface of a namespace of our own.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::*;
use crate::filter::{Admission, Interval, LinkHeader, Program};
use crate::gather::{Gather, GatherBuffer};
use crate::packet::PacketSocket;
use crate::poll::Poll;
use crate::send::{Errno, Outcome, SendRequest};
use crate::sockaddr::KernelAddress;
use crate::test_namespace::{ifindex, in_own_namespace, wait_until};
use crate::uring::Uring;

const GEOMETRY: RingGeometry = RingGeometry { slot_bytes: 2048, slots: 32 };
const INPUT_PORT: u16 = 4000;
/// Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 14 + 20 + 8;

fn ring() -> RxRing {
    let socket = PacketSocket::open(GEOMETRY).unwrap();
    socket.bind(ifindex("lo")).unwrap();
    let interval = Interval { first: 0x7f00_0001, last: 0x7f00_0001, ports: vec![INPUT_PORT] };
    let admission = Admission { link: LinkHeader::Ethernet, v4: vec![interval], v6: vec![] };
    socket.set_filter(&Program::admit(&admission)).unwrap();
    RxRing::map(socket.try_clone().unwrap(), GEOMETRY).unwrap()
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
    let mut buffer = [0; 2048];
    let bytes = socket.recv(&mut buffer).unwrap();
    buffer[..bytes].to_vec()
}

/// Places the payloads of the oldest frames in the list.
fn place_payloads(ring: &RxRing, gather: &mut Gather<'_>, count: usize) {
    for n in 0..count {
        let frame = ring.frame(n).unwrap();
        gather.place(n, frame.offset + HEADERS..frame.offset + frame.bytes.len());
    }
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
                assert_eq!(frame.checksum, Checksum::NotFilledIn);
                assert!(!frame.coalesced && !frame.vlan_tagged);
            }
            ring.release(30);
            assert_eq!(ring.backlog(), 0);
        }
    });
}

#[test]
fn a_full_ring_and_a_frame_too_long_are_seen() {
    in_own_namespace(|| {
        let mut ring = ring();
        send_input(&[&[7; 5000]]);
        let frame = ring.frame(0).unwrap();
        assert_eq!(frame.original_len as usize, HEADERS + 5000);
        assert!(frame.bytes.len() < 2048);
        ring.release(1);
        for _ in 0..40 {
            send_input(&[b"x"]);
        }
        assert_eq!(ring.backlog(), 32);
        assert!(ring.frame(32).is_none());
    });
}

/// Sends three payloads as one run and one more singly, and has one send refused between them.
fn check_sends(mut send_all: impl FnMut(&Gather<'_>, Vec<SendRequest<'_>>) -> Vec<Outcome>) {
    let mut ring = ring();
    send_input(&[b"one ", b"two ", b"end", b"single"]);
    let (output, address) = receiver();
    let nowhere = KernelAddress::from("203.0.113.1:9".parse::<SocketAddr>().unwrap());
    let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
    sender.set_nonblocking(true).unwrap();
    let request = |destination, payloads, segment_bytes| SendRequest {
        socket: sender.as_fd(),
        destination,
        payloads,
        segment_bytes,
    };
    let mut buffer = GatherBuffer::with_room_for(8);
    let mut gather = buffer.gather(&ring, 4);
    place_payloads(&ring, &mut gather, 4);
    let requests = vec![
        request(&address, 0..3, Some(4)),
        request(&nowhere, 0..1, None),
        request(&address, 3..4, None),
    ];
    let outcomes = send_all(&gather, requests);
    assert_eq!(outcomes, [Ok(11), Err(Errno(libc::ENETUNREACH)), Ok(6)]);
    ring.release(4);
    for expected in [&b"one "[..], b"two ", b"end", b"single"] {
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
        let Ok(mut uring) = Uring::new() else {
            println!("SKIP: io_uring is refused here");
            return;
        };
        check_sends(|gather, requests| {
            let mut outcomes = Vec::new();
            uring.send_all(gather, requests.into_iter(), |_, outcome| outcomes.push(outcome));
            outcomes
        });
    });
}

/// A wait ends by itself, by a frame, and, the watch over, not by a frame.
fn check_waits(mut call: impl FnMut(Call<'_>)) {
    let mut ring = ring();
    let waited = |call: &mut dyn FnMut(Call<'_>), milliseconds| {
        let begun = Instant::now();
        call(Call::Wait(Duration::from_millis(milliseconds)));
        begun.elapsed()
    };
    call(Call::Watch(1, ring.as_fd()));
    assert!(waited(&mut call, 50) >= Duration::from_millis(49));
    for _ in 0..3 {
        send_input(&[b"wake"]);
        assert!(waited(&mut call, 10_000) < Duration::from_secs(5));
        wait_until("the frame is in the ring", || ring.backlog() == 1);
        ring.release(1);
    }
    call(Call::Wait(Duration::from_millis(1)));
    call(Call::Unwatch(1));
    send_input(&[b"unseen"]);
    assert!(waited(&mut call, 50) >= Duration::from_millis(49));
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
        check_waits(|call| match call {
            Call::Watch(token, descriptor) => poll.watch(token, descriptor),
            Call::Unwatch(token) => poll.unwatch(token),
            Call::Wait(time) => poll.wait(time),
        });
        let Ok(mut uring) = Uring::new() else {
            println!("SKIP: io_uring is refused here");
            return;
        };
        check_waits(|call| match call {
            Call::Watch(token, descriptor) => uring.watch(token, descriptor),
            Call::Unwatch(token) => uring.unwatch(token),
            Call::Wait(time) => uring.wait(time),
        });
    });
}
