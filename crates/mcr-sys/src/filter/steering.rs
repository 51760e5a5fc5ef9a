//! Steering programs: which member of a steering group gets a frame.
//!
//! The kernel runs them before it has put the link header back in front, so offset 0 is the IP
//! header whatever the interface (`fanout_demux_bpf` in `net/packet/af_packet.c`).

use libc::{BPF_B, BPF_H, BPF_JEQ, BPF_JSET, BPF_W};

use super::Program;
use super::assembler::{Assembler, Label};
use crate::limits;

/// Scratch words: the destination port, what of the address has been folded and then the key of
/// both, the highest weight so far and whose it is, the next header of an IPv6 extension.
const PORT: u32 = 0;
const KEY: u32 = 1;
const BEST_WEIGHT: u32 = 2;
const BEST_MEMBER: u32 = 3;
const NEXT_HEADER: u32 = 4;

/// The multipliers and the shift of `mcr_core::steering`.
const FIRST: u32 = 0x9e37_79b9;
const SECOND: u32 = 0x7feb_352d;
const THIRD: u32 = 0x846c_a68b;
const SHIFT: u32 = 15;

const UDP: u32 = libc::IPPROTO_UDP as u32;
const FRAGMENT: u32 = libc::IPPROTO_FRAGMENT as u32;
const AUTHENTICATION: u32 = libc::IPPROTO_AH as u32;
/// Extension headers whose length is in units of eight bytes, the first eight not counted (IANA's
/// list).
const EXTENSION_HEADERS: [u32; 6] = [0, 43, 60, 135, 139, 140];

/// UDP's destination port stands behind its source port (RFC 768).
const DESTINATION_PORT: u32 = 2;

impl Program {
    /// Steers a frame to member `i` of a steering group where `cores[i]` is the core that received
    /// it, and by core modulo members where no member runs on that core. Members are counted in
    /// joining order. No cores: everything to member 0.
    pub fn steer_by_cpu(cores: &[usize]) -> Self {
        // Beyond this many cores (more than Linux supports on any machine) only the modulo acts.
        let named = &cores[..cores.len().min(limits::MAX_STEERED_CORES)];
        let mut assembler = Assembler::default();
        assembler.give_accumulator();
        let mut next = assembler.modulo(cores.len().max(1) as u32);
        for (member, core) in named.iter().enumerate().rev() {
            let this_member = assembler.give(member as u32);
            next = assembler.branch(BPF_JEQ, *core as u32, this_member, next);
        }
        assembler.load_ancillary(libc::SKF_AD_CPU, next);
        assembler.finish()
    }

    /// Steers a frame to the member whose seed has the highest weight for the UDP destination, as
    /// `mcr_core::steering` has it; to member 0 what is no UDP datagram, or a fragment without a
    /// port. At most [`limits::MAX_HASHED_MEMBERS`] seeds; those beyond get nothing.
    pub fn steer_by_hash(seeds: &[u32]) -> Self {
        let mut assembler = Assembler::default();
        let nobodys = assembler.give(0);
        let heaviest =
            heaviest(&mut assembler, &seeds[..seeds.len().min(limits::MAX_HASHED_MEMBERS)]);
        let key = key(&mut assembler, heaviest);
        let v4 = ipv4(&mut assembler, key, nobodys);
        let v6 = ipv6(&mut assembler, key, nobodys);
        let not_v4 = assembler.branch(BPF_JEQ, 0x60, v6, nobodys);
        let version = assembler.branch(BPF_JEQ, 0x40, v4, not_v4);
        let nibble = assembler.and(0xf0, version);
        assembler.load(BPF_B, 0, nibble);
        assembler.finish()
    }
}

/// From the key: the member with the highest weight.
fn heaviest(asm: &mut Assembler, seeds: &[u32]) -> Label {
    asm.give_accumulator();
    let mut next = asm.load_scratch(BEST_MEMBER, asm.front());
    for (member, seed) in seeds.iter().enumerate().rev() {
        let named = asm.store_scratch(BEST_MEMBER, next);
        let member_number = asm.load_constant(member as u32, named);
        let better = asm.store_scratch(BEST_WEIGHT, member_number);
        // The first needs no comparison: there is nothing yet to compare with.
        let compared = if member == 0 {
            better
        } else {
            let branch = asm.branch_above_index(better, next);
            asm.load_index_scratch(BEST_WEIGHT, branch)
        };
        let multiplied = asm.multiply(THIRD, compared);
        let mixed = mix(asm, multiplied);
        let seeded = asm.multiply(SECOND, mixed);
        let seeded = asm.exclusive_or(*seed, seeded);
        next = asm.load_scratch(KEY, seeded);
    }
    next
}

/// From the folded address in the accumulator, and the port: the key.
fn key(asm: &mut Assembler, next: Label) -> Label {
    let stored = asm.store_scratch(KEY, next);
    let with_port = asm.exclusive_or_index(stored);
    let port = asm.load_index_scratch(PORT, with_port);
    let mixed = mix(asm, port);
    asm.multiply(FIRST, mixed)
}

/// The accumulator, exclusive or itself shifted right.
fn mix(asm: &mut Assembler, next: Label) -> Label {
    let mixed = asm.exclusive_or_index(next);
    let shifted = asm.shift_right(SHIFT, mixed);
    asm.copy_to_index(shifted)
}

/// RFC 791: protocol at 9, destination at 16.
fn ipv4(asm: &mut Assembler, key: Label, nobodys: Label) -> Label {
    let address = asm.load(BPF_W, 16, key);
    let port = asm.store_scratch(PORT, address);
    let port = asm.load_indexed(BPF_H, DESTINATION_PORT, port);
    let header = asm.index_by_ipv4_header(0, port);
    let protocol = asm.branch(BPF_JEQ, UDP, header, nobodys);
    asm.load(BPF_B, 9, protocol)
}

/// RFC 8200: next header at 6, destination at 24, extension headers from 40 on.
fn ipv6(asm: &mut Assembler, key: Label, nobodys: Label) -> Label {
    let mut folded = key;
    for word in (1..4).rev() {
        let both = asm.exclusive_or_index(folded);
        let kept = asm.load_index_scratch(KEY, both);
        let loaded = asm.load(BPF_W, 24 + 4 * word, kept);
        let stored = asm.store_scratch(KEY, loaded);
        folded = asm.multiply(FIRST, stored);
    }
    let address = asm.load(BPF_W, 24, folded);
    let stored = asm.store_scratch(PORT, address);
    let udp = asm.load_indexed(BPF_H, DESTINATION_PORT, stored);
    // With the header's kind in the accumulator and its offset in the index register.
    let mut header = asm.branch(BPF_JEQ, UDP, udp, nobodys);
    for _ in 0..limits::EXTENSION_HEADERS {
        let in_eights = extension(asm, 1, 3, header);
        let in_fours = extension(asm, 2, 2, header);
        let atomic = atomic_fragment(asm, header, nobodys);
        let other = asm.branch(BPF_JEQ, FRAGMENT, atomic, nobodys);
        let mut kind = asm.branch(BPF_JEQ, AUTHENTICATION, in_fours, other);
        for extension in EXTENSION_HEADERS {
            kind = asm.branch(BPF_JEQ, extension, in_eights, kind);
        }
        header = asm.branch(BPF_JEQ, UDP, udp, kind);
    }
    let first = asm.load(BPF_B, 6, header);
    asm.load_index_constant(40, first)
}

/// Over a fragment header whose packet is whole (RFC 6946); it has no length field.
fn atomic_fragment(asm: &mut Assembler, next: Label, nobodys: Label) -> Label {
    let kind = asm.load_scratch(NEXT_HEADER, next);
    let at_next = asm.copy_to_index(kind);
    let moved = asm.add_index(at_next);
    let bytes = asm.load_constant(8, moved);
    let stored = asm.store_scratch(NEXT_HEADER, bytes);
    let next_header = asm.load_indexed(BPF_B, 0, stored);
    let offset_and_more = asm.branch(BPF_JSET, 0xfff9, nobodys, next_header);
    asm.load_indexed(BPF_H, 2, offset_and_more)
}

/// Over an extension header of its length field and `more` units of two to the power of `shift`
/// bytes, to the next.
fn extension(asm: &mut Assembler, more: u32, shift: u32, next: Label) -> Label {
    let kind = asm.load_scratch(NEXT_HEADER, next);
    let at_next = asm.copy_to_index(kind);
    let moved = asm.add_index(at_next);
    let bytes = asm.shift_left(shift, moved);
    let units = asm.add(more, bytes);
    let length = asm.load_indexed(BPF_B, 1, units);
    let stored = asm.store_scratch(NEXT_HEADER, length);
    asm.load_indexed(BPF_B, 0, stored)
}

#[cfg(test)]
mod tests;
