use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;

fn calls(sends: Sends, rests: bool) -> Calls {
    Calls {
        sends,
        rests,
        commands: 3,
        log: 5,
        #[cfg(feature = "faults")]
        faults: -1,
    }
}

/// What can only be seen from within: a thread confines itself alone.
#[test]
fn landlock_denies_files_and_tcp() {
    thread::spawn(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        File::open("/dev/null").unwrap();
        let status = deny_files().unwrap();
        if status == RulesetStatus::NotEnforced {
            println!("SKIP: this kernel has no Landlock");
            return;
        }
        let denied = |error: io::Error| assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        denied(File::open("/dev/null").unwrap_err());
        denied(File::create("/tmp/made-within-a-sandbox").unwrap_err());
        if status == RulesetStatus::FullyEnforced {
            denied(TcpListener::bind("127.0.0.1:0").unwrap_err());
            denied(TcpStream::connect(address).unwrap_err());
        }
    })
    .join()
    .unwrap();
}

#[test]
fn no_worker_has_more_than_twenty_system_calls() {
    for (sends, rests) in [(Sends::Uring, true), (Sends::Sendmmsg, true), (Sends::Uring, false)] {
        let rules = calls(sends, rests).rules().unwrap();
        let for_tests = usize::from(cfg!(feature = "faults"));
        assert!(rules.len() <= 20 + for_tests, "{}", rules.len());
    }
}

#[test]
fn a_worker_sends_by_one_way_alone() {
    let has = |sends, call| calls(sends, false).rules().unwrap().contains_key(&call);
    assert!(has(Sends::Uring, libc::SYS_io_uring_enter));
    assert!(!has(Sends::Uring, libc::SYS_sendmmsg));
    assert!(has(Sends::Sendmmsg, libc::SYS_sendmmsg));
    assert!(!has(Sends::Sendmmsg, libc::SYS_io_uring_enter));
    for never in [libc::SYS_openat, libc::SYS_socket, libc::SYS_mprotect, libc::SYS_sendmsg] {
        assert!(!has(Sends::Uring, never) && !has(Sends::Sendmmsg, never));
    }
}
