//! The filter that the kernel runs: it must let in, whole, whatever the rules want.

use arbitrary::{Result, Unstructured};
use mcr_core::admission::{Interval, WantedDestinations};
use mcr_core::interfaces::LinkLayer;
use mcr_core::wire::Datagram;
use mcr_sys::filter::{self, LinkHeader, Program};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Destinations, how long the program may be, and a frame.
pub fn filter(data: &[u8]) {
    // Bytes that run out are a shorter case, not an error.
    let _ = run(&mut Unstructured::new(data));
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let link = if u.arbitrary()? { LinkLayer::Ethernet } else { LinkLayer::Ip };
    let mut wanted = WantedDestinations::default();
    let mut all: Vec<(IpAddr, u16)> = Vec::new();
    for _ in 0..u.int_in_range(0..=300)? {
        let (address, port) = (destination(u)?, u.int_in_range(5_000..=5_009)?);
        assert_eq!(wanted.insert(address, port), !all.contains(&(address, port)));
        all.push((address, port));
        if u.ratio(1, 16)? {
            let (address, port) = all.swap_remove(u.choose_index(all.len())?);
            assert_eq!(wanted.remove(address, port), !all.contains(&(address, port)));
        }
    }
    let intervals = wanted.intervals();
    for (address, port) in &all {
        assert!(intervals.admits(*address, *port), "{address} {port}");
    }
    let admission = filter::Admission {
        link: match link {
            LinkLayer::Ethernet => LinkHeader::Ethernet,
            LinkLayer::Ip => LinkHeader::None,
        },
        v4: intervals.v4.iter().map(interval).collect(),
        v6: intervals.v6.iter().map(interval).collect(),
        strangers: None,
    };
    let longest = u.int_in_range(64..=4_096)?;
    let program = Program::admit_within(&admission, longest);
    assert!(program.len() <= longest, "{} instructions of {longest}", program.len());
    let frame = u.bytes(u.len())?;
    let verdict = program.judge(frame);
    assert!([0, u32::MAX].contains(&verdict), "{verdict}");
    if let Ok(datagram) = Datagram::parse(link, frame) {
        let destination = (datagram.destination, datagram.udp.destination_port());
        assert!(!all.contains(&destination) || verdict == u32::MAX, "{destination:?}");
    }
    Ok(())
}

fn interval(interval: &Interval) -> filter::Interval {
    let Interval { first, last, ports } = interval.clone();
    filter::Interval { first, last, ports }
}

/// Near each other, so that intervals touch and merge.
fn destination(u: &mut Unstructured<'_>) -> Result<IpAddr> {
    let low = u32::from(u.arbitrary::<u16>()?);
    Ok(if u.arbitrary()? {
        Ipv4Addr::from_bits(0xef01_0000 | low).into()
    } else {
        let high = u128::from(u.int_in_range(0..=1_u8)?) << 32;
        Ipv6Addr::from_bits(0xff3e << 112 | high | u128::from(low)).into()
    })
}
