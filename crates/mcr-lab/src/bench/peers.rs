//! Who relays: MCR in its two ways, and what a user would otherwise take.

mod kernel;
mod mcr;
mod socat;

use anyhow::{Result, bail};
use mcr_api::control::Mechanism;
use mcr_sys::mroute::KernelMulticastRouter;
use serde::Serialize;

use super::bed::Bed;
use super::scenario::{Path, Scenario};
use super::steering;
use crate::limits;

pub(super) use mcr::{Other, Work};

/// A relay that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Peer {
    /// MCR by `io_uring`.
    McrUring,
    /// MCR by `io_uring`, whose rules are exclusive: the host's own stack sees none of it.
    McrExclusive,
    /// MCR by `poll` and `sendmmsg`.
    McrPoll,
    /// The kernel's multicast forwarding.
    Kernel,
    /// socat, one process.
    Socat,
}

impl Peer {
    /// Every peer, in the order of tables.
    pub(super) const ALL: [Self; 5] =
        [Self::McrUring, Self::McrExclusive, Self::McrPoll, Self::Kernel, Self::Socat];

    /// What tables call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::McrUring => "MCR, io_uring",
            Self::McrExclusive => "MCR, exclusive",
            Self::McrPoll => "MCR, poll",
            Self::Kernel => "kernel forwarding",
            Self::Socat => "socat",
        }
    }

    /// Whether it is MCR, in whatever way.
    pub(super) fn is_mcr(self) -> bool {
        matches!(self, Self::McrUring | Self::McrExclusive | Self::McrPoll)
    }

    /// What it cannot do at all, whatever the scenario; `None` where it does the whole job.
    pub(super) fn shortcomings(self) -> Option<&'static str> {
        match self {
            Self::McrUring | Self::McrPoll => None,
            Self::McrExclusive => Some("needs Linux 6.6; other programs of the host hear nothing"),
            Self::Kernel => Some(
                "rewrites neither group nor port nor source, sends one copy an interface, and \
                 refuses unroutable sources",
            ),
            Self::Socat => Some("one input and one output a process; no counters"),
        }
    }

    /// Why it cannot be measured in a scenario; `None` if it can.
    pub(super) fn unable(self, scenario: &Scenario) -> Option<&'static str> {
        if scenario.path.is_polled() && !steering::may_move_kernel_threads() {
            return Some("moving the kernel's threads to a core needs root");
        }
        match self {
            Self::McrUring | Self::McrExclusive | Self::McrPoll => None,
            _ if scenario.fan_out > 1 => Some("no fan-out on one interface"),
            Self::Socat if !socat::is_installed() => Some("not installed"),
            Self::Socat if scenario.flows > 1 => Some("one process a flow"),
            Self::Kernel | Self::Socat if scenario.rules > scenario.flows.max(250) => {
                Some("not measured")
            }
            Self::Kernel | Self::Socat if scenario.workers > 1 => Some("has no workers"),
            Self::Kernel | Self::Socat => None,
        }
    }

    /// Datagrams that one frame of its may hold: MCR's GSO runs cross a veth pair unsplit.
    pub(super) fn largest_run(self, scenario: &Scenario) -> u64 {
        match self {
            Self::McrUring | Self::McrExclusive | Self::McrPoll => {
                (limits::MAX_DATAGRAM_BYTES / scenario.payload).clamp(1, 64) as u64
            }
            Self::Kernel if matches!(scenario.path, Path::SuperFrames | Path::MergedFrames) => 64,
            Self::Kernel | Self::Socat => 1,
        }
    }

    /// Starts it in the bed's relay namespace, on the relay's cores.
    /// `other` says how MCR is not the usual one.
    pub(super) fn start(self, bed: &Bed, other: Other<'_>) -> Result<Running> {
        let mcr = |mechanism, exclusive| {
            mcr::Mcr::start(bed, mcr::Manner { mechanism, exclusive }, other).map(Running::Mcr)
        };
        Ok(match self {
            Self::McrUring => mcr(Mechanism::Uring, false)?,
            Self::McrExclusive => mcr(Mechanism::Uring, true)?,
            Self::McrPoll => mcr(Mechanism::Poll, false)?,
            Self::Kernel => Running::Kernel(kernel::start(bed)?),
            Self::Socat => Running::Socat(socat::Socat::start(bed)?),
        })
    }
}

/// A relay at work. Dropped: stopped.
#[derive(Debug)]
pub(super) enum Running {
    /// MCR.
    Mcr(mcr::Mcr),
    /// The kernel.
    // Held for what it does: the routes go with it.
    Kernel(#[expect(dead_code)] KernelMulticastRouter),
    /// socat.
    Socat(socat::Socat),
}

impl Running {
    /// MCR itself; an error where the relay is another.
    pub(super) fn mcr(&self) -> Result<&mcr::Mcr> {
        match self {
            Self::Mcr(mcr) => Ok(mcr),
            Self::Kernel(_) | Self::Socat(_) => bail!("the relay is not MCR"),
        }
    }

    /// What the relay itself counted, where it does.
    pub(super) fn work(&self) -> Result<Option<Work>> {
        match self {
            Self::Mcr(mcr) => mcr.work().map(Some),
            Self::Kernel(_) | Self::Socat(_) => Ok(None),
        }
    }

    /// Bytes resident in each relaying process beside its receive rings, the largest of them.
    pub(super) fn resident_bytes(&self) -> Result<Option<u64>> {
        match self {
            Self::Mcr(mcr) => mcr.resident_bytes().map(Some),
            Self::Socat(socat) => socat.resident_bytes().map(Some),
            Self::Kernel(_) => Ok(None),
        }
    }
}
