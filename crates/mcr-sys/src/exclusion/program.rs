//! The program at an interface's ingress: what an exclusive rule takes ends here, everything else
//! goes on.
//!
//! By a frame's headers and the rules it drops nothing that the forwarding decision would not
//! take; what it cannot read in a few steps (IPv6 extension headers) it leaves alone. It sees
//! frames after the packet sockets have, with the outer VLAN tag taken off.
//!
//! What else the decision refuses is refused by it alone, and ends here all the same: a wrong
//! checksum, which no local socket would see either, an own transmission that came back, a
//! super-frame that cannot be taken apart, and what a ring's slot cut short.

use super::assembler::{Assembler, Label, Operand, Operation, Register, Test, Width};
use super::table::{KEY_BYTES, key};
use crate::abi::bpf::{self, Instruction, sk_buff};
use crate::filter::LinkHeader;
use Operand::{In, Value};
use Operation::{Add, And, Move, ShiftLeft, ShiftRight, Subtract};
use Register::{R0, R1, R2, R3, R4, R6, R7, R8, R10};
use Test::{Common, Equal, Greater, Less, NotEqual};
use Width::{Byte, Double, Half, Word};
use std::os::fd::BorrowedFd;

const ETHERNET_HEADER_BYTES: i32 = 14;
const ETHERTYPE: i32 = 12;
const IPV4_HEADER_BYTES: i32 = 20;
const IPV6_HEADER_BYTES: i32 = 40;
const UDP_HEADER_BYTES: i32 = 8;
const UDP: i32 = libc::IPPROTO_UDP;

/// The place on the stack of the key that is looked up.
const KEY: i16 = -(KEY_BYTES as i16);
/// The place of the header that is being read, below the key.
const HEADER: i16 = KEY - IPV6_HEADER_BYTES as i16;

/// The program for an interface whose frames start with `link`, looking into the table `map`.
///
/// `R6` holds the context, `R7` where the UDP header starts, `R8` how many bytes IP carries.
pub(super) fn compile(link: LinkHeader, map: BorrowedFd) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let [next, v4, v6, udp] = [(); 4].map(|()| asm.label());
    asm.apply(Move, R6, In(R1));
    of_this_interface(&mut asm, next);
    begin_key(&mut asm);
    tell_version(&mut asm, link, [v4, v6, next]);
    let ip = match link {
        LinkHeader::Ethernet => ETHERNET_HEADER_BYTES,
        LinkHeader::None => 0,
    };
    asm.place(v4);
    read_ipv4(&mut asm, ip, next);
    asm.jump(udp);
    asm.place(v6);
    read_ipv6(&mut asm, ip, next);
    asm.place(udp);
    read_udp(&mut asm, next);
    look_up(&mut asm, map, next);
    asm.place(next);
    asm.apply(Move, R0, Value(bpf::TCX_NEXT));
    asm.exit();
    asm.finish()
}

/// Leaves alone what this interface did not receive itself: copies of what this host sends to a
/// group, which a packet ring does not get and which have no link-layer header; frames for other
/// hosts, which a bridge may pass on; and frames of a VLAN. (VLAN 0 is a priority and no VLAN,
/// IEEE 802.1Q.)
fn of_this_interface(asm: &mut Assembler, next: Label) {
    asm.load(Word, R1, R6, sk_buff::PKT_TYPE);
    asm.jump_if(R1, Greater, Value(libc::PACKET_MULTICAST.into()), next);
    let untagged = asm.label();
    asm.load(Word, R1, R6, sk_buff::VLAN_PRESENT);
    asm.jump_if(R1, Equal, Value(0), untagged);
    asm.load(Word, R1, R6, sk_buff::VLAN_TCI);
    asm.jump_if(R1, Common, Value(0x0fff), next);
    asm.place(untagged);
}

/// A key of zeros but for the interface.
fn begin_key(asm: &mut Assembler) {
    for offset in (KEY..0).step_by(8) {
        asm.store_value(Double, R10, offset, 0);
    }
    asm.load(Word, R1, R6, sk_buff::IFINDEX);
    asm.store(Word, R10, KEY + key::IFINDEX, R1);
}

fn tell_version(asm: &mut Assembler, link: LinkHeader, [v4, v6, next]: [Label; 3]) {
    match link {
        LinkHeader::Ethernet => {
            read_header(asm, Value(ETHERTYPE), 2, next);
            asm.load(Half, R1, R10, HEADER);
            asm.read_network_order(R1);
            asm.jump_if(R1, Equal, Value(libc::ETH_P_IP), v4);
            asm.jump_if(R1, Equal, Value(libc::ETH_P_IPV6), v6);
        }
        LinkHeader::None => {
            read_header(asm, Value(0), 1, next);
            asm.load(Byte, R1, R10, HEADER);
            asm.apply(ShiftRight, R1, Value(4));
            asm.jump_if(R1, Equal, Value(4), v4);
            asm.jump_if(R1, Equal, Value(6), v6);
        }
    }
    asm.jump(next);
}

/// RFC 791: header length at 0, total length at 2, fragment at 6, protocol at 9, addresses at 12
/// and 16.
fn read_ipv4(asm: &mut Assembler, ip: i32, next: Label) {
    read_header(asm, Value(ip), IPV4_HEADER_BYTES, next);
    asm.load(Byte, R7, R10, HEADER);
    asm.apply(Move, R1, In(R7));
    asm.apply(ShiftRight, R1, Value(4));
    asm.jump_if(R1, NotEqual, Value(4), next);
    asm.apply(And, R7, Value(0x0f));
    asm.apply(ShiftLeft, R7, Value(2));
    asm.jump_if(R7, Less, Value(IPV4_HEADER_BYTES), next);
    asm.load(Byte, R1, R10, HEADER + 9);
    asm.jump_if(R1, NotEqual, Value(UDP), next);
    asm.load(Half, R1, R10, HEADER + 6);
    asm.read_network_order(R1);
    // "More fragments" and the offset.
    asm.jump_if(R1, Common, Value(0x3fff), next);
    asm.load(Half, R8, R10, HEADER + 2);
    asm.read_network_order(R8);
    asm.jump_if(R8, Less, In(R7), next);
    // R7 becomes where the header ends, R8 where the packet ends, and then what is between.
    asm.apply(Add, R7, Value(ip));
    asm.apply(Add, R8, Value(ip));
    whole(asm, next);
    asm.apply(Subtract, R8, In(R7));
    copy(asm, HEADER + 16, KEY + key::DESTINATION, 4);
    copy(asm, HEADER + 12, KEY + key::SOURCE, 4);
    asm.store_value(Byte, R10, KEY + key::VERSION, 4);
}

/// RFC 8200: payload length at 4, next header at 6, addresses at 8 and 24.
fn read_ipv6(asm: &mut Assembler, ip: i32, next: Label) {
    read_header(asm, Value(ip), IPV6_HEADER_BYTES, next);
    asm.load(Byte, R1, R10, HEADER);
    asm.apply(ShiftRight, R1, Value(4));
    asm.jump_if(R1, NotEqual, Value(6), next);
    asm.load(Byte, R1, R10, HEADER + 6);
    asm.jump_if(R1, NotEqual, Value(UDP), next);
    asm.load(Half, R8, R10, HEADER + 4);
    asm.read_network_order(R8);
    asm.apply(Move, R7, Value(ip + IPV6_HEADER_BYTES));
    asm.apply(Add, R8, In(R7));
    whole(asm, next);
    asm.apply(Subtract, R8, In(R7));
    copy(asm, HEADER + 24, KEY + key::DESTINATION, 16);
    copy(asm, HEADER + 8, KEY + key::SOURCE, 16);
    asm.store_value(Byte, R10, KEY + key::VERSION, 6);
}

/// RFC 768: destination port at 2, length at 4, checksum at 6.
fn read_udp(asm: &mut Assembler, next: Label) {
    read_header(asm, In(R7), UDP_HEADER_BYTES, next);
    asm.load(Half, R1, R10, HEADER + 4);
    asm.read_network_order(R1);
    asm.jump_if(R1, Less, Value(UDP_HEADER_BYTES), next);
    asm.jump_if(R1, Greater, In(R8), next);
    copy(asm, HEADER + 2, KEY + key::PORT, 2);
    // IPv6 forbids to leave the checksum out (RFC 8200, section 8.1).
    let checksum_present = asm.label();
    asm.load(Byte, R1, R10, KEY + key::VERSION);
    asm.jump_if(R1, Equal, Value(4), checksum_present);
    asm.load(Half, R1, R10, HEADER + 6);
    asm.jump_if(R1, Equal, Value(0), next);
    asm.place(checksum_present);
}

/// Ends the program with what the table says of the key with its source, or of any source.
fn look_up(asm: &mut Assembler, map: BorrowedFd, next: Label) {
    let found = asm.label();
    look_up_key(asm, map);
    asm.jump_if(R0, NotEqual, Value(0), found);
    asm.store_value(Double, R10, KEY + key::SOURCE, 0);
    asm.store_value(Double, R10, KEY + key::SOURCE + 8, 0);
    look_up_key(asm, map);
    asm.jump_if(R0, Equal, Value(0), next);
    asm.place(found);
    asm.load(Word, R0, R0, 0);
    asm.exit();
}

fn look_up_key(asm: &mut Assembler, map: BorrowedFd) {
    asm.load_map(R1, map);
    asm.apply(Move, R2, In(R10));
    asm.apply(Add, R2, Value(KEY.into()));
    asm.call(bpf::BPF_FUNC_MAP_LOOKUP_ELEM);
}

/// Copies a header of the frame to the stack: wherever in the socket buffer its bytes are.
fn read_header(asm: &mut Assembler, at: Operand, bytes: i32, next: Label) {
    asm.apply(Move, R1, In(R6));
    asm.apply(Move, R2, at);
    asm.apply(Move, R3, In(R10));
    asm.apply(Add, R3, Value(HEADER.into()));
    asm.apply(Move, R4, Value(bytes));
    asm.call(bpf::BPF_FUNC_SKB_LOAD_BYTES);
    // The frame is shorter.
    asm.jump_if(R0, NotEqual, Value(0), next);
}

/// Leaves alone a packet whose end, in `R8`, the frame does not reach.
fn whole(asm: &mut Assembler, next: Label) {
    asm.load(Word, R1, R6, sk_buff::LEN);
    asm.jump_if(R8, Greater, In(R1), next);
}

/// Copies within the stack; 2 bytes, or a multiple of 4.
fn copy(asm: &mut Assembler, from: i16, to: i16, bytes: i16) {
    let (width, step) = if bytes < 4 { (Half, 2) } else { (Word, 4) };
    for offset in (0..bytes).step_by(step) {
        asm.load(width, R1, R10, from + offset);
        asm.store(width, R10, to + offset, R1);
    }
}
