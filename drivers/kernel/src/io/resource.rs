//! What the machine's address ranges are used for.

use crate::ffi::c_ulong;
use core::ops;

pub use super::{PhysAddr, ResourceSize};

/// What kind of address range a resource is; combine with `|`, `&` and `!`.
#[derive(Clone, Copy, PartialEq)]
pub struct Flags(c_ulong);

impl Flags {
    /// Ports of the separate I/O address space.
    pub const IORESOURCE_IO: Flags = Flags(0x100);

    /// Addresses in memory space.
    pub const IORESOURCE_MEM: Flags = Flags(0x200);

    /// Shared by turns: a request waits for the present user instead of failing.
    pub const IORESOURCE_MUXED: Flags = Flags(0x40_0000);

    /// Memory that has to be mapped so that writes are not posted.
    pub const IORESOURCE_MEM_NONPOSTED: Flags = Flags(0x80);

    /// Whether all of `flags` are set.
    pub fn contains(self, flags: Flags) -> bool {
        flags.0 & !self.0 == 0
    }
}

impl ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl ops::BitAnd for Flags {
    type Output = Self;

    fn bitand(self, rhs: Self) -> Self {
        Self(self.0 & rhs.0)
    }
}

impl ops::Not for Flags {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Flags;

    #[test]
    fn combined_flags_contain_their_parts_and_no_others() {
        let both = Flags::IORESOURCE_MEM | Flags::IORESOURCE_MUXED;

        assert!(both.contains(Flags::IORESOURCE_MEM));
        assert!(!both.contains(Flags::IORESOURCE_IO));
        assert!(!both.contains(both | Flags::IORESOURCE_IO));
        assert!(both & !Flags::IORESOURCE_MUXED == Flags::IORESOURCE_MEM);
    }
}
