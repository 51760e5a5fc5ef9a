//! The test payload: says which datagram it is and when it was sent, and proves itself whole.
//!
//! All integers big-endian: magic (4 bytes), stream (4), sequence (8), send time in nanoseconds
//! of `CLOCK_REALTIME` (8), then a pattern that depends on stream and sequence.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::limits;

/// The smallest test payload, in bytes: the header alone.
pub const MIN_BYTES: usize = 4 + 4 + 8 + 8;

const MAGIC: [u8; 4] = *b"MCRL";

/// How many different beginnings the pattern has: a prime, so that no power-of-two stride of
/// sequence numbers repeats one soon.
const PATTERN_PHASES: usize = 4093;

/// Pseudo-random bytes; a datagram's pattern is a window into them. One comparison of slices
/// then verifies a datagram, which keeps up with line rate in a debug build too.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    (0..PATTERN_PHASES + limits::MAX_DATAGRAM_BYTES)
        .map(|_| {
            // xorshift64: Marsaglia, "Xorshift RNGs".
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
});

/// Who a test datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which stream of the generator.
    pub stream: u32,
    /// Which datagram of the stream, from 0.
    pub sequence: u64,
    /// When it was sent, in nanoseconds since the epoch.
    pub sent_at_ns: u64,
}

/// What a received payload turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A test payload, every byte as sent.
    Intact(Header),
    /// A test payload whose pattern is damaged.
    Corrupt(Header),
    /// Not a test payload: too short or without the magic.
    Stray,
}

/// Writes a test payload that fills `buffer`.
///
/// # Panics
/// If `buffer` is shorter than [`MIN_BYTES`] or longer than the largest datagram.
pub fn write(buffer: &mut [u8], header: Header) {
    let body = write_header(buffer, header);
    body.copy_from_slice(pattern(header, body.len()));
}

/// Writes the header alone, and returns what follows it.
///
/// # Panics
/// If `buffer` is shorter than [`MIN_BYTES`].
pub(crate) fn write_header(buffer: &mut [u8], header: Header) -> &mut [u8] {
    let (head, body) = buffer.split_at_mut(MIN_BYTES);
    head[..4].copy_from_slice(&MAGIC);
    head[4..8].copy_from_slice(&header.stream.to_be_bytes());
    head[8..16].copy_from_slice(&header.sequence.to_be_bytes());
    head[16..].copy_from_slice(&header.sent_at_ns.to_be_bytes());
    body
}

/// A test payload of `bytes` bytes, sent now.
pub fn payload(stream: u32, sequence: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    write(&mut buffer, Header { stream, sequence, sent_at_ns: now_ns() });
    buffer
}

/// Reads a payload and verifies every byte of it.
pub fn verify(bytes: &[u8]) -> Verdict {
    let Some((header, body)) = read(bytes) else {
        return Verdict::Stray;
    };
    if body == pattern(header, body.len()) {
        Verdict::Intact(header)
    } else {
        Verdict::Corrupt(header)
    }
}

/// The header; `None` if this is no test payload.
pub(crate) fn read_header(bytes: &[u8]) -> Option<Header> {
    read(bytes).map(|(header, _)| header)
}

/// The header and what follows it; `None` if this is no test payload.
fn read(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (magic, rest) = bytes.split_first_chunk()?;
    let (stream, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (sent_at_ns, body) = rest.split_first_chunk()?;
    let header = Header {
        stream: u32::from_be_bytes(*stream),
        sequence: u64::from_be_bytes(*sequence),
        sent_at_ns: u64::from_be_bytes(*sent_at_ns),
    };
    (*magic == MAGIC && body.len() <= limits::MAX_DATAGRAM_BYTES).then_some((header, body))
}

/// `CLOCK_REALTIME` in nanoseconds: the clock of the kernel's receive timestamps.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn pattern(header: Header, bytes: usize) -> &'static [u8] {
    // Two multipliers without a common factor: neighbours in stream and sequence differ.
    let phase = header.sequence.wrapping_mul(31).wrapping_add(u64::from(header.stream) * 977);
    let start = (phase % PATTERN_PHASES as u64) as usize;
    &NOISE[start..start + bytes]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_verifies_as_written() {
        for bytes in [MIN_BYTES, MIN_BYTES + 1, 1000, limits::MAX_DATAGRAM_BYTES] {
            let Verdict::Intact(header) = verify(&payload(7, 99, bytes)) else {
                panic!("{bytes} bytes do not verify");
            };
            assert_eq!((header.stream, header.sequence), (7, 99));
        }
    }

    #[test]
    fn any_damaged_pattern_byte_is_noticed() {
        let whole = payload(1, 2, 200);
        for position in MIN_BYTES..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x10;
            assert!(matches!(verify(&damaged), Verdict::Corrupt(_)), "byte {position}");
        }
    }

    #[test]
    fn the_body_of_another_datagram_is_noticed() {
        let mut first = payload(1, 2, 200);
        let second = payload(1, 3, 200);
        first[MIN_BYTES..].copy_from_slice(&second[MIN_BYTES..]);
        assert!(matches!(verify(&first), Verdict::Corrupt(_)));
    }

    #[test]
    fn what_is_not_a_test_payload_is_stray() {
        assert_eq!(verify(&[]), Verdict::Stray);
        assert_eq!(verify(&[0; 100]), Verdict::Stray);
        assert_eq!(verify(&payload(1, 1, 100)[..MIN_BYTES - 1]), Verdict::Stray);
    }
}
