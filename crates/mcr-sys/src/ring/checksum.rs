//! What a `virtio_net_hdr` says of a frame's checksum, and filling in one that a device was to fill
//! in (`skb_checksum_help`, `net/core/dev.c`).
//!
//! The header tells more than the slot's status: where the checksum stands, and before the end of
//! 2022 kernels called a frame's checksum valid in the status (`TP_STATUS_CSUM_VALID`) of which the
//! device had only given the sum (`CHECKSUM_COMPLETE`).

use super::Checksum;
use crate::abi::VNET_HEADER_BYTES;

/// Offsets in `struct virtio_net_hdr`; the numbers are in host byte order.
const FLAGS: usize = 0;
const CHECKSUM_START: usize = 6;
const CHECKSUM_OFFSET: usize = 8;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum is not filled in.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: the checksum was verified.
const DATA_VALID: u8 = 2;

/// The content of the header.
pub(super) fn known(header: &[u8; VNET_HEADER_BYTES]) -> Checksum {
    match header[FLAGS] {
        flags if flags & NEEDS_CHECKSUM != 0 => {
            let [start, offset] = [CHECKSUM_START, CHECKSUM_OFFSET].map(|at| number(header, at));
            Checksum::NotFilledIn { start, offset }
        }
        flags if flags & DATA_VALID != 0 => Checksum::Valid,
        _ => Checksum::Unverified,
    }
}

/// Fills in the checksum of a whole frame behind its header. The field holds the sum of the
/// pseudo-header already.
///
/// # Panics
/// When the field is outside the frame.
pub(super) fn fill_in(header_and_frame: &mut [u8]) {
    let (header, frame) = header_and_frame.split_first_chunk_mut().expect("a header is there");
    let [start, offset] = [CHECKSUM_START, CHECKSUM_OFFSET].map(|at| number(header, at).into());
    let covered: &mut [u8] = &mut frame[start..];
    let checksum = match !sum(covered) {
        // 0 is no checksum in UDP, and the same as this in all others.
        0 => u16::MAX,
        checksum => checksum,
    };
    covered[offset..][..2].copy_from_slice(&checksum.to_be_bytes());
    header[FLAGS] &= !NEEDS_CHECKSUM;
}

fn number(header: &[u8; VNET_HEADER_BYTES], at: usize) -> u16 {
    u16::from_ne_bytes([header[at], header[at + 1]])
}

/// The ones' complement sum of 16-bit words (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [last] => u64::from(last) << 8,
        _ => 0,
    });
    let mut sum: u64 = words.sum();
    while sum > u64::from(u16::MAX) {
        sum = (sum >> 16) + (sum & u64::from(u16::MAX));
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(start: u16, offset: u16, bytes: &[u8]) -> Vec<u8> {
        let mut header = [0; VNET_HEADER_BYTES];
        header[FLAGS] = NEEDS_CHECKSUM;
        header[CHECKSUM_START..][..2].copy_from_slice(&start.to_ne_bytes());
        header[CHECKSUM_OFFSET..][..2].copy_from_slice(&offset.to_ne_bytes());
        [&header, bytes].concat()
    }

    #[test]
    fn the_field_makes_the_sum_of_all_ones() {
        let mut frame = frame(3, 2, &[9, 9, 9, 0x12, 0x34, 0x00, 0x11, 0xff, 0xee, 0x77]);
        fill_in(&mut frame);
        let (header, bytes) = frame.split_first_chunk().unwrap();
        assert_eq!(known(header), Checksum::Unverified);
        // 0x1234 + 0x0011 + 0xffee + 0x7700
        assert_eq!(bytes[5..7], (!0x8934_u16).to_be_bytes());
        assert_eq!(bytes[..5], [9, 9, 9, 0x12, 0x34]);
    }
}
