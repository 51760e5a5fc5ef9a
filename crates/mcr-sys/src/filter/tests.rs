use super::interpreter::{Input, run};
use super::*;
use proptest::prelude::*;
use std::net::UdpSocket;

const OUTGOING: u32 = libc::PACKET_OUTGOING as u32;

fn verdict(program: &Program, frame: &[u8], packet_type: u32) -> bool {
    match run(program, &Input { frame, network: 0, packet_type, cpu: 0 }) {
        0 => false,
        u32::MAX => true,
        other => panic!("verdict {other:#x}"),
    }
}

/// What the documentation of [`Admission`] says, written down naively.
fn admits(admission: &Admission, frame: &[u8], packet_type: u32) -> bool {
    let wanted = |intervals: &[Interval], key: u32, port: Option<u16>| {
        intervals.iter().any(|i| {
            (i.first..=i.last).contains(&key)
                && port.is_none_or(|port| i.ports.is_empty() || i.ports.contains(&port))
        })
    };
    let u16_at = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 2).map(|b| u16::from_be_bytes(b.try_into().unwrap()))
    };
    let u32_at = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).map(|b| u32::from_be_bytes(b.try_into().unwrap()))
    };
    let decide = || -> Option<bool> {
        let (is_v4, ip) = match admission.link {
            LinkHeader::Ethernet => match u16_at(frame, 12)? {
                0x0800 => (true, &frame[14..]),
                0x86dd => (false, &frame[14..]),
                _ => return None,
            },
            LinkHeader::None => match frame.first()? >> 4 {
                4 => (true, frame),
                6 => (false, frame),
                _ => return None,
            },
        };
        if is_v4 {
            let is_udp = *ip.get(9)? == 17;
            let later_fragment = u16_at(ip, 6)? & 0x1fff != 0;
            let header = usize::from(ip[0] & 0x0f) * 4;
            let port = if later_fragment { None } else { Some(u16_at(ip, header + 2)?) };
            Some(is_udp && wanted(&admission.v4, u32_at(ip, 16)?, port))
        } else {
            let port = match *ip.get(6)? {
                17 => Some(u16_at(ip, 42)?),
                0 | 43 | 44 | 51 | 60 | 135 | 139 | 140 => None,
                _ => return None,
            };
            Some(wanted(&admission.v6, u32_at(ip, 36)?, port))
        }
    };
    packet_type != OUTGOING && decide().unwrap_or(false)
}

/// Few keys and few ports, so that random frames hit intervals, their edges and their gaps.
fn intervals() -> impl Strategy<Value = Vec<Interval>> {
    let interval = (0_u32..4, 0_u32..3, prop::collection::vec(0_u16..6, 0..4));
    prop::collection::vec(interval, 0..40).prop_map(|steps| {
        let mut next = 0xef00_0000_u32;
        let mut intervals = Vec::new();
        for (gap, length, ports) in steps {
            let first = next + gap;
            intervals.push(Interval { first, last: first + length, ports });
            next = first + length + 1;
        }
        intervals
    })
}

fn admission() -> impl Strategy<Value = Admission> {
    let link = prop_oneof![Just(LinkHeader::Ethernet), Just(LinkHeader::None)];
    (link, intervals(), intervals()).prop_map(|(link, v4, v6)| Admission {
        link,
        v4,
        v6,
        strangers: None,
    })
}

#[derive(Debug, Clone)]
struct Fields {
    is_v4: bool,
    protocol: u8,
    header_words: u8,
    fragment: u16,
    key: u32,
    port: u16,
    noise: Vec<u8>,
}

fn fields() -> impl Strategy<Value = Fields> {
    let protocol = prop_oneof![4 => Just(17_u8), 2 => Just(44), 1 => any::<u8>()];
    let fragment = prop_oneof![3 => Just(0_u16), 1 => Just(0x2000), 1 => any::<u16>()];
    let key = prop_oneof![5 => 0xeeff_fff0_u32..0xef00_00a0, 1 => any::<u32>()];
    let noise = prop::collection::vec(any::<u8>(), 90..120);
    (any::<bool>(), protocol, 5_u8..=15, fragment, key, 0_u16..7, noise).prop_map(
        |(is_v4, protocol, header_words, fragment, key, port, noise)| Fields {
            is_v4,
            protocol,
            header_words,
            fragment,
            key,
            port,
            noise,
        },
    )
}

/// A frame with these fields among noise.
fn frame(link: LinkHeader, fields: &Fields) -> Vec<u8> {
    let mut frame = fields.noise.clone();
    let ip = match link {
        LinkHeader::Ethernet => {
            let ethertype: u16 = if fields.is_v4 { 0x0800 } else { 0x86dd };
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            14
        }
        LinkHeader::None => 0,
    };
    let (key_at, port_at) = if fields.is_v4 {
        frame[ip] = 0x40 | fields.header_words;
        frame[ip + 6..ip + 8].copy_from_slice(&fields.fragment.to_be_bytes());
        frame[ip + 9] = fields.protocol;
        (ip + 16, ip + usize::from(fields.header_words) * 4 + 2)
    } else {
        frame[ip] = 0x60;
        frame[ip + 6] = fields.protocol;
        (ip + 36, ip + 42)
    };
    frame[key_at..key_at + 4].copy_from_slice(&fields.key.to_be_bytes());
    frame[port_at..port_at + 2].copy_from_slice(&fields.port.to_be_bytes());
    frame
}

proptest! {
    #[test]
    fn admits_what_the_naive_reference_admits(
        admission in admission(),
        frames in prop::collection::vec((fields(), 0_u32..6, 0_usize..100), 40),
    ) {
        let program = Program::admit(&admission);
        for (fields, packet_type, cut) in frames {
            let mut frame = frame(admission.link, &fields);
            prop_assert_eq!(
                verdict(&program, &frame, packet_type),
                admits(&admission, &frame, packet_type)
            );
            frame.truncate(cut);
            prop_assert_eq!(
                verdict(&program, &frame, packet_type),
                admits(&admission, &frame, packet_type)
            );
        }
    }

    #[test]
    fn a_coarser_program_never_admits_less(
        admission in admission(),
        frames in prop::collection::vec(fields(), 20),
    ) {
        let exact = Program::admit(&admission);
        let coarse = Program::admit_within(&admission, 64);
        let (coarsest, admitted) = Program::fitted(&admission, 0);
        prop_assert_eq!(&Program::coarsest(&admission), &(coarsest.clone(), admitted));
        prop_assert!(coarse.len() <= 64 && coarsest.len() <= 32);
        for fields in frames {
            let frame = frame(admission.link, &fields);
            prop_assert!(!verdict(&exact, &frame, 0) || verdict(&coarse, &frame, 0));
            prop_assert!(!verdict(&coarse, &frame, 0) || verdict(&coarsest, &frame, 0));
        }
    }
}

/// `count` intervals with gaps between them and four ports each, no two sets alike.
fn many_intervals(count: u32) -> Vec<Interval> {
    (0..count)
        .map(|i| Interval {
            first: 0xef00_0000 + i * 16,
            last: 0xef00_0000 + i * 16 + 7,
            ports: (0..4).map(|p| (i * 4 + p + 1) as u16).collect(),
        })
        .collect()
}

#[test]
fn the_documented_size_fits_and_decides_exactly() {
    let admission = Admission {
        link: LinkHeader::Ethernet,
        v4: many_intervals(256),
        v6: many_intervals(256),
        strangers: None,
    };
    let program = Program::admit(&admission);
    assert_eq!(program, admission.compile(), "nothing was given up: {}", program.len());
    let blank = Fields {
        is_v4: true,
        protocol: 17,
        header_words: 6,
        fragment: 0,
        key: 0,
        port: 0,
        noise: vec![0; 100],
    };
    for i in 0..256 * 4 {
        for (key_offset, is_v4) in [(0, true), (7, false), (8, true)] {
            for port in [i, i + 1, i + 2] {
                let key = 0xef00_0000 + i / 4 * 16 + key_offset;
                let port = port as u16;
                let frame = frame(admission.link, &Fields { is_v4, key, port, ..blank.clone() });
                assert_eq!(verdict(&program, &frame, 0), admits(&admission, &frame, 0));
            }
        }
    }
}

/// GRE without a remote end has IPv4 and its own header before the packet.
#[test]
fn bare_ip_is_read_from_the_network_header_on() {
    let to = 0xef01_0203;
    let wanted = Interval { first: to, last: to, ports: vec![5000] };
    let link = LinkHeader::None;
    let program =
        Program::admit(&Admission { link, v4: vec![wanted], v6: vec![], strangers: None });
    let mut packet = [0; 28];
    (packet[0], packet[9]) = (0x45, 17);
    packet[16..20].copy_from_slice(&to.to_be_bytes());
    packet[22..24].copy_from_slice(&5000_u16.to_be_bytes());
    for outer in [0, 20 + 4] {
        let frame = [&vec![0x45; outer], &packet[..]].concat();
        let input = Input { frame: &frame, network: outer, packet_type: 0, cpu: 0 };
        assert_eq!(run(&program, &input), u32::MAX, "{outer} bytes before");
    }
}

#[test]
fn ten_thousand_scattered_groups_still_make_a_program() {
    let admission = Admission {
        link: LinkHeader::None,
        v4: many_intervals(10_000),
        v6: Vec::new(),
        strangers: None,
    };
    assert!(Program::admit(&admission).len() <= libc::BPF_MAXINSNS as usize);
}

#[test]
fn the_kernel_accepts_every_kind_of_program() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for link in [LinkHeader::Ethernet, LinkHeader::None] {
        for size in [0, 1, 40, 256] {
            let (v4, v6) = (many_intervals(size), many_intervals(size));
            let program = Program::admit(&Admission { link, v4, v6, strangers: None });
            match program.attach(&socket) {
                // Kernels with a small optmem_max refuse the largest; the coarser one must pass.
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && size == 256 => {
                    let (v4, v6) = (many_intervals(size), many_intervals(size));
                    let coarser =
                        Program::admit_within(&Admission { link, v4, v6, strangers: None }, 300);
                    coarser.attach(&socket).unwrap();
                }
                outcome => outcome.unwrap(),
            }
        }
    }
    Program::steer_by_cpu(&[0, 1, 2, 3]).attach(&socket).unwrap();
}

#[test]
fn a_socket_that_drops_all_receives_nothing() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_nonblocking(true).unwrap();
    // Loopback delivers within the send, so what is not there now never comes.
    sender.send_to(b"before", receiver.local_addr().unwrap()).unwrap();
    assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 6);
    Program::drop_all().attach(&receiver).unwrap();
    sender.send_to(b"after", receiver.local_addr().unwrap()).unwrap();
    let error = receiver.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}
