//! What the kernel leaves to a device (`ethtool(8)`), switched off where the lab wants frames as a
//! wire has them.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use crate::error::{Doing, SetupError};

/// `ETHTOOL_STXCSUM` (`linux/ethtool.h`): leave checksums of sent frames to the device, or not.
const ETHTOOL_STXCSUM: u32 = 0x17;

/// `SIOCETHTOOL` (`linux/sockios.h`).
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// `struct ethtool_value` (`linux/ethtool.h`).
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

const _: () = assert!(size_of::<EthtoolValue>() == 8);

/// Has the kernel itself fill in the checksums of what an interface of this thread's namespace
/// sends, and split what is longer than a frame, since a device without the one lacks the other.
pub fn fill_in_checksums(ifname: &str) -> Result<(), SetupError> {
    let what = || format!("switching the checksum offload of {ifname} off");
    let socket = UdpSocket::bind("0.0.0.0:0").doing(what)?;
    let mut value = EthtoolValue { command: ETHTOOL_STXCSUM, data: 0 };
    let mut name = [0; libc::IFNAMSIZ];
    // The last byte stays 0, as the kernel wants it.
    for (to, from) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(ifname.bytes()) {
        *to = from as libc::c_char;
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() },
    };
    // SAFETY: the kernel reads the request and, through its pointer, an ethtool_value, which both
    // outlive the call, and writes nothing beyond them.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).doing(what),
    }
}
