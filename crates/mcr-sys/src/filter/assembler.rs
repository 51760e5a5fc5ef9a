//! A small assembler that writes a program from its end.
//!
//! Classic BPF jumps forward only, and a conditional jump reaches no further than 255 instructions.
//! Written backwards, each target is already in place when the jump to it is written, so its
//! distance is known at once, and a target out of reach gets a stepping stone right here.

use super::Program;
use crate::limits::MAX_INSTRUCTIONS;
use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_IND, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MEM, BPF_W, BPF_X,
    BPF_XOR, sock_filter,
};
use std::collections::HashMap;

/// The place of an instruction, counted from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Label(usize);

/// The instructions so far, last first.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<sock_filter>,
    /// For a target that went out of reach: its nearest stepping stone.
    stepping_stones: HashMap<Label, Label>,
}

/// The reach of a conditional jump, less the two stepping stones that one branch may need to put
/// between itself and its targets.
const REACH: usize = u8::MAX as usize - 2;

impl Assembler {
    /// Ends the program with `verdict`.
    pub(super) fn give(&mut self, verdict: u32) -> Label {
        self.push(libc::BPF_RET | BPF_K, verdict)
    }

    /// Ends the program with the accumulator as its verdict.
    pub(super) fn give_accumulator(&mut self) -> Label {
        self.push(libc::BPF_RET | libc::BPF_A, 0)
    }

    /// Accumulator modulo `divisor`, then falls into what was written last.
    pub(super) fn modulo(&mut self, divisor: u32) -> Label {
        self.push(BPF_ALU | libc::BPF_MOD | BPF_K, divisor)
    }

    /// Accumulator and `mask`, then on to `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.then(BPF_ALU | libc::BPF_AND | BPF_K, mask, next)
    }

    /// Loads the frame's bytes at `offset`, big-endian; `width` is `BPF_B`, `BPF_H` or `BPF_W`.
    /// A frame too short for it gets verdict 0.
    pub(super) fn load(&mut self, width: u32, offset: u32, next: Label) -> Label {
        self.then(BPF_LD | BPF_ABS | width, offset, next)
    }

    /// Loads the frame's bytes at `offset` plus the index register.
    pub(super) fn load_indexed(&mut self, width: u32, offset: u32, next: Label) -> Label {
        self.then(BPF_LD | BPF_IND | width, offset, next)
    }

    /// Loads the length in bytes of the IPv4 header at `offset` into the index register.
    pub(super) fn index_by_ipv4_header(&mut self, offset: u32, next: Label) -> Label {
        self.then(BPF_LDX | libc::BPF_MSH | BPF_B, offset, next)
    }

    /// Loads one of the kernel's own facts about the frame (`SKF_AD_*`).
    pub(super) fn load_ancillary(&mut self, fact: libc::c_int, next: Label) -> Label {
        self.load(BPF_W, (libc::SKF_AD_OFF + fact) as u32, next)
    }

    /// Loads the frame's length in bytes.
    #[cfg(feature = "lab")]
    pub(super) fn load_length(&mut self, next: Label) -> Label {
        self.then(BPF_LD | BPF_W | libc::BPF_LEN, 0, next)
    }

    /// Loads a constant.
    pub(super) fn load_constant(&mut self, value: u32, next: Label) -> Label {
        self.then(BPF_LD | libc::BPF_IMM, value, next)
    }

    /// Loads a scratch word.
    pub(super) fn load_scratch(&mut self, word: u32, next: Label) -> Label {
        self.then(BPF_LD | BPF_MEM, word, next)
    }

    /// Stores the accumulator in a scratch word.
    pub(super) fn store_scratch(&mut self, word: u32, next: Label) -> Label {
        self.then(libc::BPF_ST, word, next)
    }

    /// Accumulator times `factor`, modulo 2^32.
    pub(super) fn multiply(&mut self, factor: u32, next: Label) -> Label {
        self.then(BPF_ALU | libc::BPF_MUL | BPF_K, factor, next)
    }

    /// Accumulator plus `term`.
    pub(super) fn add(&mut self, term: u32, next: Label) -> Label {
        self.then(BPF_ALU | libc::BPF_ADD | BPF_K, term, next)
    }

    /// Accumulator plus the index register.
    pub(super) fn add_index(&mut self, next: Label) -> Label {
        self.then(BPF_ALU | libc::BPF_ADD | BPF_X, 0, next)
    }

    /// Accumulator, bit by bit exclusive or `operand`.
    pub(super) fn exclusive_or(&mut self, operand: u32, next: Label) -> Label {
        self.then(BPF_ALU | BPF_XOR | BPF_K, operand, next)
    }

    /// Accumulator, bit by bit exclusive or the index register.
    pub(super) fn exclusive_or_index(&mut self, next: Label) -> Label {
        self.then(BPF_ALU | BPF_XOR | BPF_X, 0, next)
    }

    /// Accumulator, so many bits to the right.
    pub(super) fn shift_right(&mut self, bits: u32, next: Label) -> Label {
        self.then(BPF_ALU | libc::BPF_RSH | BPF_K, bits, next)
    }

    /// Accumulator, so many bits to the left.
    pub(super) fn shift_left(&mut self, bits: u32, next: Label) -> Label {
        self.then(BPF_ALU | libc::BPF_LSH | BPF_K, bits, next)
    }

    /// Copies the accumulator to the index register.
    pub(super) fn copy_to_index(&mut self, next: Label) -> Label {
        self.then(libc::BPF_MISC | libc::BPF_TAX, 0, next)
    }

    /// Loads a constant into the index register.
    pub(super) fn load_index_constant(&mut self, value: u32, next: Label) -> Label {
        self.then(BPF_LDX | libc::BPF_IMM, value, next)
    }

    /// Loads a scratch word into the index register.
    pub(super) fn load_index_scratch(&mut self, word: u32, next: Label) -> Label {
        self.then(BPF_LDX | BPF_MEM, word, next)
    }

    /// Whether the accumulator is above the index register.
    pub(super) fn branch_above_index(&mut self, yes: Label, no: Label) -> Label {
        self.branch_by(libc::BPF_JGT | BPF_X, 0, yes, no)
    }

    /// Compares the accumulator with `operand` (`BPF_JEQ`, `BPF_JGT`, `BPF_JGE`, `BPF_JSET`).
    pub(super) fn branch(&mut self, test: u32, operand: u32, yes: Label, no: Label) -> Label {
        self.branch_by(test | BPF_K, operand, yes, no)
    }

    fn branch_by(&mut self, test: u32, operand: u32, yes: Label, no: Label) -> Label {
        let yes = self.within_reach(yes);
        let no = self.within_reach(no);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.reversed.push(sock_filter { code: (BPF_JMP | test) as u16, jt, jf, k: operand });
        self.front()
    }

    /// The program, in the order in which it runs.
    pub(super) fn finish(mut self) -> Program {
        self.reversed.reverse();
        Program { instructions: self.reversed }
    }

    /// An instruction that continues at `next`, directly or by a jump.
    fn then(&mut self, code: u32, k: u32, next: Label) -> Label {
        if next != self.front() {
            self.jump(next);
        }
        self.push(code, k)
    }

    /// Either `target` or a stepping stone to it that a conditional jump written next can reach.
    fn within_reach(&mut self, target: Label) -> Label {
        let nearest = *self.stepping_stones.get(&target).unwrap_or(&target);
        if self.distance(nearest) <= REACH {
            return nearest;
        }
        let stone = self.jump(target);
        self.stepping_stones.insert(target, stone);
        stone
    }

    /// Continues at `target` unconditionally, however far: by its copy where it is a verdict.
    fn jump(&mut self, target: Label) -> Label {
        let instruction = self.reversed[target.0];
        if instruction.code == (libc::BPF_RET | BPF_K) as u16 {
            return self.push(libc::BPF_RET | BPF_K, instruction.k);
        }
        self.push(BPF_JMP | libc::BPF_JA, self.distance(target) as u32)
    }

    fn push(&mut self, code: u32, k: u32) -> Label {
        self.reversed.push(sock_filter { code: code as u16, jt: 0, jf: 0, k });
        self.front()
    }

    /// Instructions that a jump written next would skip to get to `target`.
    fn distance(&self, target: Label) -> usize {
        self.front().0 - target.0
    }

    /// The instruction written last, which is the first to run so far.
    pub(super) fn front(&self) -> Label {
        Label(self.reversed.len() - 1)
    }
}

// A jump's 32-bit operand and a program's 16-bit length both hold the longest program.
const _: () = assert!(MAX_INSTRUCTIONS <= u16::MAX as usize);
