//! Frames and their headers.

use mcr_core::interfaces::LinkLayer;
use mcr_core::wire::Datagram;
use mcr_core::wire::checksum::Sum;
use mcr_lab::witness::Testimony;

/// Reads the bytes as a frame of either kind, and holds what is read against them.
pub fn frame(data: &[u8]) {
    for link in [LinkLayer::Ethernet, LinkLayer::Ip] {
        let Ok(datagram) = Datagram::parse(link, data) else { continue };
        let payload = datagram.payload.clone();
        assert!(payload.start <= payload.end && payload.end <= data.len());
        assert_eq!(datagram.udp.payload(), &data[payload.clone()]);
        assert_eq!(datagram.udp.bytes(), &data[payload.start - 8..payload.end]);
        assert_eq!(usize::from(datagram.udp.length()), 8 + payload.len());
        assert_eq!(datagram.source.is_ipv4(), datagram.destination.is_ipv4());
        let is_valid = naive_sum(&datagram) == u16::MAX;
        assert_eq!(datagram.checksum_is_valid(), is_valid);
        let read = match link {
            LinkLayer::Ethernet => Testimony::of_ethernet(data),
            LinkLayer::Ip => Testimony::of_ip(data),
        };
        let read = read.expect("another parser can read it as well");
        assert_eq!(
            (read.source.ip(), read.destination.ip()),
            (datagram.source, datagram.destination)
        );
        assert_eq!(read.source.port(), datagram.udp.source_port());
        assert_eq!(read.destination.port(), datagram.udp.destination_port());
        assert_eq!(read.payload, &data[payload]);
        assert!(read.checksum == 0 || (read.checksum == read.right_checksum) == is_valid);
    }
    let checksum = Sum::default().with_bytes(data).checksum();
    assert_eq!(checksum, !folded(words(data)));
}

/// RFC 768's sum, word by word.
pub(crate) fn naive_sum(datagram: &Datagram<'_>) -> u16 {
    let address = |address| match address {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let mut covered = address(datagram.source);
    covered.extend(address(datagram.destination));
    covered.extend([0, 17]);
    covered.extend(datagram.udp.length().to_be_bytes());
    covered.extend(datagram.udp.bytes());
    folded(words(&covered))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
}

/// With each carry brought around at once.
fn folded(words: impl Iterator<Item = u16>) -> u16 {
    words.fold(0, |sum: u16, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}
