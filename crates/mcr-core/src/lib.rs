//! MCR's decisions, as pure functions and values: no I/O, no clock, no log, no `unsafe`.
//!
//! A datagram's way through this crate: [`wire`] reads a frame, [`forward`](forward::forward)
//! holds it against the [`table`], and the answer is a [`Verdict`](verdict::Verdict).
//! A rule's way: [`rule`] checks it, [`rule_set`] holds it against the others, [`plan`] says what
//! it needs of the kernel, [`route`] is what the workers carry out, [`replica`] says how far one
//! has come with that, [`ledger`] where it is counted, [`steering`] whose it is.
#![forbid(unsafe_code)]

pub mod admission;
pub mod circle;
pub mod counters;
pub mod endpoint;
pub mod forward;
pub mod ids;
pub mod interfaces;
pub mod ledger;
pub mod limits;
pub mod plan;
pub mod replica;
pub mod route;
pub mod rule;
pub mod rule_set;
pub mod slots;
pub mod steering;
pub mod table;
pub mod trace;
pub mod verdict;
pub mod wire;
