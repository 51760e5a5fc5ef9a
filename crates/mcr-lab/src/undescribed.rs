//! Frames that the kernel cannot describe to a packet ring, which then takes nothing any more.

use anyhow::{Context, Result};
use mcr_sys::tun::{Offloads, Segments, Tap, Unfilled};

use crate::frame::FrameBuilder;

/// Bytes of such a frame's payload, and of each fragment.
const PAYLOAD_BYTES: u16 = 1_200;
const FRAGMENT_BYTES: u16 = 504;

/// Bytes of a UDP header, and the place of its checksum.
const UDP_HEADER_BYTES: u16 = 8;
const CHECKSUM_OFFSET: u16 = 6;

/// A tap receives a datagram to be cut into fragments (UFO).
///
/// # Errors
/// The kernel does not take the frame.
pub fn stop_ring(tap: &Tap, frame: FrameBuilder) -> Result<()> {
    let bytes = frame.payload(&[0; PAYLOAD_BYTES as usize]).build();
    let start = bytes.len() as u16 - PAYLOAD_BYTES - UDP_HEADER_BYTES;
    let offloads = Offloads {
        unfilled: Some(Unfilled { start, offset: CHECKSUM_OFFSET }),
        segments: Some((start + UDP_HEADER_BYTES, FRAGMENT_BYTES, Segments::Fragments)),
    };
    tap.receive(&bytes, offloads).context("a frame of UFO")
}
