//! What routers and hosts report in ICMP, with a quote of what we sent.

use std::net::Ipv6Addr;

use mcr_sys::icmp::read_message;
use mcr_sys::sockaddr::Family;

/// Reads the bytes as a message of either family: what it tells of, stands in it.
pub fn icmp(data: &[u8]) {
    for family in [Family::V4, Family::V6] {
        let Some(report) = read_message(family, data, Ipv6Addr::LOCALHOST) else { continue };
        let is_v4 = matches!(family, Family::V4);
        assert_eq!(report.original_source.is_ipv4(), is_v4);
        for end in [report.original_source, report.original_destination] {
            assert_eq!(end.is_ipv4(), is_v4);
            let octets = match end.ip() {
                std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
                std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            assert!(contains(data, &octets) && contains(data, &end.port().to_be_bytes()));
        }
        assert!(data.contains(&report.code));
    }
}

fn contains(data: &[u8], part: &[u8]) -> bool {
    data.windows(part.len()).any(|window| window == part)
}
