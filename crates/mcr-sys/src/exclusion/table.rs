//! The table that the program looks into: what is taken, and how it fares from there on.

use super::{Fate, Taken, kernel};
use crate::abi::bpf::{self, MapCreate, MapElement};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 8 + 2 * ADDRESS_BYTES as usize;
/// Bytes of an address of either family; an IPv4 address has zeros behind it.
const ADDRESS_BYTES: i16 = 16;

/// Where each part of a key stands. The parts have the byte order that they have in a frame, but
/// for the interface, which has the machine's.
pub(super) mod key {
    use super::ADDRESS_BYTES;

    /// Four bytes.
    pub(crate) const IFINDEX: i16 = 0;
    /// The destination port, two bytes.
    pub(crate) const PORT: i16 = 4;
    /// 4 or 6, one byte; the next one is zero.
    pub(crate) const VERSION: i16 = 6;
    pub(crate) const DESTINATION: i16 = 8;
    /// Zero: any source.
    pub(crate) const SOURCE: i16 = DESTINATION + ADDRESS_BYTES;
}

/// A map whose keys have [`KEY_BYTES`] and whose values are verdicts of 32 bits.
#[derive(Debug)]
pub(super) struct Table {
    map: OwnedFd,
}

impl Table {
    /// Room for so many entries; they take memory only as they are made.
    pub(super) fn create(entries: u32) -> io::Result<Self> {
        let mut attribute = MapCreate {
            map_type: bpf::BPF_MAP_TYPE_HASH,
            key_size: KEY_BYTES as u32,
            value_size: size_of::<i32>() as u32,
            max_entries: entries,
            map_flags: bpf::BPF_F_NO_PREALLOC,
            map_name: kernel::name("mcr_exclusive"),
            ..MapCreate::default()
        };
        // SAFETY: the attribute holds no address.
        let map = unsafe { kernel::create(bpf::BPF_MAP_CREATE, &mut attribute) }?;
        Ok(Self { map })
    }

    /// Makes an entry or changes it.
    pub(super) fn set(&self, taken: &Taken, fate: Fate) -> io::Result<()> {
        let (key, verdict) = (key_of(taken), verdict(fate));
        let mut attribute = MapElement {
            map_fd: self.map.as_raw_fd() as u32,
            key: kernel::address(&raw const key),
            value: kernel::address(&raw const verdict),
            ..MapElement::default()
        };
        // SAFETY: `key` and `verdict` have the sizes that `create` gave the map, and outlive the
        // call, which only reads them.
        unsafe { kernel::call(bpf::BPF_MAP_UPDATE_ELEM, &mut attribute) }.map(drop)
    }

    /// Takes an entry out. `ENOENT`: there is none.
    pub(super) fn remove(&self, taken: &Taken) -> io::Result<()> {
        let key = key_of(taken);
        let mut attribute = MapElement {
            map_fd: self.map.as_raw_fd() as u32,
            key: kernel::address(&raw const key),
            ..MapElement::default()
        };
        // SAFETY: `key` has the size that `create` gave the map, and outlives the call, which only
        // reads it.
        unsafe { kernel::call(bpf::BPF_MAP_DELETE_ELEM, &mut attribute) }.map(drop)
    }
}

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

fn verdict(fate: Fate) -> i32 {
    match fate {
        Fate::Ends => bpf::TCX_DROP,
        Fate::GoesOn => bpf::TCX_NEXT,
    }
}

fn key_of(taken: &Taken) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let mut put = |at: i16, bytes: &[u8]| {
        let at = at as usize;
        key[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(key::IFINDEX, &taken.ifindex.to_ne_bytes());
    put(key::PORT, &taken.port.to_be_bytes());
    put(key::VERSION, if taken.address.is_ipv4() { &[4] } else { &[6] });
    let mut put_address = |at, address| match address {
        IpAddr::V4(v4) => put(at, &v4.octets()),
        IpAddr::V6(v6) => put(at, &v6.octets()),
    };
    put_address(key::DESTINATION, taken.address);
    if let Some(source) = taken.source {
        put_address(key::SOURCE, source);
    }
    key
}
