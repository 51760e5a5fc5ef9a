//! Socket addresses in the form the kernel reads.

use std::net::{IpAddr, SocketAddr};

/// Bytes of a `sockaddr_in6`, the larger of the two forms.
const ADDRESS_BYTES: usize = size_of::<libc::sockaddr_in6>();

/// An internet protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(crate) fn domain(self) -> socket2::Domain {
        match self {
            Self::V4 => socket2::Domain::IPV4,
            Self::V6 => socket2::Domain::IPV6,
        }
    }
}

/// A [`SocketAddr`] encoded once as `sockaddr_in` or `sockaddr_in6` (`ip(7)`, `ipv6(7)`), so that
/// the data path hands the kernel a pointer and encodes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(4))]
pub struct KernelAddress {
    bytes: [u8; ADDRESS_BYTES],
    length: u32,
}

// The encoder below writes these offsets; both forms start with family and port.
const _: () = {
    assert!(ADDRESS_BYTES == 28 && size_of::<libc::sockaddr_in>() == 16);
    assert!(align_of::<KernelAddress>() >= align_of::<libc::sockaddr_in6>());
    assert!(std::mem::offset_of!(libc::sockaddr_in, sin_port) == 2);
    assert!(std::mem::offset_of!(libc::sockaddr_in, sin_addr) == 4);
    assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_port) == 2);
    assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_flowinfo) == 4);
    assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_addr) == 8);
    assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_scope_id) == 24);
};

impl KernelAddress {
    /// The encoded bytes, `sockaddr_in` (16) or `sockaddr_in6` (28) long.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }

    /// For `msg_name`: valid for reads of [`Self::length`] bytes while `self` lives and stays put.
    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    /// For `msg_namelen`, in bytes.
    pub(crate) fn length(&self) -> libc::socklen_t {
        self.length
    }
}

impl From<SocketAddr> for KernelAddress {
    fn from(address: SocketAddr) -> Self {
        let mut bytes = [0; ADDRESS_BYTES];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let (family, length) = match address {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (libc::AF_INET, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                // The flow label is kept as std keeps it: already in network order.
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, ADDRESS_BYTES)
            }
        };
        bytes[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
        Self { bytes, length: length as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    /// Sends one byte to `receiver` through the encoded address, as the data path does.
    fn send_by_encoded_address(receiver: &UdpSocket) -> libc::ssize_t {
        let address = receiver.local_addr().unwrap();
        let encoded = KernelAddress::from(address);
        let sender = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).unwrap();
        // SAFETY: both pointers are to locals that outlive the call, with their true lengths.
        unsafe {
            libc::sendto(
                sender.as_raw_fd(),
                b"x".as_ptr().cast(),
                1,
                0,
                encoded.as_ptr(),
                encoded.length(),
            )
        }
    }

    #[test]
    fn the_kernel_delivers_to_an_encoded_address() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(receiver) = UdpSocket::bind(address) else {
                println!("SKIP: {address} cannot be bound here");
                continue;
            };
            assert_eq!(send_by_encoded_address(&receiver), 1);
            assert_eq!(receiver.recv(&mut [0; 2]).unwrap(), 1);
        }
    }

    #[test]
    fn encoding_agrees_with_socket2() {
        for text in ["239.1.2.3:5000", "[ff3e::8000:1]:65535", "[fe80::1%7]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let reference = socket2::SockAddr::from(address);
            // SAFETY: `reference` owns that many initialised bytes and outlives the slice.
            let expected = unsafe {
                std::slice::from_raw_parts(
                    reference.as_ptr().cast::<u8>(),
                    reference.len() as usize,
                )
            };
            assert_eq!(KernelAddress::from(address).as_bytes(), expected);
        }
    }
}
