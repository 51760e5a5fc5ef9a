//! The capture files of `mcrctl trace --pcapng`, read back.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use mcr_api::control::{TraceEvent, TraceStep};
use mcrctl::captured;
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::sample;

/// What a packet of the file must say.
#[derive(Debug, PartialEq, Eq)]
struct Packet {
    interface: String,
    link: DataLink,
    time_ns: u128,
    original_len: u32,
    bytes: Vec<u8>,
}

/// Events, some of the same datagrams: the file holds each datagram as its first event has it.
pub fn capture(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut events = Vec::new();
    while let (false, Ok(event)) = (u.is_empty(), event(&mut u)) {
        events.push(event);
    }
    let mut first = BTreeMap::new();
    for event in &events {
        first.entry((event.worker, event.incarnation, event.datagram)).or_insert(event);
    }
    let mut expected: Vec<_> = first.into_values().map(packet).collect();
    expected.sort_by_key(|packet| packet.time_ns);
    let file = captured(events).expect("memory takes every byte");
    assert_eq!(read(&file), expected);
}

fn read(file: &[u8]) -> Vec<Packet> {
    let mut reader = PcapNgReader::new(file).expect("it has a header");
    let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.expect("each block is whole") {
            Block::InterfaceDescription(block) => {
                assert!(block.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
                let name = block.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                interfaces.push((name.expect("each is named"), block.linktype));
            }
            Block::EnhancedPacket(packet) => {
                let (interface, link) = interfaces[packet.interface_id as usize].clone();
                assert!(matches!(packet.options[..], [EnhancedPacketOption::Comment(_)]));
                packets.push(Packet {
                    interface,
                    link,
                    time_ns: packet.timestamp.as_nanos(),
                    original_len: packet.original_len,
                    bytes: packet.data.to_vec(),
                });
            }
            other => panic!("{other:?}"),
        }
    }
    packets
}

fn packet(event: &TraceEvent) -> Packet {
    let byte = |at| u8::from_str_radix(event.head.get(at..at + 2)?, 16).ok();
    Packet {
        interface: event.interface.clone(),
        link: if event.ethernet { DataLink::ETHERNET } else { DataLink::RAW },
        time_ns: event.time_ns.into(),
        original_len: event.length,
        bytes: (0..).step_by(2).map_while(byte).collect(),
    }
}

fn event(u: &mut Unstructured<'_>) -> Result<TraceEvent> {
    let head = u.arbitrary_len::<u8>()?.min(96);
    let end = |u: &mut Unstructured<'_>| -> Result<_> { Ok((sample::address(u)?, 5_000).into()) };
    Ok(TraceEvent {
        time_ns: u.arbitrary()?,
        worker: u.int_in_range(0..=1)?,
        incarnation: 1,
        datagram: u.int_in_range(0..=3)?,
        rule: u.arbitrary()?,
        interface: if u.arbitrary()? { sample::interface(u)?.to_string() } else { u.arbitrary()? },
        ethernet: u.arbitrary()?,
        step: step(u)?,
        source: if u.arbitrary()? { Some(end(u)?) } else { None },
        destination: if u.arbitrary()? { Some(end(u)?) } else { None },
        length: u.arbitrary()?,
        head: u.bytes(head)?.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

fn step(u: &mut Unstructured<'_>) -> Result<TraceStep> {
    Ok(match u.int_in_range(0..=5)? {
        0 => TraceStep::Received,
        1 => TraceStep::Forwarded { outputs: u.int_in_range(0..=3)? },
        2 => TraceStep::Dropped { reason: text(u)? },
        3 => TraceStep::Handed { output: u.arbitrary()? },
        4 => TraceStep::Sent { output: u.arbitrary()? },
        _ => TraceStep::Failed { output: u.arbitrary()?, error: text(u)?, errno: u.arbitrary()? },
    })
}

/// Now and then very long, as many outputs make a verdict.
fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let text: String = u.arbitrary()?;
    Ok(if u.ratio(1, 8)? { text.repeat(1 << u.int_in_range(0..=12)?) } else { text })
}
