//! Frames that must not hurt the relay, each counted under its own reason, and frames that look odd
//! and are to be relayed all the same.

mod bare_ip;
mod headers;
mod inner_checksums;
mod offloads;
mod own;
mod sizes;
mod super_frames;
mod undescribed;

use std::net::SocketAddr;

use mcr_lab::frame::FrameBuilder;
use mcr_lab::harness::Suite;

use crate::variant::Variant;

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    suite = headers::trials(suite);
    suite = sizes::trials(suite);
    suite = offloads::trials(suite);
    suite = super_frames::trials(suite);
    suite = undescribed::trials(suite);
    suite = inner_checksums::trials(suite);
    suite = bare_ip::trials(suite);
    own::trials(suite)
}

/// The group that the frames are sent to.
fn input(variant: Variant) -> SocketAddr {
    SocketAddr::new(variant.family.group(1), 5000)
}

/// The group that they are relayed to.
fn output(variant: Variant) -> SocketAddr {
    SocketAddr::new(variant.family.output_group(1), 6000)
}

/// A frame from the unroutable source to the group.
pub(crate) fn frame(variant: Variant) -> FrameBuilder {
    let source = SocketAddr::new(variant.family.source(0), 4000);
    FrameBuilder::udp(source, input(variant))
}
