//! Writer and reader of a ledger under every order that the memory model allows (loom).

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

use super::*;

/// Changes of the desired state; a third only repeats what two show, and takes minutes.
const CHANGES: u64 = 2;

/// The two words of the ledger that matter here.
struct Words {
    generation: AtomicU64,
    hash: AtomicU64,
}

impl Words {
    fn word(&self, index: usize) -> &AtomicU64 {
        match index {
            _ if index == header(Header::Generation) => &self.generation,
            _ if index == header(Header::Hash) => &self.hash,
            _ => panic!("word {index} is no part of a position"),
        }
    }
}

/// The state after so many changes.
fn state(generation: u64) -> Position {
    Position { generation, hash: StateHash(100 * generation) }
}

#[test]
fn a_reader_takes_no_torn_position_for_the_truth() {
    loom::model(|| {
        let ledger = Arc::new(Words { generation: AtomicU64::new(0), hash: AtomicU64::new(0) });
        let told = Arc::new(AtomicU64::new(0));
        let worker = {
            let (ledger, told) = (Arc::clone(&ledger), Arc::clone(&told));
            thread::spawn(move || {
                for _ in 0..2 {
                    let held = state(told.load(Ordering::Acquire));
                    publish(held, |word, value| ledger.word(word).store(value, Ordering::Release));
                }
            })
        };
        for desired in 1..=CHANGES {
            told.store(desired, Ordering::Release);
            let seen = position(|word| ledger.word(word).load(Ordering::Acquire));
            assert!(seen.generation <= desired);
            assert!(seen.hash.0 >= state(seen.generation).hash.0, "an old hash: {seen:?}");
            if seen.generation == desired {
                assert_eq!(seen, state(desired), "a torn pair at the desired generation");
            }
        }
        worker.join().unwrap();
        let last = position(|word| ledger.word(word).load(Ordering::Acquire));
        assert_eq!(last, state(last.generation));
    });
}

/// A record of two counters.
const RECORD: Record = Record { first: 0, words: 3 };

/// The tags that it bears in turns, and what is counted for each: for the second it would be told
/// from the first.
const TAGS: [u64; 2] = [1, 2];
const COUNTED: [u64; 2] = [5, 7];

/// A record in memory without any order of its own.
struct Tagged([AtomicU64; 3]);

impl tagged::Memory for Tagged {
    fn load(&self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    fn store(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    fn release(&self) {
        fence(Ordering::Release);
    }

    fn acquire(&self) {
        fence(Ordering::Acquire);
    }
}

#[test]
fn a_reader_takes_no_others_counters_for_a_records() {
    use tagged::Memory;

    loom::model(|| {
        let record = Arc::new(Tagged([TAGS[0], COUNTED[0], COUNTED[0]].map(AtomicU64::new)));
        let worker = {
            let record = Arc::clone(&record);
            thread::spawn(move || {
                tagged::open(&*record, RECORD, TAGS[1]);
                record.store(2, COUNTED[1]);
            })
        };
        let read = |tag| {
            let counters = || [1, 2].map(|word| record.load(word));
            tagged::read(&*record, RECORD, tag, counters)
        };
        if let Some(counters) = read(TAGS[0]) {
            assert_eq!(counters, [COUNTED[0]; 2]);
        }
        if let Some(counters) = read(TAGS[1]) {
            assert!(counters == [0, 0] || counters == [0, COUNTED[1]], "{counters:?}");
        }
        worker.join().unwrap();
    });
}
