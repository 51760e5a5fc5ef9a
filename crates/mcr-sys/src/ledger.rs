//! Shared memory of 64-bit words (`memfd_create(2)`): written by one process with plain relaxed
//! stores, read by another at any time. What the words mean is not this module's business.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::CString;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A file that can never change its size: without the seals, whoever holds it could cut it and so
/// kill each process that reads its mapping (`SIGBUS`).
const SIZE_SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);

/// Makes the memory behind a ledger.
#[derive(Debug)]
pub struct LedgerMemory;

impl LedgerMemory {
    /// `words` zeroed words in anonymous shared memory, sealed at this size. `name` is what
    /// `/proc/PID/maps` shows.
    pub fn create(name: &str, words: usize) -> io::Result<OwnedFd> {
        let name = CString::new(name)?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let memory = memfd_create(name.as_c_str(), flags)?;
        let bytes = byte_length(words)?;
        nix::unistd::ftruncate(&memory, bytes.try_into().map_err(io::Error::other)?)?;
        fcntl(&memory, FcntlArg::F_ADD_SEALS(SIZE_SEALS | SealFlag::F_SEAL_SEAL))?;
        Ok(memory)
    }
}

/// The writing side: the words as atomics.
#[derive(Debug)]
pub struct LedgerWriter(Mapping);

impl LedgerWriter {
    /// Maps `words` words for reading and writing. `InvalidData`: the memory is not sealed or has
    /// another size.
    pub fn map(memory: BorrowedFd, words: usize) -> io::Result<Self> {
        Mapping::new(memory, words, libc::PROT_READ | libc::PROT_WRITE).map(Self)
    }
}

impl Deref for LedgerWriter {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        self.0.words()
    }
}

/// The reading side. Its pages are mapped read-only, so it offers no store: that would fault.
#[derive(Debug)]
pub struct LedgerReader(Mapping);

impl LedgerReader {
    /// Maps `words` words for reading. `InvalidData`: the memory is not sealed or has another size.
    pub fn map(memory: BorrowedFd, words: usize) -> io::Result<Self> {
        Mapping::new(memory, words, libc::PROT_READ).map(Self)
    }

    /// The word at `index`, in no order with other words. Panics beyond the end, as a slice does.
    pub fn load(&self, index: usize) -> u64 {
        self.0.words()[index].load(Ordering::Relaxed)
    }

    /// The word at `index`; what its writer stored before a release store of it is seen by later
    /// loads. Panics beyond the end, as a slice does.
    pub fn load_acquire(&self, index: usize) -> u64 {
        let word = self.load(index);
        // Only relaxed loads are promised to work on read-only pages (`std::sync::atomic`).
        fence(Ordering::Acquire);
        word
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.0.words
    }

    /// Never true: an empty mapping is refused.
    pub fn is_empty(&self) -> bool {
        self.0.words == 0
    }
}

/// A shared mapping, unmapped on drop.
#[derive(Debug)]
struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping is owned, belongs to the process and not to a thread, and is reached only
// through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above; atomics may be shared between threads.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(memory: BorrowedFd, words: usize, protection: libc::c_int) -> io::Result<Self> {
        let bytes = byte_length(words)?;
        let seals = SealFlag::from_bits_retain(fcntl(memory, FcntlArg::F_GET_SEALS)?);
        let size = nix::sys::stat::fstat(memory)?.st_size;
        if !seals.contains(SIZE_SEALS) || usize::try_from(size) != Ok(bytes) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                memory.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, words })
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is the page-aligned start of a readable mapping of exactly `words`
        // words that lives as long as `self`; the seals checked in `new` keep the file behind it
        // at that size. Other processes change it, which atomics allow. On a read-only mapping
        // `LedgerReader` makes relaxed loads only, of eight bytes, which are defined there.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this range, and no reference to it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * size_of::<AtomicU64>()) };
    }
}

fn byte_length(words: usize) -> io::Result<usize> {
    match words.checked_mul(size_of::<u64>()) {
        Some(bytes) if (1..=isize::MAX as usize).contains(&bytes) => Ok(bytes),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn the_reader_sees_what_the_writer_stores() {
        let memory = LedgerMemory::create("test", 1000).unwrap();
        let writer = LedgerWriter::map(memory.as_fd(), 1000).unwrap();
        let reader = LedgerReader::map(memory.as_fd(), 1000).unwrap();
        drop(memory);
        assert_eq!((writer.len(), reader.len(), reader.load(999)), (1000, 1000, 0));
        writer[999].store(7, Ordering::Relaxed);
        assert_eq!(reader.load(999), 7);
        let told_by_another_thread = std::thread::scope(|scope| {
            scope.spawn(|| writer[0].store(8, Ordering::Release));
            scope.spawn(|| while reader.load_acquire(0) != 8 {}).join()
        });
        assert!(told_by_another_thread.is_ok());
    }

    #[test]
    fn nobody_can_resize_or_unseal_it() {
        let memory = File::from(LedgerMemory::create("test", 1000).unwrap());
        assert!(memory.set_len(8).is_err());
        assert!(memory.set_len(1 << 20).is_err());
        let more = FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE);
        assert_eq!(fcntl(&memory, more), Err(nix::Error::EPERM));
    }

    #[test]
    fn memory_that_could_fault_is_refused() {
        let kind = |memory: BorrowedFd, words| {
            let as_reader = LedgerReader::map(memory, words).unwrap_err().kind();
            assert_eq!(LedgerWriter::map(memory, words).unwrap_err().kind(), as_reader);
            as_reader
        };
        let sealed = LedgerMemory::create("test", 1000).unwrap();
        assert_eq!(kind(sealed.as_fd(), 1001), io::ErrorKind::InvalidData);
        assert_eq!(kind(sealed.as_fd(), 999), io::ErrorKind::InvalidData);
        assert_eq!(kind(sealed.as_fd(), 0), io::ErrorKind::InvalidInput);
        let unsealed = File::from(memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        unsealed.set_len(8000).unwrap();
        assert_eq!(kind(unsealed.as_fd(), 1000), io::ErrorKind::InvalidData);
        assert!(LedgerMemory::create("test", usize::MAX).is_err());
    }
}
