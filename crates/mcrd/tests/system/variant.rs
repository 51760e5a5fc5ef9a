//! The ways to run each trial: by address family, number of workers, mechanism and steering.
//!
//! Not every combination is tried each time, but every pair of values is. `MCR_TRIALS=all` tries
//! them all, as before a release.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use mcr_api::control::{Mechanism, Steering};
use mcr_lab::harness::{Skip, Suite};
use mcr_lab::topology;
use mcr_sys::process::allowed_cores;
use mcr_sys::uring::Uring;

/// An address family, and the addresses of it that trials use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// The `n`th group that sources send to.
    pub(crate) fn group(self, n: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(239, 1, 1, n).into(),
            Self::V6 => Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 1, n.into()).into(),
        }
    }

    /// The `n`th group that the relay sends to.
    pub(crate) fn output_group(self, n: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(239, 2, 2, n).into(),
            Self::V6 => Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 2, n.into()).into(),
        }
    }

    /// The address of `srcN`.
    pub(crate) fn source(self, link: u8) -> IpAddr {
        self.pick(topology::source_v4(link), topology::source_v6(link))
    }

    /// The relay's address on `inN`.
    pub(crate) fn ingress(self, link: u8) -> IpAddr {
        self.pick(topology::ingress_v4(link), topology::ingress_v6(link))
    }

    /// The relay's address on `outN`.
    pub(crate) fn egress(self, link: u8) -> IpAddr {
        self.pick(topology::egress_v4(link), topology::egress_v6(link))
    }

    /// The address of `sinkN`.
    pub(crate) fn sink(self, link: u8) -> IpAddr {
        self.pick(topology::sink_v4(link), topology::sink_v6(link))
    }

    fn pick(self, v4: Ipv4Addr, v6: Ipv6Addr) -> IpAddr {
        match self {
            Self::V4 => v4.into(),
            Self::V6 => v6.into(),
        }
    }
}

/// `ADDRESS:PORT@INTERFACE`
pub(crate) fn endpoint(address: SocketAddr, ifname: &str) -> String {
    format!("{address}@{ifname}")
}

/// One way to run a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) family: Family,
    /// How many workers, each on a core of its own.
    pub(crate) workers: usize,
    /// How workers reach the kernel.
    pub(crate) io: Mechanism,
    /// Who handles a frame.
    pub(crate) steering: Steering,
}

impl Variant {
    /// Every combination, steered by CPU; [`matrix`] adds the others.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for family in Family::BOTH {
            for workers in [1, 2] {
                for io in [Mechanism::Uring, Mechanism::Poll] {
                    all.push(Self { family, workers, io, steering: Steering::Cpu });
                }
            }
        }
        all
    }

    /// Both families, each with two workers and `io_uring`: for what the control plane does.
    pub(crate) fn both_families() -> Vec<Self> {
        Self::all().into_iter().filter(|v| v.workers == 2 && v.io == Mechanism::Uring).collect()
    }

    /// IPv4, two workers, `io_uring`: for what has neither family nor mechanism.
    pub(crate) fn usual() -> Self {
        Self { family: Family::V4, workers: 2, io: Mechanism::Uring, steering: Steering::Cpu }
    }

    /// The cores to run the workers on.
    ///
    /// # Errors
    /// A [`Skip`] on a machine that has too few of them, or forbids the mechanism.
    pub(crate) fn cores(self) -> Result<Vec<usize>> {
        let mut cores = allowed_cores();
        let (allowed, wanted) = (cores.len(), self.workers);
        if allowed < wanted {
            let reason = format!("{wanted} workers need as many cores, and {allowed} is allowed");
            return Err(Skip::Forbidden(reason).into());
        }
        if self.io == Mechanism::Uring {
            Uring::new(1).map_err(|error| Skip::Forbidden(error.to_string()))?;
        }
        cores.truncate(self.workers);
        Ok(cores)
    }
}

impl fmt::Display for Variant {
    /// `v6::2_workers::poll`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "v4",
            Family::V6 => "v6",
        };
        let plural = if self.workers == 1 { "" } else { "s" };
        write!(f, "{family}::{}_worker{plural}::{}", self.workers, self.io.name())?;
        match self.steering {
            Steering::Cpu => Ok(()),
            Steering::Hash => f.write_str("::by_hash"),
        }
    }
}

/// A trial that can be run in several ways.
pub(crate) type VariantTrial = fn(Variant) -> Result<()>;

/// Set to `all`: every combination is tried, as before a release.
const TRIALS: &str = "MCR_TRIALS";

/// Registers a trial once for each variant, `name::v6::2_workers::poll`, and where there are
/// several workers once more steered by hash: of these combinations a [`selection`].
pub(crate) fn matrix(suite: Suite, name: &str, variants: &[Variant], trial: VariantTrial) -> Suite {
    let several = variants.iter().filter(|variant| variant.workers > 1);
    let by_hash = several.map(|variant| Variant { steering: Steering::Hash, ..*variant });
    let all: Vec<Variant> = variants.iter().copied().chain(by_hash).collect();
    let wants_all = std::env::var(TRIALS).is_ok_and(|wanted| wanted == "all");
    let chosen = if wants_all { all } else { selection(name, &all) };
    chosen.into_iter().fold(suite, |suite, variant| {
        suite.trial(format!("{name}::{variant}"), move || trial(variant))
    })
}

/// A value of one of the things that vary: its place among them, and the value.
type Value = (usize, usize);

/// Of combinations as few as cover each pair of values: family, mechanism, and workers with their
/// steering. Where only two things vary, that would be all of them: then each value is covered, and
/// the trials take the pairs by turns.
fn selection(name: &str, all: &[Variant]) -> Vec<Variant> {
    let values = |variant: &Variant| -> [Value; 3] {
        let family = usize::from(variant.family == Family::V6);
        let io = usize::from(variant.io == Mechanism::Poll);
        let hash = usize::from(variant.steering == Steering::Hash);
        [(0, family), (1, io), (2, 2 * variant.workers + hash)]
    };
    let varying = (0..3).filter(|place| {
        let first = all.first().map(|variant| values(variant)[*place]);
        all.iter().any(|variant| Some(values(variant)[*place]) != first)
    });
    let in_pairs = varying.count() > 2;
    let covers = |variant: &Variant| -> Vec<(Value, Value)> {
        let [a, b, c] = values(variant);
        if in_pairs { vec![(a, b), (a, c), (b, c)] } else { vec![(a, a), (b, b), (c, c)] }
    };
    let mut open: BTreeSet<_> = all.iter().flat_map(covers).collect();
    let turn = name.bytes().map(usize::from).sum::<usize>() % all.len().max(1);
    let mut candidates = all.to_vec();
    candidates.rotate_left(turn);
    let mut chosen = Vec::new();
    while !open.is_empty() {
        let gain = |variant: &&Variant| covers(variant).iter().filter(|c| open.contains(c)).count();
        // Of equals the first.
        let best = *candidates.iter().rev().max_by_key(gain).expect("candidates cover all");
        for covered in covers(&best) {
            open.remove(&covered);
        }
        chosen.push(best);
    }
    chosen
}
