//! Writer and reader of a ledger under every order that the memory model allows (loom).

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
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
