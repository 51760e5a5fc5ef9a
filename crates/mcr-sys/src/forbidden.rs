//! What a sandbox forbids, to be tried from within it: in test builds alone (feature `faults`).
//!
//! Each act is harmless where it is let through.

use std::fmt;
use std::io;
use std::str::FromStr;

macro_rules! acts {
    ($($(#[$about:meta])* $act:ident = $name:literal,)+) => {
        /// An act.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Act {
            $($(#[$about])* $act,)+
        }

        impl Act {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$act),+];
        }

        impl fmt::Display for Act {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$act => $name,)+
                })
            }
        }
    };
}

acts! {
    /// Opens a file to read.
    Open = "open",
    /// Makes a file.
    Create = "create",
    /// Makes a UDP socket.
    Socket = "socket",
    /// Makes a packet socket.
    PacketSocket = "packet_socket",
    /// Connects the command socket elsewhere.
    Connect = "connect",
    /// Binds a socket.
    Bind = "bind",
    /// Sends by a socket, but not as the data plane does.
    Sendto = "sendto",
    /// Changes a socket, such as its filter.
    Setsockopt = "setsockopt",
    /// Reads from a descriptor that is no socket.
    Read = "read",
    /// Writes to the command socket.
    WriteElsewhere = "write_elsewhere",
    /// Becomes another program, which does not exist.
    Execve = "execve",
    /// Becomes two processes.
    Fork = "fork",
    /// Looks into the supervisor by ptrace(2).
    Ptrace = "ptrace",
    /// Looks into the supervisor by `process_vm_readv(2)`.
    ReadMemory = "read_memory",
    /// Asks whether the supervisor could be signalled.
    Kill = "kill",
    /// Maps memory that could be run.
    MmapCode = "mmap_code",
    /// Makes memory fit to be run.
    MprotectCode = "mprotect_code",
    /// Becomes root.
    Setresuid = "setresuid",
    /// Asks for capabilities.
    Capset = "capset",
    /// Changes a setting of its own process.
    Prctl = "prctl",
    /// Leaves its namespaces.
    Unshare = "unshare",
    /// Loads a BPF program.
    Bpf = "bpf",
    /// Makes a file in memory, out of which a program could be run.
    MemfdCreate = "memfd_create",
    /// Talks to a device.
    Ioctl = "ioctl",
    /// Makes another ring, without restrictions.
    UringSetup = "uring_setup",
    /// Changes its ring but for the sockets.
    UringRegister = "uring_register",
    /// Has its ring open a file.
    UringOpen = "uring_open",
    /// Has its ring make a socket.
    UringSocket = "uring_socket",
    /// Has its ring send by a socket that is not at one of its places.
    UringSendElsewhere = "uring_send_elsewhere",
}

impl FromStr for Act {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let acts = Self::ALL.iter().copied();
        acts.into_iter()
            .find(|act| act.to_string() == text)
            .ok_or_else(|| format!("no act {text:?}"))
    }
}

impl Act {
    /// Whether it asks something of the worker's ring, which `crate::uring` does.
    pub fn is_of_ring(self) -> bool {
        use Act::{UringOpen, UringRegister, UringSendElsewhere, UringSocket};
        matches!(self, UringOpen | UringRegister | UringSendElsewhere | UringSocket)
    }

    /// Does it, or says why that was refused.
    pub fn attempt(self) -> io::Result<()> {
        let (call, arguments) = self.call();
        let [a, b, c, d] = arguments;
        // SAFETY: what is pointed to are static strings, or nothing (null), which the kernel reads
        // or refuses; nothing is changed that this process has, but for a child and a mapping.
        let result = unsafe { libc::syscall(call, a, b, c, d, 0, 0) };
        match (self, result) {
            (_, -1) => Err(io::Error::last_os_error()),
            // SAFETY: the child ends here, as vfork(2) demands nothing less of it.
            (Self::Fork, 0) => unsafe { libc::_exit(0) },
            _ => Ok(()),
        }
    }

    /// The system call and its first four arguments.
    fn call(self) -> (libc::c_long, [libc::c_long; 4]) {
        let text = |text: &'static std::ffi::CStr| text.as_ptr() as libc::c_long;
        let here = libc::AT_FDCWD.into();
        let (udp, packet) = (libc::SOCK_DGRAM.into(), libc::SOCK_RAW.into());
        let [inet, raw] = [libc::AF_INET, libc::AF_PACKET].map(libc::c_long::from);
        let code = (libc::PROT_READ | libc::PROT_EXEC).into();
        let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).into();
        let parent = std::os::unix::process::parent_id().into();
        let page = 4_096;
        match self {
            Self::Open => (libc::SYS_openat, [here, text(c"/etc/passwd"), 0, 0]),
            Self::Create => {
                let flags = (libc::O_CREAT | libc::O_WRONLY).into();
                (libc::SYS_openat, [here, text(c"made-by-a-worker"), flags, 0o600])
            }
            Self::Socket => (libc::SYS_socket, [inet, udp, 0, 0]),
            Self::PacketSocket => (libc::SYS_socket, [raw, packet, 0, 0]),
            Self::Connect => (libc::SYS_connect, [COMMANDS, 0, 0, 0]),
            Self::Bind => (libc::SYS_bind, [COMMANDS, 0, 0, 0]),
            Self::Sendto => (libc::SYS_sendto, [-1, 0, 0, 0]),
            Self::Setsockopt => {
                let (level, option) = (libc::SOL_SOCKET.into(), libc::SO_DETACH_FILTER.into());
                (libc::SYS_setsockopt, [-1, level, option, 0])
            }
            Self::Read => (libc::SYS_read, [libc::STDIN_FILENO.into(), 0, 0, 0]),
            Self::WriteElsewhere => (libc::SYS_write, [COMMANDS, 0, 0, 0]),
            Self::Execve => (libc::SYS_execve, [text(c"/nonexistent"), 0, 0, 0]),
            // With no flag but the signal at its end it is fork(2).
            Self::Fork => (libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0]),
            Self::Ptrace => (libc::SYS_ptrace, [libc::PTRACE_PEEKDATA.into(), parent, 0, 0]),
            Self::ReadMemory => (libc::SYS_process_vm_readv, [parent, 0, 0, 0]),
            Self::Kill => (libc::SYS_kill, [parent, 0, 0, 0]),
            Self::MmapCode => (libc::SYS_mmap, [0, page, code, private]),
            Self::MprotectCode => (libc::SYS_mprotect, [0, 0, code, 0]),
            Self::Setresuid => (libc::SYS_setresuid, [0, 0, 0, 0]),
            Self::Capset => (libc::SYS_capset, [0, 0, 0, 0]),
            Self::Prctl => (libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 1, 0, 0]),
            Self::Unshare => (libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0]),
            Self::Bpf => (libc::SYS_bpf, [0, 0, 0, 0]),
            Self::MemfdCreate => (libc::SYS_memfd_create, [text(c"program"), 0, 0, 0]),
            Self::Ioctl => (libc::SYS_ioctl, [COMMANDS, libc::FIONREAD as libc::c_long, 0, 0]),
            Self::UringSetup => (libc::SYS_io_uring_setup, [1, 0, 0, 0]),
            Self::UringRegister
            | Self::UringOpen
            | Self::UringSocket
            | Self::UringSendElsewhere => unreachable!("the ring's own"),
        }
    }
}

/// Where a worker has its command socket; here any descriptor would do.
const COMMANDS: libc::c_long = 3;
