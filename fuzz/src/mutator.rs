//! Mutations by chance, the same from the same seed.

use fastrand::Rng;

/// Numbers at which lengths and counts turn.
const EDGES: [u8; 8] = [0, 1, 0x0f, 0x7f, 0x80, 0xf0, 0xfe, 0xff];

/// The longest input: a jumbo frame with what stands beside it.
const LONGEST: usize = 10_000;

/// An input of the corpus with some mutations, and parts of another.
pub fn mutated(corpus: &[Vec<u8>], chance: &mut Rng) -> Vec<u8> {
    let any = |chance: &mut Rng| corpus.get(below(chance, corpus.len()));
    let mut input = any(chance).cloned().unwrap_or_default();
    // Mostly few: what is far from the corpus is refused at the first byte.
    let most = 1 << below(chance, 5);
    for _ in 0..=below(chance, most) {
        match below(chance, 8) {
            0 => input.truncate(below(chance, input.len() + 1)),
            1 => {
                let other = any(chance).map_or(&[][..], Vec::as_slice);
                splice(&mut input, other, chance);
            }
            2 => {
                let own = input.clone();
                splice(&mut input, &own, chance);
            }
            3 => {
                let from = below(chance, input.len());
                let to = from + below(chance, (input.len() - from).min(16) + 1);
                input.drain(from..to);
            }
            kind => change_byte(&mut input, kind, chance),
        }
    }
    input.truncate(LONGEST);
    input
}

/// A number below `end`; 0 where that is 0.
fn below(chance: &mut Rng, end: usize) -> usize {
    if end == 0 { 0 } else { chance.usize(..end) }
}

fn change_byte(input: &mut Vec<u8>, kind: usize, chance: &mut Rng) {
    let at = below(chance, input.len());
    let Some(byte) = input.get_mut(at) else {
        input.push(chance.u8(..));
        return;
    };
    match kind {
        4 => *byte ^= 1 << below(chance, 8),
        5 => *byte = EDGES[below(chance, EDGES.len())],
        6 => *byte = byte.wrapping_add(below(chance, 9) as u8).wrapping_sub(4),
        _ => *byte = chance.u8(..),
    }
}

/// Puts a part of `other` over or into the input.
fn splice(input: &mut Vec<u8>, other: &[u8], chance: &mut Rng) {
    let from = below(chance, other.len());
    let to = from + below(chance, other.len() - from + 1);
    let at = below(chance, input.len() + 1);
    let over = if below(chance, 2) == 0 { at } else { (at + to - from).min(input.len()) };
    input.splice(at..over, other[from..to].iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let corpus = [b"one input".to_vec(), b"another".to_vec(), Vec::new()];
        let some = |seed| {
            let mut chance = Rng::with_seed(seed);
            (0..1_000).map(|_| mutated(&corpus, &mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
        let mut different = some(7);
        different.sort_unstable();
        different.dedup();
        assert!(different.len() > 500, "{} of 1,000", different.len());
        assert!(mutated(&[], &mut Rng::with_seed(1)).len() <= LONGEST);
    }
}
