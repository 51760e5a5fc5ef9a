//! The choice of the worker that handles a frame.
//!
//! The kernel steers each frame by a classic BPF program, which computes the same hash
//! (`Program::steer_by_hash` in mcr-sys; a test there holds both against each other). So it is made
//! of what that machine has: 32-bit multiplications, shifts and exclusive ors.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::ids::WorkerId;

/// How frames are divided among the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steering {
    /// The core that received the frame handles it; every worker has every rule.
    #[default]
    Cpu,
    /// The destination decides; each worker has its share of the rules.
    Hash,
}

impl Steering {
    /// Every choice, as written on a command line and in a configuration file.
    pub const NAMES: [&str; 2] = ["cpu", "hash"];
}

impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Steering {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Cpu, Self::Hash]
            .into_iter()
            .find(|steering| steering.to_string() == text)
            .ok_or_else(|| format!("{text:?} is none of {}", Self::NAMES.join(", ")))
    }
}

/// The workers and what each of them is to hold.
#[derive(Clone, Debug)]
pub struct Shares {
    steering: Steering,
    seeds: Vec<u32>,
}

impl Shares {
    /// For workers on these cores, in the order of their numbers.
    pub fn new(steering: Steering, cores: &[usize]) -> Self {
        Self { steering, seeds: cores.iter().copied().map(seed).collect() }
    }

    /// How frames are divided.
    pub fn steering(&self) -> Steering {
        self.steering
    }

    /// The seeds of each worker's weights, in the order of their numbers.
    pub fn seeds(&self) -> &[u32] {
        &self.seeds
    }

    /// The only worker that holds the rules for datagrams to this destination; `None`: all do.
    pub fn owner(&self, address: IpAddr, port: u16) -> Option<WorkerId> {
        match self.steering {
            Steering::Cpu => None,
            Steering::Hash => Some(WorkerId(heaviest(key(address, port), &self.seeds))),
        }
    }
}

/// A worker's seed. It comes of its core and not of its number, so that a core that is added or
/// taken away changes nobody else's.
fn seed(core: usize) -> u32 {
    (core as u32).wrapping_add(1).wrapping_mul(FIRST)
}

/// 2^32 divided by the golden ratio, odd (Knuth, "The Art of Computer Programming", 6.4).
const FIRST: u32 = 0x9e37_79b9;

/// Multipliers of 32-bit hashes with little bias, found by search (C. Wellons, "lowbias32").
const SECOND: u32 = 0x7feb_352d;
const THIRD: u32 = 0x846c_a68b;

/// Half of the word, by which the better mixed upper bits reach the lower.
const SHIFT: u32 = 15;

/// A destination in a word: the address's words one after the other, then the port.
fn key(address: IpAddr, port: u16) -> u32 {
    let folded = match address {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => v6
            .octets()
            .as_chunks()
            .0
            .iter()
            .fold(0, |hash: u32, word| hash.wrapping_mul(FIRST) ^ u32::from_be_bytes(*word)),
    };
    let mixed = folded.wrapping_mul(FIRST);
    mixed ^ (mixed >> SHIFT) ^ u32::from(port)
}

/// The place of the seed that has the highest weight for the key, the first of equals (D. Thaler
/// and C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998): one that comes
/// takes a share of each other's, one that goes leaves its own to all others; nothing else moves.
fn heaviest(key: u32, seeds: &[u32]) -> u32 {
    let mut best = (0, 0);
    for (place, seed) in (0_u32..).zip(seeds) {
        let weight = weight(key, *seed);
        if place == 0 || weight > best.1 {
            best = (place, weight);
        }
    }
    best.0
}

fn weight(key: u32, seed: u32) -> u32 {
    let mixed = (key ^ seed).wrapping_mul(SECOND);
    (mixed ^ (mixed >> SHIFT)).wrapping_mul(THIRD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_hash(cores: &[usize]) -> Shares {
        Shares::new(Steering::Hash, cores)
    }

    /// The core whose worker holds the rules for a destination.
    fn core(cores: &[usize], address: IpAddr, port: u16) -> usize {
        cores[by_hash(cores).owner(address, port).unwrap().0 as usize]
    }

    fn destinations() -> impl Iterator<Item = (IpAddr, u16)> {
        // As plants number them: groups one after the other, one port or a few.
        (0..10_000_u32).map(|n| {
            let group = (n / 4).to_be_bytes();
            let address: IpAddr = if n % 2 == 0 {
                [239, 1, group[2], group[3]].into()
            } else {
                let mut v6 = [0; 16];
                v6[..2].copy_from_slice(&[0xff, 0x3e]);
                v6[14..].copy_from_slice(&group[2..]);
                v6.into()
            };
            (address, 5_000 + 2 * (n / 2 % 2) as u16)
        })
    }

    #[test]
    fn by_core_everybody_holds_everything() {
        let shares = Shares::new(Steering::Cpu, &[0, 1]);
        assert_eq!(shares.owner([239, 1, 1, 1].into(), 5_000), None);
    }

    #[test]
    fn shares_are_alike() {
        for workers in [2, 3, 4, 8, 16, 64] {
            let cores: Vec<_> = (0..workers).collect();
            let mut shares = vec![0_usize; workers];
            for (address, port) in destinations() {
                shares[core(&cores, address, port)] += 1;
            }
            let fair = 10_000 / workers;
            // Six deviations of a fair die.
            let tolerance = 6 * fair.isqrt();
            let alike = shares.iter().all(|share| share.abs_diff(fair) <= tolerance);
            assert!(alike, "{workers} workers: {shares:?}");
        }
    }

    #[test]
    fn names_are_read_as_written() {
        for steering in [Steering::Cpu, Steering::Hash] {
            assert_eq!(steering.to_string().parse(), Ok(steering));
        }
        assert_eq!("dice".parse::<Steering>(), Err("\"dice\" is none of cpu, hash".into()));
    }

    proptest! {
        #[test]
        fn who_comes_or_goes_moves_its_own_share_only(
            cores in prop::collection::btree_set(0..256_usize, 2..20),
            who in any::<prop::sample::Index>(),
            address in any::<IpAddr>(),
            port in any::<u16>(),
        ) {
            let all: Vec<_> = cores.into_iter().collect();
            let one = all[who.index(all.len())];
            let others: Vec<_> = all.iter().copied().filter(|core| *core != one).collect();
            let (with, without) = (core(&all, address, port), core(&others, address, port));
            prop_assert!(with == one || with == without);
        }
    }
}
