//! Network namespaces without a name in the file system: held by a descriptor, gone with it.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};

use crate::link;

/// A network namespace. Clones name the same one; the kernel destroys it, and every interface in
/// it, when the last clone, socket and process in it are gone.
#[derive(Debug, Clone)]
pub struct Namespace {
    descriptor: Arc<File>,
    label: String,
}

impl Namespace {
    /// Makes an empty namespace whose loopback is up and whose IPv6 addresses are usable at once
    /// (no duplicate address detection). `label` serves messages only.
    pub fn new(label: &str) -> Result<Self> {
        let open = || -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        let descriptor =
            on_own_thread(open).with_context(|| format!("making network namespace {label}"))?;
        let namespace = Self { descriptor: Arc::new(descriptor), label: label.into() };
        if namespace.has_ipv6() {
            namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
            namespace.sysctl("net/ipv6/conf/all/accept_dad", "0")?;
        }
        link::set_up(&namespace, "lo")?;
        Ok(namespace)
    }

    /// The name given to [`Namespace::new`].
    pub fn label(&self) -> &str {
        &self.label
    }

    /// A path by which another process can enter the namespace (`nsenter --net=PATH`), while this
    /// process holds it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.descriptor.as_raw_fd()).into()
    }

    /// The open `/proc/PID/ns/net` file, for netlink requests that name a namespace.
    pub(crate) fn descriptor(&self) -> &File {
        &self.descriptor
    }

    /// Runs `work` on a thread inside the namespace and returns its result. Sockets made there
    /// stay in the namespace wherever they are used later. A panic in `work` propagates.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_own_thread(|| {
            self.join_this_thread();
            work()
        })
    }

    /// Starts a thread that lives inside the namespace.
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let namespace = self.clone();
        thread::Builder::new().name(name.into()).spawn(move || {
            namespace.join_this_thread();
            // The thread's membership holds the namespace from here on.
            drop(namespace);
            work()
        })
    }

    /// Starts a process inside the namespace.
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        // A child process begins in the namespace of the thread that forks it.
        self.enter(move || command.spawn())
    }

    /// Writes a network sysctl of the namespace: `sysctl("net/ipv4/conf/all/rp_filter", "1")`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.enter(|| fs::write(format!("/proc/sys/{name}"), value))
            .with_context(|| format!("{}: sysctl {name}={value}", self.label))
    }

    /// Reads a file below `/proc/thread-self/net`, such as `igmp`.
    pub fn read_proc_net(&self, name: &str) -> Result<String> {
        // Not /proc/net: that is the namespace of the process's first thread.
        self.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{name}")))
            .with_context(|| format!("{}: reading /proc/net/{name}", self.label))
    }

    fn has_ipv6(&self) -> bool {
        self.enter(|| fs::exists("/proc/sys/net/ipv6").unwrap_or(false))
    }

    fn join_this_thread(&self) {
        setns(&*self.descriptor, CloneFlags::CLONE_NEWNET)
            .expect("whoever could make the namespace can enter it");
    }
}

/// A thread's namespace is its own, so the caller's stays as it is.
fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
