//! Checksums, a random sequence, and ranges.

/// CRC-32 as Ethernet, zip and `crc32fast` have it, continued from `before` (0 at first).
#[must_use]
pub fn crc32(before: u32, bytes: &[u8]) -> u32 {
    let mut crc = !before;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// A repeatable random sequence (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 when that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw().checked_rem(limit).unwrap_or(0)
    }
}

/// Whether two ranges of bytes have a byte in common. Ranges that pass the end of addresses end there.
#[must_use]
pub fn overlap(a: (u64, u64), b: (u64, u64)) -> bool {
    a.1 > 0 && b.1 > 0 && a.0 <= b.0.saturating_add(b.1 - 1) && b.0 <= a.0.saturating_add(a.1 - 1)
}

/// The first address from `from` to `to` (exclusive), a multiple of `size`, where `size` bytes meet none of `taken`.
#[must_use]
pub fn free_place(from: u64, to: u64, size: u64, taken: &[(u64, u64)]) -> Option<u64> {
    if size == 0 {
        return None;
    }
    let mut at = from.checked_next_multiple_of(size)?;
    while at.checked_add(size)? <= to {
        if !taken.iter().any(|range| overlap((at, size), *range)) {
            return Some(at);
        }
        at = at.checked_add(size)?;
    }
    None
}

/// The byte at `index` of the pattern of `seed`, that tests write to disks and memory.
#[must_use]
pub const fn pattern(seed: u8, index: usize) -> u8 {
    let low = index as u8;
    let high = (index >> 8) as u8;
    low.wrapping_mul(31).wrapping_add(high.wrapping_mul(7)) ^ seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_the_one_of_the_catalogue() {
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
    }

    #[test]
    fn ranges_that_touch_do_not_overlap() {
        assert!(!overlap((0, 4), (4, 4)));
        assert!(overlap((0, 5), (4, 4)));
        assert!(overlap((u64::MAX, 9), (u64::MAX, 1)));
        assert!(!overlap((0, 0), (0, 9)));
    }

    #[test]
    fn a_free_place_is_aligned_and_meets_nothing() {
        assert_eq!(free_place(0x1001, 0x9000, 0x1000, &[(0x2000, 0x10), (0x3fff, 1)]), Some(0x4000));
        assert_eq!(free_place(0, 0x2000, 0x1000, &[(0, 0x2000)]), None);
        assert_eq!(free_place(0, 0, 0, &[]), None);
        assert_eq!(free_place(u64::MAX - 1, u64::MAX, 16, &[]), None);
    }

    #[test]
    fn a_seed_gives_its_sequence_again() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert_eq!(a.draw(), b.draw());
        assert_ne!(a.draw(), Random::new(8).draw());
        assert_eq!(a.below(0), 0);
        assert!(a.below(3) < 3);
    }
}
