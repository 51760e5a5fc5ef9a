//! Mutations by chance, the same from the same seed.

/// A source of numbers (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
/// 2014).
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.next().checked_rem(end as u64).unwrap_or(0) as usize
    }
}

/// Numbers at which lengths and counts turn.
const EDGES: [u8; 8] = [0, 1, 0x0f, 0x7f, 0x80, 0xf0, 0xfe, 0xff];

/// The longest input: a jumbo frame with what stands beside it.
const LONGEST: usize = 10_000;

/// An input of the corpus with some mutations, and parts of another.
pub fn mutated(corpus: &[Vec<u8>], chance: &mut SplitMix64) -> Vec<u8> {
    let any = |chance: &mut SplitMix64| corpus.get(chance.below(corpus.len()));
    let mut input = any(chance).cloned().unwrap_or_default();
    // Mostly few: what is far from the corpus is refused at the first byte.
    let most = 1 << chance.below(5);
    for _ in 0..=chance.below(most) {
        match chance.below(8) {
            0 => input.truncate(chance.below(input.len() + 1)),
            1 => {
                let other = any(chance).map_or(&[][..], Vec::as_slice);
                splice(&mut input, other, chance);
            }
            2 => {
                let own = input.clone();
                splice(&mut input, &own, chance);
            }
            3 => {
                let from = chance.below(input.len());
                let to = from + chance.below((input.len() - from).min(16) + 1);
                input.drain(from..to);
            }
            kind => change_byte(&mut input, kind, chance),
        }
    }
    input.truncate(LONGEST);
    input
}

fn change_byte(input: &mut Vec<u8>, kind: usize, chance: &mut SplitMix64) {
    let at = chance.below(input.len());
    let Some(byte) = input.get_mut(at) else {
        input.push(chance.next() as u8);
        return;
    };
    match kind {
        4 => *byte ^= 1 << chance.below(8),
        5 => *byte = EDGES[chance.below(EDGES.len())],
        6 => *byte = byte.wrapping_add(chance.below(9) as u8).wrapping_sub(4),
        _ => *byte = chance.next() as u8,
    }
}

/// Puts a part of `other` over or into the input.
fn splice(input: &mut Vec<u8>, other: &[u8], chance: &mut SplitMix64) {
    let from = chance.below(other.len());
    let to = from + chance.below(other.len() - from + 1);
    let at = chance.below(input.len() + 1);
    let over = if chance.below(2) == 0 { at } else { (at + to - from).min(input.len()) };
    input.splice(at..over, other[from..to].iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let corpus = [b"one input".to_vec(), b"another".to_vec(), Vec::new()];
        let some = |seed| {
            let mut chance = SplitMix64::new(seed);
            (0..1_000).map(|_| mutated(&corpus, &mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
        let mut different = some(7);
        different.sort_unstable();
        different.dedup();
        assert!(different.len() > 800, "{} of 1,000", different.len());
        assert!(mutated(&[], &mut SplitMix64::new(1)).len() <= LONGEST);
    }
}
