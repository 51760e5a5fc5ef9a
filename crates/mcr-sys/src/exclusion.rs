//! Ending at an interface's ingress what exclusive rules take, so that this host's own network
//! stack spends nothing on it: an eBPF program on a tcx link (Linux 6.6).
//!
//! Packet sockets of all protocols get a frame before the program does. All of it is descriptors,
//! which nothing else holds and nothing pins: whatever ends their process undoes it.

mod assembler;
mod kernel;
mod program;
mod table;
#[cfg(test)]
mod tests;

use crate::error::SetupError;
use crate::filter::LinkHeader;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use table::Table;

/// A rule's claim: datagrams that arrive on an interface for an address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Taken {
    /// The interface's index.
    pub ifindex: u32,
    /// The destination address.
    pub address: IpAddr,
    /// The destination port.
    pub port: u16,
    /// The only source, of the address's family; any where `None`.
    pub source: Option<IpAddr>,
}

/// How a datagram fares after the packet sockets have had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It ends: neither local sockets nor the kernel's routing see it.
    Ends,
    /// It goes on, for one source although it ends for all others.
    GoesOn,
}

/// What ends at the ingress of the linked interfaces. An entry with a source goes before the one
/// for any source.
#[derive(Debug)]
pub struct Exclusions {
    table: Table,
    /// The programs, made when they are first needed.
    programs: HashMap<LinkHeader, OwnedFd>,
}

/// The program at one interface's ingress; it goes when this is dropped.
#[derive(Debug)]
pub struct IngressLink {
    _link: OwnedFd,
}

const NEEDS_BPF: &str = "needs CAP_BPF and CAP_NET_ADMIN outside any user namespace: run as root \
                         or with setcap cap_bpf,cap_net_admin,cap_net_raw+ep on the program";
const NEEDS_TCX: &str = "needs tcx: Linux 6.6 or later, and a kernel built with CONFIG_BPF_SYSCALL";

impl Exclusions {
    /// No entry yet, and room for so many.
    pub fn create(entries: u32) -> Result<Self, SetupError> {
        let table = Table::create(entries);
        let table = table.map_err(|error| refused("making the table of a BPF program", error))?;
        Ok(Self { table, programs: HashMap::new() })
    }

    /// Makes an entry or changes it.
    pub fn set(&self, taken: &Taken, fate: Fate) -> Result<(), SetupError> {
        let set = self.table.set(taken, fate);
        set.map_err(|error| refused("making an entry in the table of a BPF program", error))
    }

    /// Takes an entry out. `ENOENT`: there is none.
    pub fn remove(&self, taken: &Taken) -> io::Result<()> {
        self.table.remove(taken)
    }

    /// Puts the program to an interface, whose frames start with `link`.
    pub fn attach(
        &mut self,
        ifname: &str,
        ifindex: u32,
        link: LinkHeader,
    ) -> Result<IngressLink, SetupError> {
        if !self.programs.contains_key(&link) {
            let loaded = kernel::load(&program::compile(link, self.table.as_fd()));
            let loaded = loaded.map_err(|error| refused("loading a BPF program", error))?;
            self.programs.insert(link, loaded);
        }
        let made = kernel::link_at_ingress(self.programs[&link].as_fd(), ifindex);
        let what = || format!("attaching a BPF program to the ingress of {ifname}");
        Ok(IngressLink { _link: made.map_err(|error| refused(what(), error))? })
    }
}

fn refused(what: impl Into<String>, cause: io::Error) -> SetupError {
    let errno = cause.raw_os_error();
    let error = SetupError::new(what, cause);
    match errno {
        Some(libc::EPERM | libc::EACCES) => error.with_hint(NEEDS_BPF),
        // An attach type that the kernel does not know, and a system call that it does not have.
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => error.with_hint(NEEDS_TCX),
        _ => error,
    }
}
