//! Capabilities (`capabilities(7)`): what a process keeps of them, and when they are in force.
//!
//! They are a thread's own. A process settles before it has a second thread: then all that it will
//! start keeps no more, and has none in force but within [`in_force`].

use crate::error::{Doing, SetupError};
use caps::errors::CapsError;
use caps::{CapSet, CapsHashSet};
use std::io;

pub use caps::Capability;

/// The calling thread, in the calls of `caps`.
const SELF: Option<i32> = None;

/// Gives up for ever all but these capabilities, as far as the process has them, and of those puts
/// in force only `always`. Neither this process nor what it starts can gain others by `execve(2)`
/// (`PR_SET_NO_NEW_PRIVS`, and the bounding set).
///
/// To be called before there is a second thread.
///
/// # Errors
/// Where a sandbox does not even let a process give something up.
pub fn settle(kept: &[Capability], always: &[Capability]) -> Result<(), SetupError> {
    let settle = || {
        nix::sys::prctl::set_no_new_privs()?;
        let permitted = caps::read(SELF, CapSet::Permitted).map_err(refused)?;
        if permitted.contains(&Capability::CAP_SETPCAP) {
            set(CapSet::Effective, &[Capability::CAP_SETPCAP].into())?;
            empty_bounding_set_but(kept)?;
        }
        let kept: CapsHashSet =
            permitted.into_iter().filter(|capability| kept.contains(capability)).collect();
        let always = kept.iter().copied().filter(|one| always.contains(one)).collect();
        set(CapSet::Effective, &always)?;
        // The ambient set is never more than this one.
        set(CapSet::Inheritable, &CapsHashSet::new())?;
        set(CapSet::Permitted, &kept)
    };
    settle().doing(|| "giving up capabilities")
}

/// Gives up, in the calling thread and in those that it starts, every capability for ever.
///
/// # Panics
/// Where a sandbox does not even let a thread give something up.
pub fn renounce() {
    drop_all().expect("a thread may lower its capabilities");
}

/// Empties all of the calling thread's sets but the bounding set.
pub(crate) fn drop_all() -> io::Result<()> {
    // The ambient set is never more than the last two.
    for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        caps::clear(SELF, set).map_err(refused)?;
    }
    Ok(())
}

/// Makes a call with these capabilities in force in the calling thread, those that the process has
/// kept; the call itself tells whether they were enough.
pub fn in_force<T>(wanted: &[Capability], call: impl FnOnce() -> T) -> T {
    let _raised = Raised::new(CapSet::Effective, wanted);
    call()
}

/// Makes a call that starts a program, which begins with these capabilities, those that the process
/// has kept: its ambient set, which `execve(2)` hands on also under `PR_SET_NO_NEW_PRIVS`. A
/// program file with capabilities of its own gets those of them that the process has kept.
pub fn passed_on<T>(wanted: &[Capability], call: impl FnOnce() -> T) -> T {
    let bounded = |capability| caps::has_cap(SELF, CapSet::Bounding, capability).unwrap_or(false);
    let wanted: Vec<Capability> = wanted.iter().copied().filter(|c| bounded(*c)).collect();
    let _inheritable = Raised::new(CapSet::Inheritable, &wanted);
    let _ambient = Raised::new(CapSet::Ambient, &wanted);
    call()
}

/// A set of the calling thread's that has more in it, until this is dropped.
struct Raised {
    set: CapSet,
    before: CapsHashSet,
    // Capabilities are the thread's own.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Raised {
    /// `None`: there is nothing to raise, or a sandbox does not let it be.
    fn new(set: CapSet, wanted: &[Capability]) -> Option<Self> {
        let permitted = caps::read(SELF, CapSet::Permitted).ok()?;
        let before = caps::read(SELF, set).ok()?;
        let mut raised = before.clone();
        raised.extend(wanted.iter().filter(|capability| permitted.contains(capability)));
        if raised == before {
            return None;
        }
        caps::set(SELF, set, &raised).ok()?;
        Some(Self { set, before, _not_send: std::marker::PhantomData })
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        caps::set(SELF, self.set, &self.before).expect("a thread may lower its capabilities");
    }
}

fn set(set: CapSet, capabilities: &CapsHashSet) -> io::Result<()> {
    caps::set(SELF, set, capabilities).map_err(refused)
}

/// Takes from the bounding set all but these, so that no program run later could gain others. Asks
/// the kernel which there are: it may know some that the `caps` crate does not.
///
/// # Errors
/// Without `CAP_SETPCAP`.
pub(crate) fn empty_bounding_set_but(kept: &[Capability]) -> io::Result<()> {
    let mut number = 0;
    while let is_there @ (0 | 1) = prctl(libc::PR_CAPBSET_READ, number) {
        let is_kept =
            kept.iter().any(|capability| libc::c_ulong::from(capability.index()) == number);
        if is_there == 1 && !is_kept && prctl(libc::PR_CAPBSET_DROP, number) < 0 {
            return Err(io::Error::last_os_error());
        }
        number += 1;
    }
    Ok(())
}

/// One of the calls of `prctl(2)` that take a number and no address.
fn prctl(option: libc::c_int, number: libc::c_ulong) -> libc::c_int {
    // SAFETY: PR_CAPBSET_READ and PR_CAPBSET_DROP, all that this is called with, read or write no
    // memory of this process.
    unsafe { libc::prctl(option, number, 0, 0, 0) }
}

fn refused(error: CapsError) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::{CAP_NET_RAW, CAP_SETUID};

    fn read(set: CapSet) -> CapsHashSet {
        caps::read(SELF, set).unwrap()
    }

    /// Capabilities are a thread's own, and so are those that a test gives up.
    fn on_own_thread(body: impl FnOnce() + Send) {
        std::thread::scope(|scope| scope.spawn(body).join().unwrap());
    }

    fn has(capability: Capability) -> bool {
        let has = read(CapSet::Permitted).contains(&capability);
        if !has {
            println!("SKIP: this process has not {capability}");
        }
        has
    }

    #[test]
    fn what_is_kept_is_in_force_only_within_a_call() {
        on_own_thread(|| {
            let had = has(CAP_NET_RAW);
            let kept: CapsHashSet = had.then_some(CAP_NET_RAW).into_iter().collect();
            settle(&[CAP_NET_RAW], &[]).unwrap();
            assert_eq!(read(CapSet::Permitted), kept);
            assert_eq!(read(CapSet::Effective), CapsHashSet::new());
            in_force(&[CAP_NET_RAW, CAP_SETUID], || assert_eq!(read(CapSet::Effective), kept));
            assert_eq!(read(CapSet::Effective), CapsHashSet::new());
            assert!(nix::sys::prctl::get_no_new_privs().unwrap());
        });
    }

    #[test]
    fn a_panic_ends_what_is_in_force() {
        on_own_thread(|| {
            settle(&[CAP_NET_RAW], &[]).unwrap();
            let panic =
                std::panic::catch_unwind(|| in_force(&[CAP_NET_RAW], || panic!("on purpose")));
            assert!(panic.is_err());
            assert_eq!(read(CapSet::Effective), CapsHashSet::new());
        });
    }

    #[test]
    fn the_bounding_set_is_what_is_kept() {
        on_own_thread(|| {
            if has(Capability::CAP_SETPCAP) {
                let kept = [CAP_NET_RAW, CAP_SETUID];
                let bounded: CapsHashSet =
                    read(CapSet::Bounding).into_iter().filter(|c| kept.contains(c)).collect();
                settle(&kept, &[CAP_NET_RAW]).unwrap();
                assert_eq!(read(CapSet::Bounding), bounded);
                let always: CapsHashSet =
                    has(CAP_NET_RAW).then_some(CAP_NET_RAW).into_iter().collect();
                assert_eq!(read(CapSet::Effective), always);
            }
        });
    }

    #[test]
    fn what_is_passed_on_is_ambient_within_a_call() {
        on_own_thread(|| {
            settle(&[CAP_NET_RAW, CAP_SETUID], &[]).unwrap();
            if has(CAP_SETUID) {
                let passed: CapsHashSet = [CAP_SETUID].into();
                passed_on(&[CAP_SETUID], || assert_eq!(read(CapSet::Ambient), passed));
                assert_eq!(read(CapSet::Ambient), CapsHashSet::new());
                assert_eq!(read(CapSet::Inheritable), CapsHashSet::new());
            }
        });
    }

    #[test]
    fn who_renounces_and_what_it_starts_holds_nothing() {
        on_own_thread(|| {
            renounce();
            on_own_thread(|| {
                assert_eq!(read(CapSet::Permitted), CapsHashSet::new());
                in_force(&[CAP_NET_RAW], || {
                    assert_eq!(read(CapSet::Effective), CapsHashSet::new());
                });
            });
        });
    }
}
