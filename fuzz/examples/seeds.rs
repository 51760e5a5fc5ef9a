//! Writes the inputs that the corpora began with: `cargo run --package mcr-fuzz --example seeds`.
//! What fuzzing finds beside them is kept by `cargo fuzz cmin`.
#![forbid(unsafe_code)]

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use mcr_fuzz::folders;
use mcr_lab::frame::{Checksum, Extension, Fragment, FrameBuilder};

fn main() -> Result<()> {
    let frames = frames();
    for (name, frame) in &frames {
        write("frame", name, frame)?;
        write("frame", &format!("{name}-ip"), &frame[14..])?;
        write("forward", name, &forward(0, frame))?;
        write("filter", name, &filter(frame))?;
        write("data_plane", name, &slots(&[(frame, 0, [0; 10])]))?;
        if frame[12..14] == [0x08, 0x00] {
            write("icmp", name, &icmp_v4(&frame[14..]))?;
        } else if frame[12..14] == [0x86, 0xdd] {
            write("icmp", name, &icmp_v6(&frame[14..]))?;
        }
    }
    let super_frame = &datagram(V4, &[7; 1_200]).build();
    write("forward", "super-frame", &forward(0b10_0010, super_frame))?;
    write("forward", "ip", &forward(1, &frames[0].1[14..]))?;
    let segments = [0, 5, 0, 0, 100, 0, 0, 0, 0, 0];
    let all: Vec<_> = frames.iter().map(|(_, frame)| (frame, 0, [0; 10])).collect();
    write("data_plane", "all", &slots(&all))?;
    write("data_plane", "super-frame", &slots(&[(super_frame, 1 << 7, segments)]))?;
    for (target, name, text) in TEXTS {
        write(target, name, text.as_bytes())?;
    }
    write("netlink", "one", &netlink())?;
    write("trace_event", "dropped", &event())?;
    let numbers: Vec<u8> = (0..=255).cycle().step_by(7).take(600).collect();
    write("rule_set", "numbers", &numbers)?;
    write("capture", "numbers", &numbers)
}

fn write(target: &str, name: &str, input: &[u8]) -> Result<()> {
    let [folder, _] = folders(target);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let file = folder.join(name);
    fs::write(&file, input).with_context(|| file.display().to_string())
}

const V4: [&str; 2] = ["10.0.0.7:4000", "239.1.1.1:5000"];
const V6: [&str; 2] = ["[fd00::7]:4000", "[ff3e::1234]:5000"];

fn datagram(ends: [&str; 2], payload: &[u8]) -> FrameBuilder {
    let [source, destination]: [SocketAddr; 2] =
        ends.map(|end| end.parse().expect("they are addresses"));
    FrameBuilder::udp(source, destination).payload(payload)
}

/// One of each kind.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let (v4, v6) = (datagram(V4, b"payload"), datagram(V6, b"payload"));
    let later = Fragment { offset: 8, more: false, identification: 7 };
    let hop_by_hop = Extension::HopByHop(vec![0; 6]);
    vec![
        ("v4", v4.build()),
        ("v4-empty", datagram(V4, b"").build()),
        ("v4-options", v4.clone().ipv4_options(&[0x94, 4, 0, 0]).build()),
        ("v4-vlan", v4.clone().vlan(5).build()),
        ("v4-fragment", v4.clone().fragment(later).build()),
        ("v4-bad-checksum", v4.clone().checksum(Checksum::Bad).build()),
        ("v4-no-checksum", v4.clone().checksum(Checksum::Zero).build()),
        ("v4-tcp", v4.protocol(6).build()),
        ("v4-own", datagram(["10.0.0.9:40000", V4[1]], b"own").build()),
        ("v4-unwanted", datagram([V4[0], "239.9.9.9:5000"], b"unwanted").build()),
        ("v6", v6.build()),
        ("v6-extension", v6.clone().extension(hop_by_hop).build()),
        ("v6-fragment", v6.clone().fragment(later).build()),
        ("v6-no-checksum", v6.checksum(Checksum::Zero).build()),
        ("v6-unicast", datagram([V6[0], "[fd00::7]:5000"], b"unicast").build()),
    ]
}

/// As `mcr_fuzz::forward` reads it: flags, bytes of a segment, bytes that were not captured.
fn forward(flags: u8, frame: &[u8]) -> Vec<u8> {
    [&[flags, 100, 0, 0], frame].concat()
}

/// As `mcr_fuzz::filter` reads it: two destinations, those of [`V4`] and [`V6`], the most
/// instructions, a frame.
fn filter(frame: &[u8]) -> Vec<u8> {
    [&[1, 0, 2, 1, 1, 1, 0, 5, 0x34, 0x12, 0, 0, 0, 5, 0x0f, 0xc0], frame].concat()
}

/// As `mcr_fuzz::data_plane` reads it: whether to trace, outcomes, slots.
fn slots(frames: &[(&Vec<u8>, u32, [u8; 10])]) -> Vec<u8> {
    let mut input = vec![0, 0];
    for (frame, status, vnet) in frames {
        input.extend(status.to_le_bytes());
        input.extend([0; 4]);
        input.push(22);
        input.extend([0; 2]);
        input.extend(vnet);
        input.extend((frame.len() as u16).to_le_bytes());
        input.extend(*frame);
    }
    input
}

/// A host's "port unreachable" about a packet.
fn icmp_v4(packet: &[u8]) -> Vec<u8> {
    let mut message = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 7, 10, 0, 0, 9];
    message.extend([3, 3, 0, 0, 0, 0, 0, 0]);
    message.extend(packet);
    message
}

fn icmp_v6(packet: &[u8]) -> Vec<u8> {
    [&[1, 4, 0, 0, 0, 0, 0, 0], packet].concat()
}

/// A link with its address, and the end of the list.
fn netlink() -> Vec<u8> {
    let attribute = |kind: u16, value: &[u8]| {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let message = |kind: u16, body: &[u8]| {
        let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        bytes
    };
    // `ifinfomsg`: Ethernet, number 2, up; `IFLA_IFNAME`, `IFLA_MTU`, `IFLA_MASTER`.
    let mut link = vec![0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    link.extend(attribute(3, b"eth0\0"));
    link.extend(attribute(4, &1_500_u32.to_ne_bytes()));
    link.extend(attribute(10, &3_u32.to_ne_bytes()));
    // `ifaddrmsg`: IPv4, /24, of number 2; `IFA_ADDRESS`, `IFA_LOCAL`.
    let mut address = vec![2, 24, 0, 0, 2, 0, 0, 0];
    address.extend(attribute(1, &[10, 0, 0, 7]));
    address.extend(attribute(2, &[10, 0, 0, 7]));
    [message(16, &link), message(20, &address), message(3, &[0; 4])].concat()
}

/// A datagram's end, as it stands in a ledger.
fn event() -> Vec<u8> {
    use mcr_core::ids::{IfIndex, RuleId};
    use mcr_core::trace::{Event, Head, Step};
    use mcr_core::verdict::DropReason;
    let event = Event {
        at_ns: 1,
        datagram: 2,
        rule: Some(RuleId(3)),
        ifindex: IfIndex(4),
        step: Step::Dropped(DropReason::Own),
        source: V4[0].parse().ok(),
        destination: V6[1].parse().ok(),
        len: 60,
        head: Head::of(&[&[7; 60]]),
    };
    event.to_words().iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// What is text by nature, by target and name.
const TEXTS: [(&str, &str, &str); 9] = [
    ("control", "rules", include_str!("seeds/control-rules")),
    ("control", "questions", include_str!("seeds/control-questions")),
    ("worker_commands", "sockets", include_str!("seeds/worker-sockets")),
    ("worker_commands", "routes", include_str!("seeds/worker-routes")),
    ("worker_commands", "settings", include_str!("seeds/worker-settings")),
    ("log_record", "records", include_str!("seeds/log-records")),
    ("configuration", "whole", include_str!("seeds/whole.toml")),
    (
        "configuration",
        "one",
        "[[rule]]\ninput = \"239.1.1.1:5000@a\"\noutputs = [\"10.0.0.1:1@b\"]\n",
    ),
    ("configuration", "empty", ""),
];
