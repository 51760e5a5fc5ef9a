//! Taking a [`Record`] into use, and reading one, while its one writer goes on.
//!
//! Words are loaded and stored in no order of their own (relaxed). The fences here give the order:
//! a reader that finds the tag it looks for before and after it read the counters has read those
//! of that very thing.

use super::Record;

/// The words of a ledger, as its writer or a reader sees them.
pub trait Memory {
    /// Loads a word, in no order with others.
    fn load(&self, word: usize) -> u64;
    /// Stores a word, in no order with others. For a reader never called.
    fn store(&self, word: usize, value: u64);
    /// A fence with release order.
    fn release(&self);
    /// A fence with acquire order.
    fn acquire(&self);
}

/// Takes a record into use for the thing of that tag, with zero counters; one that is that thing's
/// already keeps its counters.
pub fn open(memory: &impl Memory, record: Record, tag: u64) {
    if memory.load(record.tag()) == tag {
        return;
    }
    memory.store(record.tag(), 0);
    // Whoever sees any counter of what follows finds the old tag gone when it looks again.
    memory.release();
    for word in record.counters() {
        memory.store(word, 0);
    }
    // Whoever finds the new tag finds zeros, or what came later.
    memory.release();
    memory.store(record.tag(), tag);
}

/// What `body` reads of the record, if it was that thing's all the while.
pub fn read<T>(
    memory: &impl Memory,
    record: Record,
    tag: u64,
    body: impl FnOnce() -> T,
) -> Option<T> {
    if memory.load(record.tag()) != tag {
        return None;
    }
    memory.acquire();
    let read = body();
    memory.acquire();
    (memory.load(record.tag()) == tag).then_some(read)
}
