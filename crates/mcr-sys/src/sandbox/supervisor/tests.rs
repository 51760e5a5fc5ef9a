use std::fs::{self, File};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use super::*;

fn confinement() -> SupervisorConfinement {
    SupervisorConfinement {
        readable: vec!["/sys/kernel".into()],
        control: std::env::temp_dir(),
        tcp_port: None,
        worker: User { uid: 65_534, gid: 65_534 },
        realtime: false,
    }
}

/// A thread confines itself alone.
fn confined(body: impl FnOnce(bool) + Send + 'static) {
    let confined = thread::spawn(|| body(confine_supervisor(&confinement()).unwrap()));
    confined.join().unwrap();
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: io::Result<T>, errno: i32) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(errno));
}

#[test]
fn files_but_its_own_are_denied() {
    confined(|by_landlock| {
        if !by_landlock {
            println!("SKIP: this kernel has no Landlock");
            return;
        }
        File::open("/dev/null").unwrap();
        fs::read_to_string("/proc/self/status").unwrap();
        fs::read_dir("/sys/kernel").unwrap();
        refused(File::open("/etc/passwd"), libc::EACCES);
        refused(fs::read_dir("/sys/class"), libc::EACCES);
        refused(Command::new("/bin/sh").spawn(), libc::EACCES);
        let path = std::env::temp_dir().join(format!("mcr-sandbox-{}", std::process::id()));
        File::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        refused(fs::create_dir(&path), libc::EACCES);
    });
}

#[test]
fn what_it_never_calls_is_refused_and_not_its_death() {
    use nix::errno::Errno;
    confined(|_| {
        // The C library's function is about all threads.
        // SAFETY: it takes numbers only.
        let root = unsafe { libc::syscall(libc::SYS_setresuid, 0, 0, 0) };
        assert_eq!((root, Errno::last()), (-1, Errno::EPERM));
        let unshared = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER);
        assert_eq!(unshared, Err(Errno::EPERM));
        // SAFETY: it only asks to be traced, and is refused.
        let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME) };
        assert_eq!((traced, Errno::last()), (-1, Errno::EPERM));
        let bluetooth = 31;
        // SAFETY: it takes numbers only.
        let socket = unsafe { libc::socket(bluetooth, libc::SOCK_RAW, 0) };
        assert_eq!((socket, Errno::last()), (-1, Errno::EPERM));
    });
}

#[test]
fn what_is_written_is_never_run() {
    confined(|_| {
        let maps = |mode| {
            let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping at an address of the kernel's choosing, which nobody uses.
            unsafe { libc::mmap(std::ptr::null_mut(), 4096, mode, how, -1, 0) != libc::MAP_FAILED }
        };
        assert!(maps(libc::PROT_READ | libc::PROT_WRITE));
        assert!(maps(libc::PROT_READ | libc::PROT_EXEC));
        assert!(!maps(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC));
    });
}

#[test]
fn threads_start_and_tcp_is_denied() {
    confined(|by_landlock| {
        thread::spawn(|| ()).join().unwrap();
        if by_landlock && status_of_tcp() {
            refused(TcpListener::bind("127.0.0.1:0"), libc::EACCES);
        }
    });
}

/// Whether this kernel's Landlock knows of TCP (Linux 6.7).
fn status_of_tcp() -> bool {
    use landlock::ABI;
    let hard = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    hard.handle_access(AccessNet::from_all(ABI::V4)).is_ok()
}
