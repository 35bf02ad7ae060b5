//! A queue's memory, as a follower reads it.

use bringup_core::Sight;
use bringup_core::dma::Fault;
use bringup_spec::virtio::ring::desc;

/// A part of a queue's memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::virtio) struct Area {
    base: u64,
    len: u64,
}

impl Area {
    pub(in crate::virtio) fn new(base: u64, len: u64) -> Self {
        Self { base, len }
    }

    pub(in crate::virtio) fn base(&self) -> u64 {
        self.base
    }

    pub(in crate::virtio) fn len(&self) -> u64 {
        self.len
    }

    /// Which bytes of it an access touches: the first, and the one behind the last.
    pub(in crate::virtio) fn hit(&self, iova: u64, len: u64) -> Option<(u64, u64)> {
        let start = iova.max(self.base);
        let end = iova.saturating_add(len).min(self.base.saturating_add(self.len));
        (start < end).then(|| (start - self.base, end - self.base))
    }

    pub(in crate::virtio) fn overlaps(&self, other: &Self) -> bool {
        self.hit(other.base, other.len).is_some()
    }

    /// Reads `N` bytes at an offset; `None` if they are no longer mapped.
    pub(in crate::virtio) fn read<const N: usize>(&self, sight: &Sight<'_>, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        sight.peek(self.base.checked_add(offset)?, &mut bytes).then_some(bytes)
    }

    pub(in crate::virtio) fn read_u16(&self, sight: &Sight<'_>, offset: u64) -> Option<u16> {
        self.read(sight, offset).map(u16::from_le_bytes)
    }

    /// Reads a descriptor of a table or a slot of a packed ring.
    pub(in crate::virtio) fn descriptor(&self, sight: &Sight<'_>, index: u16) -> Option<Raw> {
        self.read(sight, u64::from(index) * desc::SIZE).map(Raw::from_bytes)
    }
}

/// The 16 bytes of a descriptor, in either layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::virtio) struct Raw(u128);

impl Raw {
    pub(in crate::virtio) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    pub(in crate::virtio) fn address(self) -> u64 {
        self.0 as u64
    }

    pub(in crate::virtio) fn len(self) -> u32 {
        (self.0 >> 64) as u32
    }

    /// Split: flags. Packed: buffer id.
    pub(in crate::virtio) fn first(self) -> u16 {
        (self.0 >> 96) as u16
    }

    /// Split: next. Packed: flags.
    pub(in crate::virtio) fn second(self) -> u16 {
        (self.0 >> 112) as u16
    }

    /// The same with another second half.
    pub(in crate::virtio) fn with_second(self, second: u16) -> Self {
        Self(self.0 & !(0xffff << 112) | u128::from(second) << 112)
    }

    pub(in crate::virtio) fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Why the device cannot reach memory, in a few words.
pub(in crate::virtio) fn describe(fault: &Fault) -> String {
    match fault {
        Fault::Unmapped(None) => "nothing is mapped".into(),
        Fault::Unmapped(Some(nearest)) => format!("nothing is mapped there; the nearest mapping is {nearest}"),
        Fault::AfterUnmap(mapping) => format!("it is no longer mapped: it was {mapping}"),
        Fault::Overrun(mapping) => format!("it runs over the end of {mapping}"),
        Fault::Direction(mapping) => format!("it goes against the direction of {mapping}"),
    }
}
