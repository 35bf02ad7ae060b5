//! Counts different things without keeping all of them.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// How many numbers are kept at most: a count is exact up to here, and within about one per cent beyond.
const MOST: usize = 1 << 16;

/// Counts different 64-bit digests in bounded memory.
///
/// When more than 65,536 would have to be kept, only those whose lowest bit is zero stay, then those whose lowest two bits are,
/// and so on; the count is scaled by what that leaves out (Wegman's adaptive sampling). The same digests give the same count, in
/// whatever order they come.
#[derive(Debug, Default)]
pub struct Distinct {
    kept: HashSet<u64, BuildHasherDefault<Plain>>,
    level: u32,
}

impl Distinct {
    /// Counts a digest; whether it was not known, as far as that is known.
    pub fn insert(&mut self, digest: u64) -> bool {
        let digest = spread(digest);
        if digest & self.mask() != 0 || !self.kept.insert(digest) {
            return false;
        }
        while self.kept.len() > MOST {
            self.level += 1;
            let mask = self.mask();
            self.kept.retain(|digest| digest & mask == 0);
        }
        true
    }

    /// How many different ones there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        (self.kept.len() as u64) << self.level
    }

    /// Whether the count is exact.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.level == 0
    }

    fn mask(&self) -> u64 {
        (1 << self.level) - 1
    }
}

/// Lets every bit of a digest depend on all the others: the last step of SplitMix64.
fn spread(digest: u64) -> u64 {
    let z = (digest ^ (digest >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Digests are hashes already.
#[derive(Debug, Default)]
pub(crate) struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_counted_exactly() {
        let mut distinct = Distinct::default();
        for number in 0..1000_u64 {
            distinct.insert(number % 137);
        }
        assert_eq!((distinct.count(), distinct.is_exact()), (137, true));
    }

    #[test]
    fn many_are_counted_within_two_per_cent_and_in_bounded_memory() {
        let mut distinct = Distinct::default();
        for number in 0..1_000_000_u64 {
            distinct.insert(number);
        }
        assert!(!distinct.is_exact() && distinct.kept.len() <= MOST);
        assert!(distinct.count().abs_diff(1_000_000) < 20_000, "{}", distinct.count());
    }
}
