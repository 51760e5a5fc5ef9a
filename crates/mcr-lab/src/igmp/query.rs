//! What a querying router asks its link: which groups are wanted there?

use std::net::Ipv6Addr;

use crate::frame::internet_checksum;
use crate::link::MacAddress;

const SOURCE_MAC: MacAddress = [0x02, 0, 0, 0, 0, 0x51];

/// Where all hosts listen: 224.0.0.1 (RFC 1112, section 6.4), `ff02::1` (RFC 2464, section 7).
const ALL_HOSTS_MAC: MacAddress = [0x01, 0, 0x5e, 0, 0, 1];
const ALL_NODES_MAC: MacAddress = [0x33, 0x33, 0, 0, 0, 1];

/// Tenths of a second within which members are to answer, each at a random moment.
const ANSWER_WITHIN_TENTHS: u8 = 2;

/// A general query of `IGMPv3` (RFC 3376, section 4.1) in an Ethernet frame. Its source is that of
/// a querier without an address, which no reverse-path filter refuses.
pub fn general_query_v4() -> Vec<u8> {
    let mut query = [0x11, ANSWER_WITHIN_TENTHS, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0];
    let checksum = internet_checksum(&query);
    query[2..4].copy_from_slice(&checksum.to_be_bytes());
    let length = 24 + query.len() as u8;
    let mut header = vec![0x46, 0xc0, 0, length, 0, 0, 0, 0, 1, 2, 0, 0];
    header.extend([0, 0, 0, 0, 224, 0, 0, 1]);
    header.extend([0x94, 4, 0, 0]);
    let checksum = internet_checksum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&ALL_HOSTS_MAC[..], &SOURCE_MAC, &[0x08, 0x00], &header, &query].concat()
}

/// A general query of `MLDv2` (RFC 3810, section 5.1) in an Ethernet frame.
pub fn general_query_v6() -> Vec<u8> {
    let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x51);
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let milliseconds = u16::from(ANSWER_WITHIN_TENTHS) * 100;
    let mut query = vec![130, 0, 0, 0];
    query.extend(milliseconds.to_be_bytes());
    query.extend([0; 2 + 16]);
    query.extend([2, 125, 0, 0]);
    let length = query.len() as u32;
    let pseudo_header =
        [&from.octets()[..], &to.octets(), &length.to_be_bytes(), &[0, 0, 0, 58], &query].concat();
    query[2..4].copy_from_slice(&internet_checksum(&pseudo_header).to_be_bytes());
    let router_alert = [58, 0, 5, 2, 0, 0, 1, 0];
    let payload_bytes = (router_alert.len() + query.len()) as u16;
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(payload_bytes.to_be_bytes());
    header.extend([0, 1]);
    header.extend(from.octets());
    header.extend(to.octets());
    [&ALL_NODES_MAC[..], &SOURCE_MAC, &[0x86, 0xdd], &header, &router_alert, &query].concat()
}
