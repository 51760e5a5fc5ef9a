//! MCR's data plane: one process a core, one thread, one loop.
//!
//! `run` is the only door. A frame's way: `ingress` shows it in its ring, `mcr_core::forward`
//! decides, `batch` sorts what matched into runs, `transmit` has them sent to every output
//! through the `mechanism`, and the slots go back to the kernel. `commands` change what is held
//! (`routes`, `egress`, `ingress`) between two batches, `mcr_core::replica` says how far they
//! have come, and `counters` write down all of it in the ledger, as `trace` does with single
//! datagrams' lives.
#![forbid(unsafe_code)]

mod batch;
mod circles;
mod commands;
mod counters;
mod data_plane;
mod egress;
#[cfg(feature = "faults")]
pub mod faults;
mod flow;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod in_vain;
mod ingress;
mod limits;
mod log;
mod mechanism;
mod pace;
mod routes;
mod sending;
mod start;
mod trace;
mod transmit;
mod worker;

pub use start::{Arguments, Error, run};
