//! A few words of a ledger that are read whole or not at all, while their one writer goes on: a
//! sequence word tells whether they are being written, and the how many-eth text they are.
//!
//! Every store has release order and every load acquire order. So whoever has read one word of a
//! newer text finds the sequence word changed when it looks again, and whoever finds a sequence
//! word that says "written" finds all of that text. A writer never waits; a reader tries again.

/// Writes text number `number`: marks the words as being written, has `body` write them, and marks
/// them as written. All stores go through `store`, which is given a word and its value and stores
/// with release order.
pub fn write<S: FnMut(usize, u64)>(
    sequence: usize,
    number: u64,
    store: &mut S,
    body: impl FnOnce(&mut S),
) {
    store(sequence, 2 * number + 1);
    body(store);
    store(sequence, written(number));
}

/// The sequence word of the completed text of that number.
pub const fn written(number: u64) -> u64 {
    2 * number + 2
}

/// The number of the next text, given the sequence word.
pub const fn next_number(sequence: u64) -> u64 {
    sequence.div_ceil(2)
}

/// Reads the words with `body`, and returns what it read and that text's number; `None` where
/// nothing was ever written there, or where the writer was at work meanwhile. `load` is given a
/// word and loads with acquire order.
pub fn read<L: FnMut(usize) -> u64, T>(
    sequence: usize,
    load: &mut L,
    body: impl FnOnce(&mut L) -> T,
) -> Option<(u64, T)> {
    let before = load(sequence);
    if before == 0 || before % 2 == 1 {
        return None;
    }
    let read = body(load);
    (load(sequence) == before).then_some((before / 2 - 1, read))
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU64, Ordering};
    use loom::thread;

    use super::*;

    #[test]
    fn numbers_and_sequence_words_belong_together() {
        assert_eq!(next_number(0), 0);
        assert_eq!(next_number(written(0)), 1);
        assert_eq!(next_number(written(41)), 42);
    }

    /// The model: a text's words are its number, so that a torn one shows.
    #[test]
    fn no_reader_takes_a_half_written_text_for_a_whole_one() {
        loom::model(|| {
            let words = Arc::new([const { 0 }; 3].map(AtomicU64::new));
            let writer = {
                let words = Arc::clone(&words);
                thread::spawn(move || {
                    let mut store = |word: usize, value| {
                        words[word].store(value, Ordering::Release);
                    };
                    for number in 0..2 {
                        write(0, number, &mut store, |store| {
                            store(1, number + 10);
                            store(2, number + 20);
                        });
                    }
                })
            };
            let mut load = |word: usize| words[word].load(Ordering::Acquire);
            let seen = read(0, &mut load, |load| (load(1), load(2)));
            if let Some((number, text)) = seen {
                assert_eq!(text, (number + 10, number + 20), "torn");
            }
            writer.join().unwrap();
            let last = read(0, &mut load, |load| (load(1), load(2)));
            assert_eq!(last, Some((1, (11, 21))), "what is at rest is read");
        });
    }
}
