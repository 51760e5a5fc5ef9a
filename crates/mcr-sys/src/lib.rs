//! MCR's kernel layer: the only crate with unsafe code, behind safe functions.
//!
//! The supervisor's side makes sockets and holds them ([`packet`], [`membership`],
//! [`udp`], [`icmp`]), is told of an interface's end ([`device`]) and ends at an
//! ingress what exclusive rules take ([`exclusion`]); a worker reads frames in place ([`ring`]) and
//! sends them on ([`gather`], [`send`]) by [`uring`] or [`poll`]; both sides share [`seqpacket`],
//! [`ledger`], [`privileges`] and [`process`]; [`peer`] says who a control client is, and
//! [`activity`] whether a worker had its core.
//!
//! What the kernel will touch later is owned by the object that asked it to.

mod abi;
pub mod activity;
#[cfg(feature = "lab")]
pub mod allocations;
#[cfg(feature = "lab")]
pub mod capture;
pub mod device;
mod error;
pub mod exclusion;
pub mod filter;
#[cfg(any(test, feature = "faults"))]
pub mod forbidden;
pub mod gather;
pub mod icmp;
pub mod ledger;
mod limits;
mod mapping;
pub mod membership;
#[cfg(feature = "lab")]
pub mod mroute;
#[cfg(feature = "lab")]
pub mod offload;
mod option;
pub mod packet;
pub mod peer;
pub mod poll;
pub mod privileges;
pub mod process;
pub mod ring;
pub mod sandbox;
pub mod send;
pub mod seqpacket;
pub mod sockaddr;
#[cfg(test)]
mod test_namespace;
#[cfg(feature = "lab")]
pub mod tun;
#[cfg(feature = "lab")]
pub mod tx_ring;
pub mod udp;
pub mod uring;
#[cfg(feature = "lab")]
pub mod user;
mod watches;

pub use error::SetupError;
