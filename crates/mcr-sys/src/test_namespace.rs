//! For tests that need privilege or change the network: a network namespace of their own.

use nix::sched::{CloneFlags, unshare};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the kernel does late, it does within milliseconds; a busy test machine gets ten seconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs `body` in a thread that has its own network namespace with the loopback interface up.
/// The namespace goes with the thread, also when `body` panics. Says SKIP where it is refused.
pub(crate) fn in_own_namespace(body: impl FnOnce() + Send) {
    let outcome = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
                println!("SKIP: no network namespace of our own: {errno}");
                return;
            }
            ip("link set lo up");
            body();
        });
        thread.join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip ARGUMENTS` (iproute2) in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// The index of an interface in the calling thread's namespace.
pub(crate) fn ifindex(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

/// A file of `/proc/net`, as the calling thread's namespace has it.
pub(crate) fn proc_net(file: &str) -> String {
    std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap()
}

/// Waits for what the kernel does in its own time, such as bringing a link's routes up.
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "waited for {DEADLINE:?} in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}
