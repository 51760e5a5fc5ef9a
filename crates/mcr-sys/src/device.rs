//! Whether an interface is still the one it was: its number and all that is read of it may be the
//! same, and yet it was deleted and made again in between, or went down and up.

use crate::error::{Doing, SetupError};
use crate::filter::Program;
use crate::limits;
use crate::packet::{bind_link, bound_ifindex, packet_socket};
use socket2::Socket;
use std::io;

/// A packet socket (`packet(7)`) that is bound to an interface so as to be told of its end.
///
/// The kernel unbinds it when the interface is unregistered, be that by deletion or by a move to
/// another network namespace, and marks it with `ENETDOWN` when the interface goes down
/// (`packet_notifier`). Netlink tells of both, too, but can lose messages.
#[derive(Debug)]
pub struct DeviceWatch {
    socket: Socket,
}

/// The incidents of an interface since it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Nothing.
    Steady,
    /// It was down for a while, and may be still.
    WasDown,
    /// It is gone. One with the same number is another.
    Gone,
}

impl DeviceWatch {
    /// Begins to watch, from now on.
    ///
    /// # Errors
    /// `ENODEV`: there is no interface of that number.
    pub fn open(ifindex: u32) -> Result<Self, SetupError> {
        let socket = packet_socket()?;
        let bind = || {
            Program::drop_all().attach(&socket)?;
            // A protocol that nobody sends: only then does the kernel not ask this socket about
            // each frame.
            bind_link(&socket, ifindex, limits::WATCH_ETHERTYPE)?;
            // On an interface that is down, binding leaves the mark of one that goes down.
            socket.take_error().map(drop)
        };
        bind().doing(|| format!("watching interface {ifindex}"))?;
        Ok(Self { socket })
    }

    /// Looks, and forgets what it tells.
    ///
    /// # Errors
    /// None that the kernel has for an open socket.
    pub fn look(&self) -> io::Result<Passage> {
        // The mark first: an interface that goes is taken down before.
        let was_down = self.socket.take_error()?.is_some();
        Ok(if bound_ifindex(&self.socket)? <= 0 {
            Passage::Gone
        } else if was_down {
            Passage::WasDown
        } else {
            Passage::Steady
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_namespace::{ifindex, with_veth_pair};
    use mcr_lab::link;
    use mcr_lab::namespace::Namespace;

    fn look(watch: &DeviceWatch) -> Passage {
        watch.look().unwrap()
    }

    #[test]
    fn what_an_interface_goes_through_is_told_once() {
        with_veth_pair(|namespace| {
            let watch = DeviceWatch::open(ifindex("va")).unwrap();
            assert_eq!(look(&watch), Passage::Steady);
            link::set_mtu(namespace, "va", 1400).unwrap();
            link::set_down(namespace, "vb").unwrap();
            assert_eq!(look(&watch), Passage::Steady, "a lost carrier is not down");
            link::set_down(namespace, "va").unwrap();
            link::set_up(namespace, "va").unwrap();
            assert_eq!(look(&watch), Passage::WasDown);
            assert_eq!(look(&watch), Passage::Steady);
            link::set_down(namespace, "va").unwrap();
            assert_eq!(look(&watch), Passage::WasDown);
            let begun_down = DeviceWatch::open(ifindex("va")).unwrap();
            assert_eq!(look(&begun_down), Passage::Steady);
            link::set_up(namespace, "va").unwrap();
            assert_eq!((look(&watch), look(&begun_down)), (Passage::Steady, Passage::Steady));
            link::set_down(namespace, "va").unwrap();
            assert_eq!((look(&watch), look(&begun_down)), (Passage::WasDown, Passage::WasDown));
        });
    }

    #[test]
    fn one_of_the_same_number_is_another() {
        with_veth_pair(|namespace| {
            let index = ifindex("va");
            let watch = DeviceWatch::open(index).unwrap();
            link::delete_link(namespace, "va").unwrap();
            assert_eq!(look(&watch), Passage::Gone);
            assert_eq!(
                DeviceWatch::open(index).unwrap_err().cause.raw_os_error(),
                Some(libc::ENODEV)
            );
            link::veth_pair_with_index(index, (namespace, "va"), (namespace, "vb")).unwrap();
            assert_eq!(look(&watch), Passage::Gone);
            assert_eq!(look(&DeviceWatch::open(index).unwrap()), Passage::Steady);
        });
    }

    #[test]
    fn one_that_was_away_is_another() {
        with_veth_pair(|namespace| {
            let index = ifindex("va");
            let watch = DeviceWatch::open(index).unwrap();
            let elsewhere = Namespace::new("elsewhere").unwrap();
            link::move_to(namespace, "va", &elsewhere).unwrap();
            link::move_to(&elsewhere, "va", namespace).unwrap();
            assert_eq!(ifindex("va"), index, "the kernel keeps a number that is free");
            assert_eq!(look(&watch), Passage::Gone);
        });
    }
}
