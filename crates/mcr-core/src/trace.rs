//! The record of a traced datagram's life, and its form in a ledger.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::ids::{IfIndex, RuleId};
use crate::ledger;
use crate::verdict::{DropReason, EgressError};

/// Bytes kept of a frame: the headers, with room for IP options or extension headers, and the
/// beginning of what MCR's users carry (RTP's header, MPEG-TS's first).
pub const HEAD_BYTES: usize = 96;

/// Words of an event in a ledger.
pub const EVENT_WORDS: usize = HEAD_WORD + HEAD_BYTES / 8;

/// The subject of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The datagrams that are a rule's, those included that something is wrong with.
    Rule(RuleId),
    /// Datagrams that come in by an interface and match no rule.
    Unmatched(IfIndex),
}

/// One step in a datagram's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds since 1970 (`CLOCK_REALTIME`).
    pub at_ns: u64,
    /// The worker's number for the datagram, the same in all steps of its life.
    pub datagram: u64,
    /// Its rule; `None`: no rule's.
    pub rule: Option<RuleId>,
    /// The interface that it came in by.
    pub ifindex: IfIndex,
    /// The step.
    pub step: Step,
    /// Its source, from [`Step::Handed`] on the source of the copy; `None` where it has no
    /// readable one.
    pub source: Option<SocketAddr>,
    /// Its destination, from [`Step::Handed`] on the destination of the copy; `None` likewise.
    pub destination: Option<SocketAddr>,
    /// Bytes of its frame as received.
    pub len: u32,
    /// The first of them.
    pub head: Head,
}

/// A step in the life of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The kernel had received it.
    Received,
    /// Its rule takes it, for so many outputs.
    Forwarded {
        /// How many.
        outputs: u32,
    },
    /// It is not forwarded.
    Dropped(DropReason),
    /// A copy is on its way to the rule's output at a place, from 0.
    Handed {
        /// The place.
        output: u32,
    },
    /// The kernel took that copy.
    Sent {
        /// The place.
        output: u32,
    },
    /// It did not.
    Failed {
        /// The place.
        output: u32,
        /// Why, as it is counted.
        error: EgressError,
        /// The kernel's error number (errno(3)); 0 where it was not asked.
        errno: u16,
    },
}

/// The first bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; HEAD_BYTES],
    len: u8,
}

impl Head {
    /// The first bytes of these parts, one behind the other.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut bytes = [0; HEAD_BYTES];
        let mut len = 0;
        for part in parts {
            let more = part.len().min(HEAD_BYTES - len);
            bytes[len..len + more].copy_from_slice(&part[..more]);
            len += more;
        }
        Self { bytes, len: len as u8 }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

const RECEIVED: u8 = 1;
const FORWARDED: u8 = 2;
const DROPPED: u8 = 3;
const HANDED: u8 = 4;
const SENT: u8 = 5;
const FAILED: u8 = 6;

/// Where an address is that there is not.
const NO_ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The first word of the head.
const HEAD_WORD: usize = 10;

impl Event {
    /// As it stands in a ledger. Numbers that share a word are in the order of their bytes from the
    /// least significant one.
    pub fn to_words(&self) -> [u64; EVENT_WORDS] {
        let (kind, detail, errno, output) = match self.step {
            Step::Received => (RECEIVED, 0, 0, 0),
            Step::Forwarded { outputs } => (FORWARDED, 0, 0, outputs),
            Step::Dropped(reason) => (DROPPED, reason.index() as u8, 0, 0),
            Step::Handed { output } => (HANDED, 0, 0, output),
            Step::Sent { output } => (SENT, 0, 0, output),
            Step::Failed { output, error, errno } => (FAILED, error.index() as u8, errno, output),
        };
        let port = |end: Option<SocketAddr>| end.map_or(0, |end| u64::from(end.port()));
        let address =
            |end: Option<SocketAddr>| ledger::address_words(end.map_or(NO_ADDRESS, |end| end.ip()));
        let mut words = [0; EVENT_WORDS];
        words[0] = self.at_ns;
        words[1] = self.datagram;
        words[2] = self.rule.map_or(0, |rule| rule.0);
        words[3] = u64::from(self.ifindex.0)
            | u64::from(kind) << 32
            | u64::from(detail) << 40
            | u64::from(errno) << 48;
        words[4] = u64::from(output) | u64::from(self.len) << 32;
        words[5] =
            port(self.source) | port(self.destination) << 16 | u64::from(self.head.len) << 32;
        [words[6], words[7]] = address(self.source);
        [words[8], words[9]] = address(self.destination);
        let (head, _) = self.head.bytes.as_chunks();
        for (word, bytes) in words[HEAD_WORD..].iter_mut().zip(head) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }

    /// Reads what stands in a ledger; `None` where that is no event.
    pub fn from_words(words: &[u64; EVENT_WORDS]) -> Option<Self> {
        let output = words[4] as u32;
        let step = match (words[3] >> 32) as u8 {
            RECEIVED => Step::Received,
            FORWARDED => Step::Forwarded { outputs: output },
            DROPPED => Step::Dropped(*DropReason::ALL.get((words[3] >> 40) as u8 as usize)?),
            HANDED => Step::Handed { output },
            SENT => Step::Sent { output },
            FAILED => Step::Failed {
                output,
                error: *EgressError::ALL.get((words[3] >> 40) as u8 as usize)?,
                errno: (words[3] >> 48) as u16,
            },
            _ => return None,
        };
        let mut bytes = [0; HEAD_BYTES];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(&words[HEAD_WORD..]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let len = (words[5] >> 32) as u8;
        Some(Self {
            at_ns: words[0],
            datagram: words[1],
            rule: (words[2] != 0).then_some(RuleId(words[2])),
            ifindex: IfIndex(words[3] as u32),
            step,
            source: end([words[6], words[7]], words[5] as u16),
            destination: end([words[8], words[9]], (words[5] >> 16) as u16),
            len: (words[4] >> 32) as u32,
            head: (usize::from(len) <= HEAD_BYTES).then_some(Head { bytes, len })?,
        })
    }
}

fn end(address: [u64; 2], port: u16) -> Option<SocketAddr> {
    let address = ledger::address(address);
    (address != NO_ADDRESS).then(|| SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step() -> impl Strategy<Value = Step> {
        let error = prop::sample::select(EgressError::ALL);
        prop_oneof![
            Just(Step::Received),
            any::<u32>().prop_map(|outputs| Step::Forwarded { outputs }),
            prop::sample::select(DropReason::ALL).prop_map(Step::Dropped),
            any::<u32>().prop_map(|output| Step::Handed { output }),
            any::<u32>().prop_map(|output| Step::Sent { output }),
            (any::<u32>(), error, any::<u16>()).prop_map(|(output, error, errno)| Step::Failed {
                output,
                error,
                errno
            }),
        ]
    }

    /// No address that stands for none, nor an IPv4 one in IPv6's clothes, which no wire carries.
    fn socket_address() -> impl Strategy<Value = Option<SocketAddr>> {
        let address = any::<(IpAddr, u16)>().prop_map(SocketAddr::from);
        prop::option::of(address.prop_filter("a canonical one", |address| {
            address.ip() == address.ip().to_canonical() && address.ip() != NO_ADDRESS
        }))
    }

    proptest! {
        #[test]
        fn what_stands_in_a_ledger_is_read_back(
            (at_ns, datagram, rule) in any::<(u64, u64, u32)>(),
            (ifindex, len, step) in (any::<u32>(), any::<u32>(), step()),
            (source, destination) in (socket_address(), socket_address()),
            frame in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let event = Event {
                at_ns,
                datagram,
                rule: (rule != 0).then_some(RuleId(rule.into())),
                ifindex: IfIndex(ifindex),
                step,
                source,
                destination,
                len,
                head: Head::of(&[&frame]),
            };
            prop_assert_eq!(Event::from_words(&event.to_words()), Some(event));
            prop_assert_eq!(event.head.bytes(), &frame[..frame.len().min(HEAD_BYTES)]);
        }

        #[test]
        fn no_words_make_the_reader_fail(words in any::<[u64; EVENT_WORDS]>()) {
            if let Some(event) = Event::from_words(&words) {
                prop_assert!(event.head.bytes().len() <= HEAD_BYTES);
            }
        }
    }

    #[test]
    fn a_head_may_come_in_parts() {
        assert_eq!(Head::of(&[b"ab", b"", b"cd"]).bytes(), b"abcd");
        assert_eq!(Head::of(&[&[1; 90], &[2; 90]]).bytes()[90..], [2; 6]);
    }
}
