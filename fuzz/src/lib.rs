//! MCR's parsers and state machines against input that nobody meant to send.
//!
//! A target is a function of bytes that panics where a promise is broken. cargo-fuzz runs each with
//! libFuzzer (`fuzz_targets/`), the program `smoke` with a mutator of its own that needs nothing
//! but a Rust toolchain, and a test replays the corpora and all that ever crashed.
//!
//! MCR reads neither RTP nor MPEG-TS: to it they are payload, so there is no target for them.
#![forbid(unsafe_code)]
// That is how each target tells what it has found, and the one reason why it is called.
#![allow(clippy::missing_panics_doc)]

mod capture;
mod configuration;
mod control;
mod corpus;
mod data_plane;
mod filter;
mod forward;
mod frame;
mod icmp;
mod log_record;
pub mod mutator;
mod netlink;
mod rule_set;
mod sample;
mod trace_event;
mod worker_commands;

pub use capture::capture;
pub use configuration::configuration;
pub use control::control;
pub use corpus::{folders, inputs, replay};
pub use data_plane::data_plane;
pub use filter::filter;
pub use forward::forward;
pub use frame::frame;
pub use icmp::icmp;
pub use log_record::log_record;
pub use netlink::netlink;
pub use rule_set::rule_set;
pub use trace_event::trace_event;
pub use worker_commands::worker_commands;

/// What is run on each input.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its program and of its corpus.
pub const TARGETS: [(&str, Target); 13] = [
    ("capture", capture),
    ("configuration", configuration),
    ("control", control),
    ("data_plane", data_plane),
    ("filter", filter),
    ("forward", forward),
    ("frame", frame),
    ("icmp", icmp),
    ("log_record", log_record),
    ("netlink", netlink),
    ("rule_set", rule_set),
    ("trace_event", trace_event),
    ("worker_commands", worker_commands),
];

/// The whole program of a target: libFuzzer's under cargo-fuzz, else one that runs the target on
/// the files named.
#[macro_export]
macro_rules! fuzz_target {
    ($target:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| mcr_fuzz::$target(data));

        #[cfg(not(fuzzing))]
        fn main() -> anyhow::Result<()> {
            mcr_fuzz::replay(mcr_fuzz::$target, std::env::args_os().skip(1))
        }
    };
}
