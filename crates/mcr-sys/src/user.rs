//! Other users, for trials of the daemon as one of them.

use crate::privileges::Capability;
use caps::CapSet;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Makes the calling thread, and no other, that user with its group alone, and with no capability
/// but these, which are ambient: a program that it starts begins with them.
///
/// # Errors
/// `EINVAL`: the user namespace has no such user.
pub fn become_user(user: u32, ambient: &[Capability]) -> io::Result<()> {
    // glibc would change every thread.
    let change = |number, one: libc::c_long, other: libc::c_long| {
        // SAFETY: setgroups is given no group to read, and the others take numbers only.
        let result = unsafe { libc::syscall(number, one, other, other) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    caps::securebits::set_keepcaps(true).map_err(io::Error::other)?;
    change(libc::SYS_setgroups, 0, 0)?;
    change(libc::SYS_setresgid, user.into(), user.into())?;
    change(libc::SYS_setresuid, user.into(), user.into())?;
    let kept = ambient.iter().copied().collect();
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient] {
        caps::set(None, set, &kept).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Gives a program file these capabilities, permitted and effective: `setcap(8)` with `+ep`.
pub fn set_file_capabilities(program: &Path, capabilities: &[Capability]) -> io::Result<()> {
    /// `VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE` (`linux/capability.h`).
    const REVISION_2_EFFECTIVE: u32 = 0x0200_0001;
    let mask = capabilities.iter().fold(0, |mask, capability| mask | capability.bitmask());
    let [low, high] = [mask as u32, (mask >> 32) as u32];
    // `struct vfs_cap_data`: for each half of the mask what is permitted and what is inheritable.
    let words = [REVISION_2_EFFECTIVE, low, 0, high, 0].map(u32::to_le_bytes);
    let bytes = words.as_flattened();
    let path = CString::new(program.as_os_str().as_bytes())?;
    let name = c"security.capability";
    // SAFETY: both names end with a zero, and `bytes` is as long as is said; the kernel only reads.
    let result = unsafe {
        libc::setxattr(path.as_ptr(), name.as_ptr(), bytes.as_ptr().cast(), bytes.len(), 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
