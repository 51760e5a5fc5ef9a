//! The Internet checksum: the ones-complement sum of 16-bit words (RFC 1071).

use std::net::IpAddr;

use super::UDP;

/// A sum in the making.
///
/// It is kept in the machine's byte order, which RFC 1071 (section 2, B) shows to be the sum with
/// its bytes swapped, and in 64 bits, which hold the carries of 16 GiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of the pseudo-header that the UDP checksum covers (RFC 768; RFC 8200, section 8.1).
    /// The two addresses are of one family; `udp_length` is the UDP header's.
    #[inline]
    pub fn of_pseudo_header(source: IpAddr, destination: IpAddr, udp_length: u16) -> Self {
        Self::default()
            .with_address(source)
            .with_address(destination)
            .with_word(u16::from(UDP))
            .with_word(udp_length)
    }

    /// Takes bytes in, as if padded with a zero to a whole number of words: only the last bytes
    /// taken in may be odd in number.
    ///
    /// Words of 32 bits without carries let the compiler use vector instructions: 1000 bytes took
    /// 30 ns, against 63 ns for words of 64 bits with their carries.
    #[inline]
    #[must_use]
    pub fn with_bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let words: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(self.0 + words + u64::from(u32::from_ne_bytes(last)))
    }

    /// Takes one 16-bit word in.
    #[inline]
    #[must_use]
    pub fn with_word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word.to_be()))
    }

    /// Whether what was summed, its checksum field included, is intact: all bits set.
    #[inline]
    pub fn is_valid(self) -> bool {
        self.fold() == u16::MAX
    }

    /// The checksum of what was summed with its checksum field as zero. UDP transmits a checksum
    /// of zero as all ones, because zero says that there is none; that is the caller's to do.
    #[inline]
    pub fn checksum(self) -> u16 {
        u16::from_be(!self.fold())
    }

    fn with_address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.with_bytes(&v4.octets()),
            IpAddr::V6(v6) => self.with_bytes(&v6.octets()),
        }
    }

    /// Adds the carries back until 16 bits remain.
    fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > u64::from(u16::MAX) {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071's definition, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0_u16;
        for word in bytes.chunks(2) {
            let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
            let (added, carry) = sum.overflowing_add(word);
            sum = added + u16::from(carry);
        }
        !sum
    }

    /// The numbers of RFC 1071, section 3.
    #[test]
    fn sums_the_standards_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().with_bytes(&bytes).checksum(), !0xddf2);
    }

    #[test]
    fn carries_of_the_longest_datagram_fit() {
        let bytes = vec![0xff; 65_535];
        assert_eq!(Sum::default().with_bytes(&bytes).checksum(), naive(&bytes));
    }

    proptest! {
        #[test]
        fn equals_the_naive_sum(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(Sum::default().with_bytes(&bytes).checksum(), naive(&bytes));
        }

        #[test]
        fn may_be_taken_in_parts(
            bytes in prop::collection::vec(any::<u8>(), 4..200),
            cut in any::<prop::sample::Index>(),
            word: u16,
        ) {
            let (one, other) = bytes.split_at(cut.index(bytes.len()) & !1);
            let parts = Sum::default().with_bytes(one).with_word(word).with_bytes(other);
            let mut whole = word.to_be_bytes().to_vec();
            whole.extend(&bytes);
            prop_assert_eq!(parts.checksum(), naive(&whole));
        }

        #[test]
        fn its_own_checksum_makes_it_valid(
            mut bytes in prop::collection::vec(any::<u8>(), 2..200),
        ) {
            bytes[0] |= 1;
            let checksum = Sum::default().with_bytes(&bytes).checksum();
            let sum = Sum::default().with_word(checksum).with_bytes(&bytes);
            prop_assert!(sum.is_valid());
            prop_assert!(!sum.with_word(1).is_valid());
        }
    }
}
