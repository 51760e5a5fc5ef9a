//! Traced datagrams as a pcapng file (draft-ietf-opsawg-pcapng): what came in, with the verdict as
//! each packet's comment. An interface is described where its first packet comes.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use mcr_api::control::TraceEvent;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapResult};

use super::lives::Life;

/// `if_tsresol`: nanoseconds, as a power of ten.
const NANOSECONDS: u8 = 9;

/// No limit of its own: what is kept of a frame, the events say.
const SNAP_LENGTH: u32 = 0;

/// Bytes of an option's text at most: its length is a word of 16 bits, and a longer one would make
/// the rest of the file unreadable. The verdict of a rule with very many outputs may be longer.
const COMMENT_BYTES: usize = u16::MAX as usize;

/// Writes the file.
pub(crate) struct Capture<W: Write> {
    writer: PcapNgWriter<W>,
    /// The number of each interface, by its name and whether it is Ethernet.
    interfaces: HashMap<(String, bool), u32>,
}

impl<W: Write> Capture<W> {
    /// Begins the file.
    pub(crate) fn new(file: W) -> PcapResult<Self> {
        Ok(Self { writer: PcapNgWriter::new(file)?, interfaces: HashMap::new() })
    }

    /// Adds a datagram; `comment` says what became of it.
    pub(crate) fn add(&mut self, life: &Life, comment: String) -> PcapResult<()> {
        let first = life.first();
        let interface_id = self.interface(first)?;
        self.writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(life.began_ns()),
            original_len: first.length,
            data: bytes(&first.head).into(),
            options: vec![EnhancedPacketOption::Comment(cut(comment).into())],
        })?;
        Ok(())
    }

    /// Has all of it written that there is.
    pub(crate) fn flush(&mut self) -> std::io::Result<()> {
        self.writer.get_mut().flush()
    }

    fn interface(&mut self, event: &TraceEvent) -> PcapResult<u32> {
        let key = (event.interface.clone(), event.ethernet);
        if let Some(number) = self.interfaces.get(&key) {
            return Ok(*number);
        }
        self.writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: if event.ethernet { DataLink::ETHERNET } else { DataLink::RAW },
            snaplen: SNAP_LENGTH,
            options: vec![
                InterfaceDescriptionOption::IfName(event.interface.clone().into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        })?;
        let number = self.interfaces.len() as u32;
        self.interfaces.insert(key, number);
        Ok(number)
    }
}

/// As much of a comment as an option takes; what is cut ends in `…`.
fn cut(mut comment: String) -> String {
    if comment.len() > COMMENT_BYTES {
        let keep = comment.floor_char_boundary(COMMENT_BYTES - '…'.len_utf8());
        comment.truncate(keep);
        comment.push('…');
    }
    comment
}

/// The bytes of the hexadecimal digits, up to the first character that is none.
fn bytes(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, _) = digits.as_bytes().as_chunks::<2>();
    pairs.iter().map_while(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use mcr_api::control::TraceStep;
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::super::lives::{Lives, tests::event};
    use super::*;

    fn lives() -> Vec<Life> {
        let dropped = || TraceStep::Dropped { reason: "own".into() };
        let mut other = [event(2, 5, TraceStep::Received), event(2, 6, dropped())];
        for event in &mut other {
            (event.interface, event.ethernet) = ("wg0".into(), false);
        }
        let mut events = vec![event(1, 0, TraceStep::Received), event(1, 1, dropped())];
        events.extend(other);
        events.extend([event(3, 9, TraceStep::Received), event(3, 10, dropped())]);
        Lives::default().take(events, 1)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut file = Vec::new();
        let mut capture = Capture::new(&mut file).unwrap();
        for life in lives() {
            capture.add(&life, life.verdict(&[])).unwrap();
        }
        capture.flush().unwrap();
        let mut reader = PcapNgReader::new(file.as_slice()).unwrap();
        let (mut names, mut packets) = (Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::InterfaceDescription(block) => {
                    assert!(block.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
                    names.push((block.linktype, block.options[0].clone().into_owned()));
                }
                Block::EnhancedPacket(packet) => {
                    assert_eq!((&*packet.data, packet.original_len), (&[0, 0xff][..], 1042));
                    packets.push((packet.interface_id, packet.timestamp.as_nanos()));
                    let comment = packet.options[0].clone().into_owned();
                    let expected = "rule 5; dropped: own after 0.001 µs";
                    assert_eq!(comment, EnhancedPacketOption::Comment(expected.into()));
                }
                other => panic!("{other:?}"),
            }
        }
        let name = |name: &'static str| InterfaceDescriptionOption::IfName(name.into());
        assert_eq!(names, [(DataLink::ETHERNET, name("eth0")), (DataLink::RAW, name("wg0"))]);
        let ten = 36_000_000_000_000;
        assert_eq!(packets, [(0, ten), (1, ten + 5), (0, ten + 9)]);
    }

    #[test]
    fn a_long_verdict_is_cut_and_the_file_stays_readable() {
        let mut file = Vec::new();
        let mut capture = Capture::new(&mut file).unwrap();
        for (life, verdict) in lives().iter().zip(["ä".repeat(COMMENT_BYTES), "short".into()]) {
            capture.add(life, verdict).unwrap();
        }
        let mut reader = PcapNgReader::new(file.as_slice()).unwrap();
        let mut comments = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap() {
                match &packet.options[..] {
                    [EnhancedPacketOption::Comment(comment)] => comments.push(comment.to_string()),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!((COMMENT_BYTES - 2..=COMMENT_BYTES).contains(&comments[0].len()));
        assert!(comments[0].ends_with("ä…"));
        assert_eq!(comments[1], "short");
    }

    #[test]
    fn digits_become_bytes() {
        assert_eq!(bytes("00ff1A"), [0, 255, 26]);
        assert!(bytes("0x").is_empty());
    }
}
