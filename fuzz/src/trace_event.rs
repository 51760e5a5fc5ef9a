//! Trace events in a ledger, which a worker that was taken over may fill as it likes.

use mcr_core::ledger::seqlock;
use mcr_core::trace::{EVENT_WORDS, Event, HEAD_BYTES};

/// Reads the bytes as words of events: what is one is written as it would be read.
pub fn trace_event(data: &[u8]) {
    let (words, _) = data.as_chunks();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    for words in words.as_chunks::<EVENT_WORDS>().0 {
        if let Some(event) = Event::from_words(words) {
            assert!(event.head.bytes().len() <= HEAD_BYTES);
            let written = event.to_words();
            // An address may stand there in another way than MCR writes it, but not after that.
            let again = Event::from_words(&written).expect("it was just written");
            assert_eq!(again.to_words(), written);
        }
    }
    if let Some(first) = words.first() {
        assert_ne!(seqlock::next_number(*first), *first);
    }
}
