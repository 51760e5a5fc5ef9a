//! Circles through other relays: two of them in opposite directions between two networks send each
//! datagram round for ever. A payload that one sender began comes back from another one, again and
//! again.
//!
//! All workers share a table of what they saw lately, because a payload and its return may come to
//! different cores. They look into it for a sample of the datagrams. While a rule is braked, all of
//! its datagrams are taken down. Words race, and a lost update is a sighting less.

use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::RuleSlot;
use crate::limits;

/// A payload's fingerprint: that of a [`glance`] for detection, or a [`whole`] one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

const FACTORS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];

/// Of a payload's length and 32 of its bytes: cheap enough for every datagram.
#[inline]
pub fn glance(rule: RuleSlot, payload: &[u8]) -> Fingerprint {
    let length = payload.len();
    let word =
        |at: usize| payload[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let sum = if length < 16 {
        payload.iter().fold(1, |sum: u64, byte| (sum << 8) ^ (sum >> 56) ^ u64::from(*byte))
    } else {
        let [first, second] = [word(0), word(8)];
        let [middle, last] = [word(length / 2 - 4), word(length - 8)];
        fold(first ^ FACTORS[0], second ^ FACTORS[1]) ^ fold(middle ^ FACTORS[2], last ^ FACTORS[3])
    };
    Fingerprint(fold(sum ^ FACTORS[1], u64::from(rule.0) << 32 ^ length as u64 ^ FACTORS[2]))
}

/// Of the whole payload: what a brake goes by.
pub fn whole(rule: RuleSlot, payload: &[u8]) -> Fingerprint {
    let mut hasher = foldhash::quality::FixedState::with_seed(u64::from(rule.0)).build_hasher();
    hasher.write(payload);
    Fingerprint(hasher.finish())
}

fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product >> 64) as u64 ^ product as u64
}

impl Fingerprint {
    /// Whether every datagram of this payload is looked at, also under load. The others are where
    /// they end a run.
    #[inline]
    pub fn is_sampled(self) -> bool {
        self.0.is_multiple_of(limits::SIGHTING_SAMPLE)
    }

    fn place(self, of: usize) -> usize {
        (self.0 >> 8) as usize % of
    }

    fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The source of a datagram, in few bits; never 0.
fn sender_bits(source: SocketAddr) -> u32 {
    foldhash::quality::FixedState::default().hash_one(source) as u32 | 1
}

/// Words of a sighting: tag and first sender; another sender and the time in ms; how often the
/// first one sent the payload, and the other one.
const SIGHTING_WORDS: usize = 4;

/// Sightings in two halves: payloads of the sample stay in theirs longer. Then what braked rules
/// relayed, and which rules are braked.
const RECENT: usize = 2 * limits::SIGHTINGS * SIGHTING_WORDS;
const BRAKED: usize = RECENT + limits::RECENT_PAYLOADS;

/// Words that the workers share.
pub const WORDS: usize = BRAKED + limits::BRAKES;

/// Takes down that a payload came from there. Returns whether it came back from another sender more
/// often than the first one explains.
///
/// Two redundant senders send each payload as often as each other. So does a fleet of sensors with
/// a constant payload, unless one is far faster than the first.
pub fn sight(words: &[AtomicU64], glance: Fingerprint, source: SocketAddr, now: u64) -> bool {
    let half = if glance.is_sampled() { limits::SIGHTINGS } else { 0 };
    let at = (half + glance.place(limits::SIGHTINGS)) * SIGHTING_WORDS;
    let Some([payload, other, counts, ..]) = words.get(at..at + SIGHTING_WORDS) else {
        return false;
    };
    let (sender, now) = (sender_bits(source), milliseconds(now));
    let [tag, first] = halves(payload.load(Ordering::Relaxed));
    let [second, since] = halves(other.load(Ordering::Relaxed));
    let [sent, returned] = halves(counts.load(Ordering::Relaxed));
    if tag != glance.tag() || now.wrapping_sub(since) > limits::SUSPICION_MS {
        payload.store(whole_of([glance.tag(), sender]), Ordering::Relaxed);
        other.store(whole_of([0, now]), Ordering::Relaxed);
        counts.store(whole_of([1, 0]), Ordering::Relaxed);
        return false;
    }
    if first == sender {
        other.store(whole_of([second, now]), Ordering::Relaxed);
        counts.store(whole_of([sent.saturating_add(1), returned]), Ordering::Relaxed);
        return false;
    }
    if second == 0 {
        other.store(whole_of([sender, since]), Ordering::Relaxed);
    } else if second != sender {
        return false;
    }
    let returned = returned.saturating_add(1);
    counts.store(whole_of([sent, returned]), Ordering::Relaxed);
    (sent == 1 && returned > 1) || returned / limits::RETURNS_FOR_EACH > sent
}

/// Has all workers take down what a rule relays.
pub fn announce_brake(words: &[AtomicU64], rule: RuleSlot, now: u64) {
    let place = BRAKED + rule.0 as usize % limits::BRAKES;
    let word = whole_of([rule.0, milliseconds(now)]);
    if let Some(braked) = words.get(place)
        && braked.load(Ordering::Relaxed) != word
    {
        braked.store(word, Ordering::Relaxed);
    }
}

/// Whether a rule at this place is braked by some worker.
pub fn braked_at(words: &[AtomicU64], place: usize, now: u64) -> Option<RuleSlot> {
    let [rule, since] = halves(words.get(BRAKED + place)?.load(Ordering::Relaxed));
    let is_set = since != 0 && milliseconds(now).wrapping_sub(since) <= limits::BRAKE_MS;
    is_set.then_some(RuleSlot(rule))
}

/// Takes down that a braked rule is about to relay a payload. Returns whether it was relayed within
/// the last second already: from another sender, or, where `drains`, from any.
pub fn is_relayed(words: &[AtomicU64], sighting: &Sighting, drains: bool) -> bool {
    let Sighting { whole, source, now } = *sighting;
    let Some(word) = words.get(RECENT + whole.place(limits::RECENT_PAYLOADS)) else {
        return false;
    };
    // Tag, sender and time share one word.
    let (tag, sender) = (whole.tag() & 0xff_ffff, sender_bits(source) & 0xf_ffff);
    let (tag, sender) = (u64::from(tag), u64::from(sender));
    let time = u64::from(milliseconds(now)) & 0xf_ffff;
    let before = word.load(Ordering::Relaxed);
    let is_recent =
        before >> 40 == tag && (time.wrapping_sub(before) & 0xf_ffff) < limits::RECENT_MS;
    if is_recent && (drains || before >> 20 & 0xf_ffff != sender) {
        return true;
    }
    word.store(tag << 40 | sender << 20 | time, Ordering::Relaxed);
    false
}

/// A datagram of a braked rule.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// The fingerprint of its whole payload.
    pub whole: Fingerprint,
    /// Its source.
    pub source: SocketAddr,
    /// When, on the monotonic clock in nanoseconds.
    pub now: u64,
}

fn halves(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

fn whole_of([high, low]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The suspicions of one worker.
#[derive(Debug)]
pub struct Suspicions([Suspicion; limits::SUSPICIONS]);

impl Default for Suspicions {
    fn default() -> Self {
        Self([Suspicion::default(); limits::SUSPICIONS])
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Suspicion {
    rule: u32,
    sender: u32,
    returns: u32,
    since_ms: u32,
}

impl Suspicions {
    /// A rule's payload came back from there. Returns whether that is a circle.
    pub fn confirm(&mut self, rule: RuleSlot, source: SocketAddr, now: u64) -> bool {
        let (rule, sender) = (rule.0, sender_bits(source));
        let place = (rule ^ sender >> 1) as usize % limits::SUSPICIONS;
        let suspicion = &mut self.0[place];
        let is_new = suspicion.rule != rule
            || suspicion.sender != sender
            || milliseconds(now).wrapping_sub(suspicion.since_ms) > limits::SUSPICION_MS;
        if is_new {
            *suspicion = Suspicion { rule, sender, returns: 0, since_ms: milliseconds(now) };
        }
        suspicion.returns += 1;
        suspicion.returns >= limits::RETURNS
    }
}

fn milliseconds(now: u64) -> u32 {
    (now / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: RuleSlot = RuleSlot(3);
    const SECOND: u64 = 1_000_000_000;

    fn words() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn from(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 5000))
    }

    /// How many of the sightings, one a millisecond, are returns that nothing else explains.
    fn returns(sightings: impl IntoIterator<Item = (u64, u8)>) -> usize {
        let words = words();
        let seen = |(at, (payload, last)): (u64, (u64, u8))| {
            let mut bytes = [0; 40];
            bytes[12..20].copy_from_slice(&payload.to_be_bytes());
            sight(&words, glance(RULE, &bytes), from(last), 10 * SECOND + at * 1_000_000)
        };
        (0..).zip(sightings).map(seen).filter(|is_return| *is_return).count()
    }

    #[test]
    fn one_datagram_that_circles_is_seen() {
        assert_eq!(returns([(1, 7)].into_iter().chain((0..40).map(|_| (1, 2)))), 39);
    }

    #[test]
    fn a_constant_payload_that_circles_is_seen() {
        let mut circling = (0..5).map(|_| (1, 7)).chain((0..2_000).map(|_| (1, 2)));
        assert!(returns(circling.by_ref()) > 1_000);
    }

    #[test]
    fn redundant_senders_and_constant_payloads_are_no_circle() {
        assert_eq!(returns((0..1_000).flat_map(|n| [(n, 7), (n, 8)])), 0, "two redundant senders");
        assert_eq!(returns((0..1_000).map(|_| (1, 7))), 0, "one sensor");
        assert_eq!(returns((0..1_000).flat_map(|_| [(1, 7), (1, 8)])), 0, "two alike");
        let fleet = (0..1_000).flat_map(|_| (7..100).map(|last| (1, last)));
        assert_eq!(returns(fleet), 0, "many alike");
        let restarted = (0..100).map(|_| (1, 7)).chain((0..500).map(|_| (1, 8)));
        assert_eq!(returns(restarted), 0, "a sensor that began again with another port");
    }

    #[test]
    fn a_circle_is_many_returns_in_a_short_time() {
        let confirmed = |every: u64| {
            let mut suspicions = Suspicions::default();
            (1..100).find(|n| suspicions.confirm(RULE, from(2), n * every))
        };
        assert_eq!(confirmed(SECOND), None);
        assert_eq!(confirmed(1_000), Some(u64::from(limits::RETURNS)));
    }

    #[test]
    fn what_another_sender_sent_is_known_for_a_second() {
        let words = words();
        let (this, other) = (whole(RULE, b"this"), whole(RULE, b"other"));
        let relayed = |whole, last, now, drains| {
            is_relayed(&words, &Sighting { whole, source: from(last), now }, drains)
        };
        let is_relayed = |payload, last, at| relayed(payload, last, at, false);
        assert!(!is_relayed(this, 7, 5 * SECOND));
        assert!(relayed(this, 7, 5 * SECOND, true), "a circle that is being emptied");
        assert!(!is_relayed(this, 7, 5 * SECOND), "a sensor repeats itself");
        assert!(is_relayed(this, 2, 5 * SECOND + SECOND / 2));
        assert!(!is_relayed(other, 2, 5 * SECOND));
        assert!(!is_relayed(this, 2, 7 * SECOND), "later it is the other one's own");
    }

    #[test]
    fn a_brake_is_announced_and_ends() {
        let words = words();
        assert!((0..limits::BRAKES).all(|place| braked_at(&words, place, SECOND).is_none()));
        announce_brake(&words, RULE, 5 * SECOND);
        let place = RULE.0 as usize;
        assert_eq!(braked_at(&words, place, 6 * SECOND), Some(RULE));
        assert_eq!(braked_at(&words, place, 16 * SECOND), None);
    }

    #[test]
    fn every_byte_of_a_payload_counts_for_a_brake() {
        let payload = [7; 100];
        for at in 0..payload.len() {
            let mut other = payload;
            other[at] ^= 1;
            assert_ne!(whole(RULE, &other), whole(RULE, &payload));
        }
        assert_ne!(whole(RuleSlot(4), &payload), whole(RULE, &payload));
    }

    #[test]
    fn payloads_of_all_lengths_have_a_glance() {
        let payload: Vec<u8> = (0..=200).collect();
        let glances: Vec<u64> = (0..200).map(|n| glance(RULE, &payload[..n]).0).collect();
        let mut distinct = glances.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), glances.len());
    }
}
