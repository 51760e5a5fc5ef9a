//! For tests that need privilege or change the network: a network namespace of their own, made
//! by the lab.

use mcr_lab::namespace::Namespace;
use mcr_lab::{link, user_namespace, wait};
use std::time::Duration;

/// What the kernel does late, it does within milliseconds; a busy test machine gets ten seconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs `body` in a network namespace of its own with the loopback interface up. The namespace
/// goes with the test, also when `body` panics. Says SKIP where namespaces are refused.
pub(crate) fn in_own_namespace(body: impl FnOnce() + Send) {
    if let Some(namespace) = namespace() {
        namespace.enter(body);
    }
}

/// Like [`in_own_namespace`], with the two ends of a veth pair, `va` and `vb`, up in it.
pub(crate) fn with_veth_pair(body: impl FnOnce(&Namespace) + Send) {
    if let Some(namespace) = namespace() {
        link::veth_pair((&namespace, "va"), (&namespace, "vb")).unwrap();
        for end in ["va", "vb"] {
            link::set_up(&namespace, end).unwrap();
        }
        for end in ["va", "vb"] {
            link::wait_until_up(&namespace, end).unwrap();
        }
        namespace.enter(|| body(&namespace));
    }
}

fn namespace() -> Option<Namespace> {
    if let Err(refusal) = user_namespace::require_namespaces() {
        println!("SKIP: {refusal}");
        return None;
    }
    Some(Namespace::new("test").unwrap())
}

/// The index of an interface in the calling thread's namespace.
pub(crate) fn ifindex(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

/// A file of `/proc/net`, as the calling thread's namespace has it.
pub(crate) fn proc_net(file: &str) -> String {
    std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap()
}

/// Waits for what the kernel does in its own time; `what` names it when it does not happen.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    wait::until(what, DEADLINE, || Ok(condition())).unwrap();
}
