//! A tap or tun: an interface whose network is this process (tun.rst in the kernel's
//! documentation), with a `virtio_net_hdr` before each frame. By it a test puts in what drivers and
//! hosts of virtual machines do: super-frames and checksums that are not filled in.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::fd::AsRawFd;

use crate::abi::VNET_HEADER_BYTES;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` and where: the checksum covers all from `start` on, and stands so
/// many bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfilled {
    /// Counted from the frame's beginning.
    pub start: u16,
    /// Counted from `start`.
    pub offset: u16,
}

/// `VIRTIO_NET_HDR_GSO_*`: what a super-frame is to be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// IP fragments of one datagram (`VIRTIO_NET_HDR_GSO_UDP`).
    Fragments,
    /// Datagrams (`VIRTIO_NET_HDR_GSO_UDP_L4`, Linux 6.2).
    Datagrams,
}

/// The knowledge of a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// The checksum that is not filled in.
    pub unfilled: Option<Unfilled>,
    /// Bytes of headers, bytes of each segment behind them, and what it is.
    pub segments: Option<(u16, u16, Segments)>,
}

impl Offloads {
    /// As `struct virtio_net_hdr` (`linux/virtio_net.h`), in host byte order.
    fn header(self) -> [u8; VNET_HEADER_BYTES] {
        let (headers, bytes, kind) = match self.segments {
            None => (0, 0, 0),
            Some((headers, bytes, Segments::Fragments)) => (headers, bytes, 3),
            Some((headers, bytes, Segments::Datagrams)) => (headers, bytes, 5),
        };
        let Unfilled { start, offset } = self.unfilled.unwrap_or(Unfilled { start: 0, offset: 0 });
        let mut header = [0; VNET_HEADER_BYTES];
        header[0] = self.unfilled.is_some().into();
        header[1] = kind;
        for (place, number) in [headers, bytes, start, offset].into_iter().enumerate() {
            header[2 + 2 * place..][..2].copy_from_slice(&number.to_ne_bytes());
        }
        header
    }
}

/// The first header of an interface's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Ethernet's header: a tap.
    Ethernet,
    /// IP's: a tun.
    Ip,
}

/// A tap or tun; the interface goes with it.
#[derive(Debug)]
pub struct Tap {
    device: File,
}

impl Tap {
    /// Makes an interface in the calling thread's network namespace; needs `CAP_NET_ADMIN`.
    pub fn open(ifname: &str, begins: Begins) -> io::Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        let mut request = [0_u8; size_of::<libc::ifreq>()];
        let name = ifname.as_bytes();
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        request[..name.len()].copy_from_slice(name);
        let kind = match begins {
            Begins::Ethernet => libc::IFF_TAP,
            Begins::Ip => libc::IFF_TUN,
        };
        let flags = (kind | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as u16;
        request[libc::IFNAMSIZ..][..2].copy_from_slice(&flags.to_ne_bytes());
        // SAFETY: the kernel reads and writes a `struct ifreq`, and the buffer is as long as one.
        let result =
            unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, request.as_mut_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { device }) }
    }

    /// The interface receives a frame.
    pub fn receive(&self, frame: &[u8], offloads: Offloads) -> io::Result<()> {
        let header = offloads.header();
        (&self.device).write_vectored(&[IoSlice::new(&header), IoSlice::new(frame)]).map(drop)
    }
}
