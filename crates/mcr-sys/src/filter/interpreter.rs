//! A reference machine for the instructions that this module's programs use, so that programs can
//! be tested on many frames without a socket. A forbidden jump or instruction panics.

use super::Program;
use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_IND, BPF_JMP, BPF_LD, BPF_LDX, BPF_MEM, BPF_RET, BPF_X,
    BPF_XOR,
};

/// A frame and the kernel's own facts about it.
pub(super) struct Input<'a> {
    pub(super) frame: &'a [u8],
    /// Where its network header is, from which programs may count (`SKF_NET_OFF`).
    pub(super) network: usize,
    pub(super) packet_type: u32,
    pub(super) cpu: u32,
}

impl Input<'_> {
    /// The place of an offset in the frame.
    fn place(&self, offset: u32) -> usize {
        match offset.checked_sub(libc::SKF_NET_OFF as u32) {
            Some(offset) => self.network + offset as usize,
            None => offset as usize,
        }
    }
}

/// Runs `program` as the kernel would, and returns its verdict.
pub(super) fn run(program: &Program, input: &Input) -> u32 {
    let (mut a, mut x, mut scratch, mut at) = (0_u32, 0_u32, [0_u32; 16], 0_usize);
    loop {
        let instruction = program.instructions[at];
        let (code, k) = (u32::from(instruction.code), instruction.k);
        at += 1;
        match code & 0x07 {
            BPF_LD if code & 0xe0 == BPF_MEM => a = scratch[k as usize],
            BPF_LD if code & 0xe0 == libc::BPF_IMM => a = k,
            BPF_LD => match load(input, code, k, x) {
                Some(value) => a = value,
                None => return 0,
            },
            BPF_LDX if code & 0xe0 == BPF_MEM => x = scratch[k as usize],
            BPF_LDX if code & 0xe0 == libc::BPF_IMM => x = k,
            BPF_LDX if code & 0xe0 == libc::BPF_MSH => match input.frame.get(input.place(k)) {
                Some(byte) => x = u32::from(byte & 0x0f) * 4,
                None => return 0,
            },
            libc::BPF_ST => scratch[k as usize] = a,
            BPF_ALU => a = calculate(code, a, if code & BPF_X == 0 { k } else { x }),
            libc::BPF_MISC if code & 0xf8 == libc::BPF_TAX => x = a,
            BPF_JMP if code & 0xf0 == libc::BPF_JA => at += k as usize,
            BPF_JMP => {
                let operand = if code & BPF_X == 0 { k } else { x };
                let jump = if holds(code, a, operand) { instruction.jt } else { instruction.jf };
                at += usize::from(jump);
            }
            BPF_RET => return if code & 0x18 == libc::BPF_A { a } else { k },
            _ => panic!("instruction {code:#x} is not in the reference machine"),
        }
    }
}

fn calculate(code: u32, a: u32, operand: u32) -> u32 {
    match code & 0xf0 {
        libc::BPF_ADD => a.wrapping_add(operand),
        libc::BPF_MUL => a.wrapping_mul(operand),
        libc::BPF_MOD => a % operand,
        libc::BPF_AND => a & operand,
        BPF_XOR => a ^ operand,
        libc::BPF_LSH => a << operand,
        libc::BPF_RSH => a >> operand,
        other => panic!("operation {other:#x} is not in the reference machine"),
    }
}

fn load(input: &Input, code: u32, k: u32, x: u32) -> Option<u32> {
    let ancillary = k.wrapping_sub(libc::SKF_AD_OFF as u32);
    if code & 0xe0 == BPF_ABS && ancillary < libc::SKF_AD_MAX as u32 {
        return Some(match ancillary as libc::c_int {
            libc::SKF_AD_PKTTYPE => input.packet_type,
            libc::SKF_AD_CPU => input.cpu,
            other => panic!("ancillary {other} is not in the reference machine"),
        });
    }
    let offset = input.place(if code & 0xe0 == BPF_IND { k + x } else { k });
    let width = match code & 0x18 {
        BPF_B => 1,
        BPF_H => 2,
        _ => 4,
    };
    let bytes = input.frame.get(offset..offset + width)?;
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

fn holds(code: u32, a: u32, k: u32) -> bool {
    match code & 0xf0 {
        libc::BPF_JEQ => a == k,
        libc::BPF_JGT => a > k,
        libc::BPF_JGE => a >= k,
        libc::BPF_JSET => a & k != 0,
        other => panic!("jump {other:#x} is not in the reference machine"),
    }
}
