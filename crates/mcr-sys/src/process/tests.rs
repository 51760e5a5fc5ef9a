use super::*;
use std::io::pipe;
use std::os::fd::AsRawFd;
use std::os::unix::process::parent_id;

#[test]
fn a_pinned_thread_stays_on_its_core() {
    std::thread::spawn(|| {
        let core = *allowed_cores().last().unwrap();
        pin_to_core(core).unwrap();
        assert_eq!(allowed_cores(), [core]);
        assert_eq!(nix::sched::sched_getcpu(), Ok(core));
    })
    .join()
    .unwrap();
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let message = pin_to_core(1023).unwrap_err().to_string();
    assert!(message.contains("core 1023"), "{message}");
    assert!(pin_to_core(usize::MAX).is_err());
}

#[test]
fn realtime_scheduling_is_the_threads_alone() {
    let policy = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // proc(5): `policy` is the 41st field; the 2nd, in brackets, may hold spaces.
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().nth(41 - 3).unwrap().to_owned()
    };
    let before = policy();
    if let Err(refusal) = realtime_scheduling_permitted() {
        let message = refusal.to_string();
        assert!(message.contains("CAP_SYS_NICE"), "{message}");
        println!("SKIP: {message}");
        return;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            set_realtime_scheduling().unwrap();
            assert_eq!(policy(), libc::SCHED_FIFO.to_string());
        });
    });
    assert_eq!(policy(), before);
}

#[test]
fn the_descriptor_limit_rises_to_the_hard_one() {
    let limit = raise_descriptor_limit().unwrap();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (limit, limit));
}

#[test]
fn a_wrong_parent_is_noticed() {
    assert!(die_with_parent(parent_id()).is_ok());
    assert_eq!(die_with_parent(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    nix::sys::prctl::set_pdeathsig(None::<Signal>).unwrap();
}

#[test]
fn reading_an_empty_pipe_does_not_block() {
    use std::io::Read;
    let (mut reader, _writer) = pipe().unwrap();
    set_nonblocking(&reader).unwrap();
    assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn only_inherited_descriptors_are_adopted_and_only_once() {
    let kind = |number| adopt_descriptor(number).unwrap_err().kind();
    assert_eq!(kind(1), io::ErrorKind::InvalidInput);
    assert_eq!(adopt_descriptor(19_999).unwrap_err().raw_os_error(), Some(libc::EBADF));
    let (reader, _writer) = pipe().unwrap();
    assert_eq!(kind(reader.as_raw_fd()), io::ErrorKind::AlreadyExists, "std opened it");

    // As after exec: open, without close-on-exec, and owned by nobody. F_DUPFD takes the lowest
    // free number from 500 up, where no other test of this process has any.
    let inherited = fcntl(&reader, FcntlArg::F_DUPFD(500)).unwrap();
    let adopted = adopt_descriptor(inherited).unwrap();
    assert_eq!(adopted.as_raw_fd(), inherited);
    assert_eq!(fcntl(&adopted, FcntlArg::F_GETFD), Ok(libc::FD_CLOEXEC));
    assert_eq!(kind(inherited), io::ErrorKind::AlreadyExists);
    drop(adopted);
    assert_eq!(kind(inherited), io::ErrorKind::AlreadyExists);
}

#[test]
fn the_clock_never_goes_back_and_is_the_standard_librarys() {
    let (before, standard) = (monotonic_ns(), std::time::Instant::now());
    while standard.elapsed().as_millis() < 2 {}
    let elapsed = monotonic_ns() - before;
    assert!((2_000_000..10_000_000_000).contains(&elapsed), "{elapsed}");
}
