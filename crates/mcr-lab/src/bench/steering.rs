//! Moves an interface's receive processing to a core, by receive packet steering (RPS).
//!
//! The far end of a veth pair receives on the sender's core, in soft interrupts of that core:
//! without this, the generator's core would do a good part of the relay's work.
//! (`Documentation/networking/scaling.rst` in the kernel's sources.)

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::namespace::Namespace;

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
