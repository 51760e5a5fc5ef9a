//! Holding a unicast input's port, so that the kernel does not answer with ICMP "port unreachable"
//! to the datagrams that the relay takes from the wire.

use crate::filter::Program;
use crate::sockaddr::Family;
use socket2::{Socket, Type};
use std::io;
use std::net::SocketAddr;

/// A UDP socket that occupies an address and port and receives nothing; freed on drop.
#[derive(Debug)]
pub struct PortReservation {
    _socket: Socket,
}

impl PortReservation {
    /// Occupies `address` on one interface. A link-local IPv6 address needs its scope.
    ///
    /// `EADDRINUSE`: another program holds the port, so there is no ICMP to fear either.
    /// `EADDRNOTAVAIL`: the address is not this host's.
    pub fn hold(ifname: &str, address: SocketAddr) -> io::Result<Self> {
        let family = Family::of(address.ip());
        let socket = Socket::new(family.domain(), Type::DGRAM.cloexec().nonblocking(), None)?;
        if family == Family::V6 {
            socket.set_only_v6(true)?;
        }
        // An egress socket of ours may send from the same port.
        socket.set_reuse_address(true)?;
        socket.bind_device(Some(ifname.as_bytes()))?;
        // Before the port exists, or a first datagram could be queued and stay for ever.
        Program::drop_all().attach(&socket)?;
        socket.bind(&address.into())?;
        Ok(Self { _socket: socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_namespace::in_own_namespace;
    use std::net::UdpSocket;

    /// A connected socket reports the port-unreachable answer to its first send at its second.
    fn port_is_refused(address: SocketAddr) -> bool {
        let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
        probe.connect(address).unwrap();
        probe.send(b"first").unwrap();
        probe.send(b"second").is_err()
    }

    #[test]
    fn a_held_port_is_not_answered_with_icmp() {
        in_own_namespace(|| {
            let address = "127.0.0.1:4000".parse().unwrap();
            assert!(port_is_refused(address));
            let reservation = PortReservation::hold("lo", address).unwrap();
            assert!(!port_is_refused(address));
            drop(reservation);
            assert!(port_is_refused(address));
        });
    }

    #[test]
    fn what_cannot_be_held_is_an_error() {
        in_own_namespace(|| {
            let errno = |ifname, address: &str| {
                PortReservation::hold(ifname, address.parse().unwrap()).unwrap_err().raw_os_error()
            };
            assert_eq!(errno("lo", "192.0.2.1:4000"), Some(libc::EADDRNOTAVAIL));
            assert_eq!(errno("absent", "127.0.0.1:4000"), Some(libc::ENODEV));
            let _other = UdpSocket::bind("127.0.0.1:4001").unwrap();
            assert_eq!(errno("lo", "127.0.0.1:4001"), Some(libc::EADDRINUSE));
        });
    }
}
