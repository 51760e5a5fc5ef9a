//! Socket options by number, for those that neither the standard library nor socket2 knows.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets a socket option to the bytes of `value` (`setsockopt(2)`).
pub(crate) fn set<T: Copy>(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is a live reference to `size_of::<T>()` bytes, which the kernel only reads
    // and does not keep. A pointer inside `T` (a filter program) is read by the kernel with fault
    // checks and is never written through.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads a socket option that consists of `N` 32-bit words (`getsockopt(2)`).
pub(crate) fn words<const N: usize>(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<[u32; N]> {
    let mut value = [0_u32; N];
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is exclusively borrowed and `length` is its size; the kernel writes at most
    // that many bytes, and any bit pattern is a valid `u32`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Reads a socket option that is a list of at most `most` 32-bit words (`getsockopt(2)`).
pub(crate) fn list(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    most: usize,
) -> io::Result<Vec<u32>> {
    let mut value = vec![0_u32; most];
    let mut length = size_of_val(&value[..]) as libc::socklen_t;
    // SAFETY: `value` is exclusively borrowed and `length` is its size; the kernel writes at most
    // that many bytes, and any bit pattern is a valid `u32`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    value.truncate(length as usize / size_of::<u32>());
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn what_is_set_is_read_back() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        set(&socket, libc::IPPROTO_IP, libc::IP_TTL, &17_i32).unwrap();
        assert_eq!(words(&socket, libc::IPPROTO_IP, libc::IP_TTL).unwrap(), [17]);
    }

    #[test]
    fn the_kernels_refusal_is_reported() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = set(&socket, libc::IPPROTO_IP, libc::IP_TTL, &4000_i32).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
