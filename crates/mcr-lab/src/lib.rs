//! MCR's laboratory: everything needed to try the relay on real packets, made by the lab itself.
//!
//! A [`namespace::Namespace`] is a network of its own that vanishes with its last user;
//! [`link`] and [`address`] furnish it through netlink, and [`topology::RelayTopology`] is the
//! one most tests want. [`generator`] and [`raw_sender`] offer traffic; [`sink`] and [`tap`]
//! witness what arrives. [`daemon`] runs the real programs. [`harness`] makes test suites of it.
//!
//! Development only: no part of the relay depends on this crate.
#![forbid(unsafe_code)]

pub mod account;
pub mod address;
pub mod bench;
pub mod calibrate;
pub mod core_time;
pub mod daemon;
pub mod demo;
pub mod dependencies;
pub mod document;
pub mod frame;
pub mod generator;
pub mod harness;
pub mod hiccup;
pub mod histogram;
pub mod identity;
pub mod igmp;
pub mod interface_counters;
mod interrupt;
pub mod kernel;
pub mod limits;
pub mod link;
pub mod namespace;
mod netlink;
pub mod packet_socket;
pub mod payload;
pub mod policy;
pub mod program;
pub mod raw_sender;
pub mod sink;
pub mod soak;
pub mod storm;
pub mod tap;
pub mod terminal;
pub mod topology;
pub mod undescribed;
pub mod unsafe_code;
pub mod unsafe_inventory;
pub mod user_namespace;
pub mod wait;
pub mod witness;
