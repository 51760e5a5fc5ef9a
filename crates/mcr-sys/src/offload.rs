//! What an interface leaves to its device, and what its receive path merges (`ethtool(8)`, option
//! `-K`), switched where the lab wants frames as a wire has them, or as no wire has them.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use crate::error::{Doing, SetupError};

/// `SIOCETHTOOL` (`linux/sockios.h`).
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// Of `linux/ethtool.h`: the commands used here, the set of feature names, and a name's length.
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETH_SS_FEATURES: u32 = 4;
const ETH_GSTRING_LEN: usize = 32;

/// Bytes of the three structures before their arrays, in words: `ethtool_sset_info`,
/// `ethtool_gstrings` and `ethtool_sfeatures`.
const SET_INFO_WORDS: usize = 4;
const STRINGS_WORDS: usize = 3;
const FEATURES_WORDS: usize = 2;

/// Switches a feature of an interface of this thread's namespace, by the name that `ethtool -k`
/// has in the kernel, such as `tx-checksum-ip-generic` or `rx-udp-gro-forwarding`.
///
/// # Errors
/// `NotFound` where the kernel has no feature of that name, `Unsupported` where the interface does
/// not let it be switched.
pub fn set_feature(ifname: &str, feature: &str, on: bool) -> Result<(), SetupError> {
    let what = || format!("switching {feature} of {ifname} {}", if on { "on" } else { "off" });
    let socket = UdpSocket::bind("0.0.0.0:0").doing(what)?;
    let device = Device { socket, ifname };
    device.set_feature(feature, on).doing(what)
}

struct Device<'a> {
    socket: UdpSocket,
    ifname: &'a str,
}

impl Device<'_> {
    fn set_feature(&self, feature: &str, on: bool) -> io::Result<()> {
        let (names, bit) = self.feature_bit(feature)?;
        let blocks = names.div_ceil(32);
        let mut command = vec![0_u32; FEATURES_WORDS + 2 * blocks];
        command[..FEATURES_WORDS].copy_from_slice(&[ETHTOOL_SFEATURES, blocks as u32]);
        // Each block is two words: which features are meant, and what each is to be.
        let block = FEATURES_WORDS + 2 * (bit / 32);
        command[block] = 1 << (bit % 32);
        command[block + 1] = u32::from(on) << (bit % 32);
        match self.ioctl(&mut command)? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// How many features there are, and which this is.
    fn feature_bit(&self, feature: &str) -> io::Result<(usize, usize)> {
        let mut info = [ETHTOOL_GSSET_INFO, 0, 0, 0, 0];
        // The mask of sets is a word of 64 bits, and the kernel leaves it as it was.
        info[2..SET_INFO_WORDS].copy_from_slice(&words_of(1 << ETH_SS_FEATURES));
        self.ioctl(&mut info)?;
        let names = info[SET_INFO_WORDS] as usize;
        let mut strings = vec![0_u32; STRINGS_WORDS + names * ETH_GSTRING_LEN / 4];
        strings[..STRINGS_WORDS].copy_from_slice(&[
            ETHTOOL_GSTRINGS,
            ETH_SS_FEATURES,
            names as u32,
        ]);
        self.ioctl(&mut strings)?;
        let text: Vec<u8> =
            strings[STRINGS_WORDS..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let is_it = |name: &[u8]| name.split(|byte| *byte == 0).next() == Some(feature.as_bytes());
        let bit = text.chunks_exact(ETH_GSTRING_LEN).position(is_it);
        Ok((names, bit.ok_or(io::ErrorKind::NotFound)?))
    }

    fn ioctl(&self, command: &mut [u32]) -> io::Result<i32> {
        let mut name = [0; libc::IFNAMSIZ];
        // The last byte stays 0, as the kernel wants it.
        for (to, from) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(self.ifname.bytes()) {
            *to = from as libc::c_char;
        }
        let mut request = libc::ifreq {
            ifr_name: name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: command.as_mut_ptr().cast() },
        };
        // SAFETY: the kernel reads the request and, through its pointer, reads and writes the
        // command; both outlive the call and are exclusively borrowed. The set of features has
        // room for one number, the features for as many blocks as their head says, and the
        // strings for all names: the kernel writes as many as it has, whatever the head says, and
        // that number, which `feature_bit` asked for, is fixed when a kernel is built.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }
}

/// A word of 64 bits as the kernel has it in memory.
fn words_of(word: u64) -> [u32; 2] {
    let (high, low) = ((word >> 32) as u32, word as u32);
    if cfg!(target_endian = "big") { [high, low] } else { [low, high] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_namespace::with_veth_pair;

    #[test]
    fn features_are_switched_by_name() {
        with_veth_pair(|_| {
            for feature in ["tx-checksum-ip-generic", "rx-gro", "rx-udp-gro-forwarding"] {
                set_feature("va", feature, true).unwrap();
                set_feature("va", feature, false).unwrap();
            }
            let unknown = set_feature("va", "tx-teleportation", true).unwrap_err();
            assert_eq!(unknown.cause.kind(), io::ErrorKind::NotFound);
            assert!(unknown.to_string().contains("tx-teleportation of va"), "{unknown}");
            let fixed = set_feature("va", "rx-all", true).unwrap_err();
            assert_eq!(fixed.cause.kind(), io::ErrorKind::Unsupported);
            assert!(set_feature("none", "rx-gro", true).is_err());
        });
    }
}
