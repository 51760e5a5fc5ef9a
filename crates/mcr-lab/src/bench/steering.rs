//! Moves an interface's receive processing to a core, by receive packet steering (RPS).
//!
//! The far end of a veth pair receives on the sender's core, in soft interrupts of that core:
//! without this, the generator's core would do a good part of the relay's work.
//! (`Documentation/networking/scaling.rst` in the kernel's sources.)

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;

use crate::limits;
use crate::link::set_feature;
use crate::namespace::Namespace;

/// Has a kernel thread on `core` receive what arrives at the interface (threaded NAPI), and, where
/// it `merges`, make datagrams of one flow into super-frames (GRO), as a NIC's driver does.
///
/// Without a thread of its own a veth merges on the sender's core.
pub(super) fn poll_on(
    namespace: &Namespace,
    ifname: &str,
    core: usize,
    merges: bool,
) -> Result<()> {
    // A veth has receive polling (NAPI) only with the first; the second is about UDP.
    set_feature(namespace, ifname, "rx-gro", true)?;
    set_feature(namespace, ifname, "rx-udp-gro-forwarding", merges)?;
    let before = receive_threads(ifname)?;
    namespace.enter(|| -> Result<()> {
        see_own_interfaces_in_sysfs()?;
        for (attribute, value) in [("threaded", "1"), ("gro_flush_timeout", limits::GRO_FLUSH_NS)] {
            let path = format!("/sys/class/net/{ifname}/{attribute}");
            fs::write(&path, value).with_context(|| format!("writing {path}"))?;
        }
        Ok(())
    })?;
    let threads: Vec<_> = receive_threads(ifname)?.difference(&before).copied().collect();
    ensure!(!threads.is_empty(), "{ifname} has no threads of its own to receive by");
    let mut cores = CpuSet::new();
    cores.set(core)?;
    for thread in threads {
        sched_setaffinity(thread, &cores)
            .with_context(|| format!("moving {ifname}'s receive thread to core {core}"))?;
    }
    Ok(())
}

/// Whether this process may say where the kernel's threads run: tried on their parent, which stays
/// where it is.
pub(super) fn may_move_kernel_threads() -> bool {
    let parent = Pid::from_raw(2);
    let is_kernels = name_of(parent).is_some_and(|name| name == "kthreadd");
    is_kernels && sched_getaffinity(parent).and_then(|c| sched_setaffinity(parent, &c)).is_ok()
}

/// The kernel's threads that receive on interfaces of this name, in any namespace.
fn receive_threads(ifname: &str) -> Result<BTreeSet<Pid>> {
    let prefix = format!("napi/{ifname}-");
    let processes = fs::read_dir("/proc").context("listing processes")?.flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_one = |pid: &Pid| name_of(*pid).is_some_and(|name| name.starts_with(&prefix));
    Ok(numbers.map(Pid::from_raw).filter(is_one).collect())
}

fn name_of(process: Pid) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{process}/comm")).ok()?.trim_end().to_owned())
}

/// Has `core` receive what arrives at the interface.
pub(super) fn receive_on(namespace: &Namespace, ifname: &str, core: usize) -> Result<()> {
    namespace
        .enter(|| -> Result<()> {
            see_own_interfaces_in_sysfs()?;
            let queues = format!("/sys/class/net/{ifname}/queues");
            for queue in fs::read_dir(&queues).with_context(|| queues.clone())? {
                let queue = queue?;
                if queue.file_name().to_string_lossy().starts_with("rx-") {
                    write_mask(&queue.path().join("rps_cpus"), core)?;
                }
            }
            Ok(())
        })
        .with_context(|| {
            format!(
                "{}: {ifname} cannot be made to receive on core {core}, so the relay's cost \
                 could not be told from the generator's",
                namespace.label(),
            )
        })
}

/// A sysfs shows the interfaces of the namespace that it was mounted in. The thread gets a mount
/// namespace of its own, so nobody else sees this one, and it goes with the thread.
fn see_own_interfaces_in_sysfs() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace of the thread's own")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("making mounts private")?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).context("mounting sysfs")
}

fn write_mask(path: &Path, core: usize) -> Result<()> {
    let mask = mask(core);
    fs::write(path, &mask).with_context(|| format!("writing {}", path.display()))?;
    let read = fs::read_to_string(path)?;
    let bare = |text: &str| text.trim().replace(',', "").trim_start_matches('0').to_owned();
    ensure!(bare(&read) == bare(&mask), "{} is {read:?}", path.display());
    Ok(())
}

/// The kernel's form: groups of eight hexadecimal digits, the highest first.
fn mask(core: usize) -> String {
    let mut groups = vec![format!("{:x}", 1_u32 << (core % 32))];
    groups.extend((0..core / 32).map(|_| "00000000".to_owned()));
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks_have_the_kernels_form() {
        assert_eq!([0, 1, 5, 31].map(mask), ["1", "2", "20", "80000000"]);
        assert_eq!(mask(32), "1,00000000");
        assert_eq!(mask(70), "40,00000000,00000000");
    }
}
