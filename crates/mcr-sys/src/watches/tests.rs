use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;

const LONG: Duration = Duration::from_secs(10);

/// How many waits of a millisecond it takes until one finds nothing.
fn until_quiet(watches: &mut Watches) -> usize {
    (1..100)
        .find(|_| {
            watches.wait(Duration::from_millis(1));
            !watches.fired(0)
        })
        .expect("the waits end at once for ever")
}

/// A socket that nobody listens to any more, with the error that came of it.
fn refused() -> UdpSocket {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(gone).unwrap();
    socket.send(b"x").unwrap();
    socket
}

#[test]
fn an_error_is_taken_and_what_comes_next_still_ends_a_wait() {
    let socket = refused();
    let mut watches = Watches::default();
    watches.watch(0, socket.as_fd());
    watches.wait(LONG);
    assert!(watches.fired(0));
    assert_eq!(until_quiet(&mut watches), 1);
    let peer = UdpSocket::bind(socket.peer_addr().unwrap()).unwrap();
    peer.send_to(b"y", socket.local_addr().unwrap()).unwrap();
    let begun = Instant::now();
    watches.wait(LONG);
    assert!(watches.fired(0) && begun.elapsed() < LONG);
}

#[test]
fn an_error_that_stays_is_left_out_for_a_while() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut watches = Watches::default();
    watches.watch(0, ours.as_fd());
    // Without it, the end of the stream is POLLHUP alone.
    watches.entries[0].events = 0;
    drop(theirs);
    watches.wait(LONG);
    assert!(watches.fired(0));
    assert_eq!(until_quiet(&mut watches), 1);
    std::thread::sleep(limits::MUTED_FOR);
    watches.wait(LONG);
    assert!(watches.fired(0), "it is looked at again");
}

#[test]
fn who_is_muted_is_heard_when_watched_anew() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    let mut watches = Watches::default();
    watches.watch(0, socket.as_fd());
    watches.mute(0);
    watches.wait(Duration::from_millis(1));
    assert!(!watches.fired(0));
    watches.watch(0, socket.as_fd());
    watches.wait(LONG);
    assert!(watches.fired(0));
}
