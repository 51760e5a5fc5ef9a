//! A small assembler for eBPF (RFC 9669): typed instructions, forward jumps by labels.

use crate::abi::bpf::{self, Instruction};
use libc::{BPF_ALU, BPF_B, BPF_H, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MEM, BPF_ST, BPF_W, BPF_X};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A register. By the calling convention `R0` holds results, `R1` to `R5` arguments, which a call
/// destroys; `R6` to `R9` survive calls; `R10` is the end of the 512-byte stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R6 = 6,
    R7,
    R8,
    R10 = 10,
}

/// How many bytes a load or a store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Byte,
    Half,
    Word,
    Double,
}

impl Width {
    fn code(self) -> u32 {
        match self {
            Self::Byte => BPF_B,
            Self::Half => BPF_H,
            Self::Word => BPF_W,
            Self::Double => bpf::BPF_DW,
        }
    }
}

/// An operation on 64-bit registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Move,
    Add,
    Subtract,
    And,
    ShiftLeft,
    ShiftRight,
}

impl Operation {
    fn code(self) -> u32 {
        match self {
            Self::Move => bpf::BPF_MOV,
            Self::Add => libc::BPF_ADD,
            Self::Subtract => libc::BPF_SUB,
            Self::And => libc::BPF_AND,
            Self::ShiftLeft => libc::BPF_LSH,
            Self::ShiftRight => libc::BPF_RSH,
        }
    }
}

/// An unsigned comparison of 64-bit registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equal,
    NotEqual,
    Greater,
    Less,
    /// A bit is set in both.
    Common,
}

impl Test {
    fn code(self) -> u32 {
        match self {
            Self::Equal => libc::BPF_JEQ,
            Self::NotEqual => bpf::BPF_JNE,
            Self::Greater => libc::BPF_JGT,
            Self::Less => bpf::BPF_JLT,
            Self::Common => libc::BPF_JSET,
        }
    }
}

/// The second operand of an operation or a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Value(i32),
    In(Register),
}

/// A place further down in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// The instructions so far, first first.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    /// The place of each label, once it is placed.
    places: Vec<Option<usize>>,
    /// The jumps, by their instruction's place.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label that is still to be placed.
    pub(super) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Jumps to the label lead here.
    pub(super) fn place(&mut self, label: Label) {
        let here = self.instructions.len();
        let earlier = self.places[label.0].replace(here);
        debug_assert!(earlier.is_none(), "a label stands in one place");
    }

    /// Applies `operation` to a register.
    pub(super) fn apply(&mut self, operation: Operation, to: Register, operand: Operand) {
        let (source, from, value) = split(operand);
        self.push(bpf::BPF_ALU64 | operation.code() | source, (to, from), 0, value);
    }

    /// Reads the lower 16 bits of a register, as loaded from a packet, as a number.
    pub(super) fn read_network_order(&mut self, register: Register) {
        let code = BPF_ALU | bpf::BPF_END | bpf::BPF_TO_BE;
        self.push(code, (register, Register::R0), 0, 16);
    }

    /// Loads from the memory at a register plus `offset`.
    pub(super) fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.push(BPF_LDX | BPF_MEM | width.code(), (to, from), offset, 0);
    }

    /// Stores a register into the memory at another plus `offset`.
    pub(super) fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.push(libc::BPF_STX | BPF_MEM | width.code(), (to, from), offset, 0);
    }

    /// Stores a constant into the memory at a register plus `offset`.
    pub(super) fn store_value(&mut self, width: Width, to: Register, offset: i16, value: i32) {
        self.push(BPF_ST | BPF_MEM | width.code(), (to, Register::R0), offset, value);
    }

    /// Loads a map's address, for a helper function. The program takes its own hold of the map.
    pub(super) fn load_map(&mut self, to: Register, map: BorrowedFd) {
        let code = BPF_LD | libc::BPF_IMM | bpf::BPF_DW;
        let registers = to as u8 | bpf::BPF_PSEUDO_MAP_FD << 4;
        self.push_raw(code, registers, 0, map.as_raw_fd());
        // The upper half of the 64-bit value.
        self.push_raw(0, 0, 0, 0);
    }

    /// Goes on at `label` if the comparison holds.
    pub(super) fn jump_if(&mut self, left: Register, test: Test, right: Operand, label: Label) {
        let (source, from, value) = split(right);
        self.jumps.push((self.instructions.len(), label));
        self.push(BPF_JMP | test.code() | source, (left, from), 0, value);
    }

    /// Goes on at `label`.
    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(BPF_JMP | libc::BPF_JA, (Register::R0, Register::R0), 0, 0);
    }

    /// Calls a helper function by its number.
    pub(super) fn call(&mut self, helper: i32) {
        self.push(BPF_JMP | bpf::BPF_CALL, (Register::R0, Register::R0), 0, helper);
    }

    /// Ends the program with `R0` as its verdict.
    pub(super) fn exit(&mut self) {
        self.push(BPF_JMP | bpf::BPF_EXIT, (Register::R0, Register::R0), 0, 0);
    }

    /// The program.
    ///
    /// # Panics
    /// If a jump leads to a label that was not placed, or further than 32,767 instructions.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (from, label) in self.jumps {
            let to = self.places[label.0].expect("every label that is jumped to is placed");
            // Relative to the instruction after the jump.
            let distance = to as isize - (from as isize + 1);
            let offset = distance.try_into().expect("the program is short");
            self.instructions[from].offset = offset;
        }
        self.instructions
    }

    fn push(&mut self, code: u32, (to, from): (Register, Register), offset: i16, value: i32) {
        self.push_raw(code, to as u8 | (from as u8) << 4, offset, value);
    }

    /// `registers` has the destination in its lower half.
    fn push_raw(&mut self, code: u32, registers: u8, offset: i16, immediate: i32) {
        let registers =
            if cfg!(target_endian = "big") { registers.rotate_left(4) } else { registers };
        self.instructions.push(Instruction { code: code as u8, registers, offset, immediate });
    }
}

fn split(operand: Operand) -> (u32, Register, i32) {
    match operand {
        Operand::Value(value) => (BPF_K, Register::R0, value),
        Operand::In(register) => (BPF_X, register, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As bytes, in the encoding of RFC 9669 for a little-endian machine.
    fn encoded(assembler: Assembler) -> Vec<[u8; 8]> {
        let bytes = |i: Instruction| {
            let registers =
                if cfg!(target_endian = "big") { i.registers.rotate_left(4) } else { i.registers };
            let ([o0, o1], [v0, v1, v2, v3]) = (i.offset.to_le_bytes(), i.immediate.to_le_bytes());
            [i.code, registers, o0, o1, v0, v1, v2, v3]
        };
        assembler.finish().into_iter().map(bytes).collect()
    }

    #[test]
    fn instructions_are_encoded_as_the_standard_says() {
        let mut asm = Assembler::default();
        asm.apply(Operation::Move, Register::R6, Operand::In(Register::R1));
        asm.apply(Operation::Add, Register::R2, Operand::Value(-40));
        asm.read_network_order(Register::R8);
        asm.load(Width::Word, Register::R1, Register::R6, 40);
        asm.store(Width::Half, Register::R10, -2, Register::R3);
        asm.store_value(Width::Double, Register::R10, -8, 7);
        asm.call(26);
        asm.exit();
        assert_eq!(
            encoded(asm),
            [
                [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
                [0x07, 0x02, 0, 0, 0xd8, 0xff, 0xff, 0xff],
                [0xdc, 0x08, 0, 0, 16, 0, 0, 0],
                [0x61, 0x61, 40, 0, 0, 0, 0, 0],
                [0x6b, 0x3a, 0xfe, 0xff, 0, 0, 0, 0],
                [0x7a, 0x0a, 0xf8, 0xff, 7, 0, 0, 0],
                [0x85, 0, 0, 0, 26, 0, 0, 0],
                [0x95, 0, 0, 0, 0, 0, 0, 0],
            ]
        );
    }

    #[test]
    fn a_jump_counts_from_the_next_instruction() {
        let mut asm = Assembler::default();
        let (near, far) = (asm.label(), asm.label());
        asm.jump_if(Register::R0, Test::NotEqual, Operand::Value(0), far);
        asm.jump_if(Register::R7, Test::Less, Operand::In(Register::R8), near);
        asm.jump(far);
        asm.place(near);
        asm.exit();
        asm.place(far);
        asm.exit();
        assert_eq!(
            encoded(asm)[..3],
            [
                [0x55, 0, 3, 0, 0, 0, 0, 0],
                [0xad, 0x87, 1, 0, 0, 0, 0, 0],
                [0x05, 0, 1, 0, 0, 0, 0, 0]
            ]
        );
    }
}
