//! `linux/bpf.h`: the calls, instructions and structures of eBPF that this crate uses. Each
//! attribute structure is the part of `union bpf_attr` that its command reads; the kernel takes
//! what follows as zero.

/// Commands of bpf(2).
pub(crate) const BPF_MAP_CREATE: libc::c_long = 0;
pub(crate) const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
pub(crate) const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
pub(crate) const BPF_PROG_LOAD: libc::c_long = 5;
#[cfg(test)]
pub(crate) const BPF_PROG_TEST_RUN: libc::c_long = 10;
pub(crate) const BPF_LINK_CREATE: libc::c_long = 28;

pub(crate) const BPF_MAP_TYPE_HASH: u32 = 1;
/// Entries take memory as they are made.
pub(crate) const BPF_F_NO_PREALLOC: u32 = 1;
pub(crate) const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
/// Attach type of a tcx link at an interface's ingress (Linux 6.6).
pub(crate) const BPF_TCX_INGRESS: u32 = 46;

/// Verdicts of a tcx program (`enum tcx_action_base`): on to the next program, and on from there.
pub(crate) const TCX_NEXT: i32 = -1;
/// The frame ends here.
pub(crate) const TCX_DROP: i32 = 2;

/// Instruction classes, beside those of classic BPF that libc has (`linux/bpf_common.h`).
pub(crate) const BPF_ALU64: u32 = 0x07;
/// Operations and sizes that classic BPF lacks.
pub(crate) const BPF_MOV: u32 = 0xb0;
pub(crate) const BPF_END: u32 = 0xd0;
/// `BPF_END` to network order.
pub(crate) const BPF_TO_BE: u32 = 0x08;
pub(crate) const BPF_DW: u32 = 0x18;
pub(crate) const BPF_JNE: u32 = 0x50;
pub(crate) const BPF_JLT: u32 = 0xa0;
pub(crate) const BPF_CALL: u32 = 0x80;
pub(crate) const BPF_EXIT: u32 = 0x90;
/// Marks the immediate value of a 64-bit load as a map's descriptor.
pub(crate) const BPF_PSEUDO_MAP_FD: u8 = 1;

/// Helper functions, by number; neither needs a GPL-compatible licence.
pub(crate) const BPF_FUNC_MAP_LOOKUP_ELEM: i32 = 1;
pub(crate) const BPF_FUNC_SKB_LOAD_BYTES: i32 = 26;

/// Offsets of fields, of 32 bits each, in `struct __sk_buff`.
pub(crate) mod sk_buff {
    pub(crate) const LEN: i16 = 0;
    pub(crate) const PKT_TYPE: i16 = 4;
    pub(crate) const VLAN_PRESENT: i16 = 20;
    pub(crate) const VLAN_TCI: i16 = 24;
    pub(crate) const IFINDEX: i16 = 40;
    /// Bytes of the structure as far as a test run needs it.
    #[cfg(test)]
    pub(crate) const BYTES: usize = 192;
}

/// `struct bpf_insn`; the two registers share a byte, in the order of the machine's bit fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

/// For `BPF_MAP_CREATE`.
#[derive(Default)]
#[repr(C)]
pub(crate) struct MapCreate {
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) map_flags: u32,
    pub(crate) inner_map_fd: u32,
    pub(crate) numa_node: u32,
    pub(crate) map_name: [u8; NAME_BYTES],
}

/// For `BPF_MAP_UPDATE_ELEM` and `BPF_MAP_DELETE_ELEM`.
#[derive(Default)]
#[repr(C)]
pub(crate) struct MapElement {
    pub(crate) map_fd: u32,
    pub(crate) padding: u32,
    pub(crate) key: u64,
    pub(crate) value: u64,
    pub(crate) flags: u64,
}

/// For `BPF_PROG_LOAD`.
#[derive(Default)]
#[repr(C)]
pub(crate) struct ProgramLoad {
    pub(crate) prog_type: u32,
    pub(crate) insn_cnt: u32,
    pub(crate) insns: u64,
    pub(crate) license: u64,
    pub(crate) log_level: u32,
    pub(crate) log_size: u32,
    pub(crate) log_buf: u64,
    pub(crate) kern_version: u32,
    pub(crate) prog_flags: u32,
    pub(crate) prog_name: [u8; NAME_BYTES],
}

/// For `BPF_LINK_CREATE`.
#[derive(Default)]
#[repr(C)]
pub(crate) struct LinkCreate {
    pub(crate) prog_fd: u32,
    pub(crate) target_ifindex: u32,
    pub(crate) attach_type: u32,
    pub(crate) flags: u32,
}

/// For `BPF_PROG_TEST_RUN`.
#[cfg(test)]
#[derive(Default)]
#[repr(C)]
pub(crate) struct TestRun {
    pub(crate) prog_fd: u32,
    pub(crate) retval: u32,
    pub(crate) data_size_in: u32,
    pub(crate) data_size_out: u32,
    pub(crate) data_in: u64,
    pub(crate) data_out: u64,
    pub(crate) repeat: u32,
    pub(crate) duration: u32,
    pub(crate) ctx_size_in: u32,
    pub(crate) ctx_size_out: u32,
    pub(crate) ctx_in: u64,
    pub(crate) ctx_out: u64,
}

/// Bytes of a map's or a program's name (`BPF_OBJ_NAME_LEN`), its terminating zero included.
pub(crate) const NAME_BYTES: usize = 16;

const _: () = {
    assert!(size_of::<Instruction>() == 8);
    assert!(size_of::<MapCreate>() == 44);
    assert!(size_of::<MapElement>() == 32);
    assert!(size_of::<ProgramLoad>() == 64);
    assert!(std::mem::offset_of!(ProgramLoad, prog_name) == 48);
    assert!(size_of::<LinkCreate>() == 16);
};

#[cfg(test)]
const _: () = assert!(size_of::<TestRun>() == 64);
