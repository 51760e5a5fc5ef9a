//! MCR's formats, the only JSON and TOML of the project.
//!
//! [`control`] is what `mcrctl` and others say to the daemon and hear from it, [`worker`] what the
//! supervisor tells its workers, [`log`] what is logged, [`config`] the configuration file, and
//! [`metrics`] what Prometheus finds. Here are texts and numbers as they are written; what the rest
//! of MCR works with are the types of `mcr-core`, which [`rule::RuleSpec`] and its kind become by
//! `TryFrom`.
#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod limits;
mod line;
pub mod log;
pub mod metrics;
pub mod rule;
pub mod time;
pub mod worker;
