//! Memory that the processor and a device share.
//!
//! [`Coherent`] memory is seen by both at once. Memory that is lent to a device for a while is mapped with
//! [`scatterlist`](crate::scatterlist).

use crate::bindings;
use crate::build_assert::build_error;
use crate::device::{self, Core};
use crate::error::{
    code::{EINVAL, EIO},
    Error, Result,
};
use crate::machine::{self, dma as machine_dma, DeviceId};
use core::ops;

mod coherent;

pub use coherent::{Coherent, CoherentBox, CoherentHandle, CoherentIoBackend, CoherentView};

/// An address as a device sees it.
pub type DmaAddress = bindings::dma_addr_t;

/// Says what a device can address; implemented by the device types of buses whose devices do DMA.
///
/// Differs from Linux: masks take the addresses below them as they are, since the machine gives each device an address
/// space of its own; a mask of less than 24 bits is refused.
pub trait Device<'a>: AsRef<device::Device<Core<'a>>> {
    /// Says which addresses the device can use in mappings. `EIO` for a mask that no memory can be reached with.
    ///
    /// # Safety
    ///
    /// No DMA memory may be allocated or mapped for the device meanwhile.
    #[track_caller]
    unsafe fn dma_set_mask(&self, mask: DmaMask) -> Result {
        set_masks(self.as_ref(), Some(mask), None)
    }

    /// Says which addresses the device can use in coherent memory. `EIO` for a mask that no memory can be reached with.
    ///
    /// # Safety
    ///
    /// As for [`dma_set_mask`](Self::dma_set_mask).
    #[track_caller]
    unsafe fn dma_set_coherent_mask(&self, mask: DmaMask) -> Result {
        set_masks(self.as_ref(), None, Some(mask))
    }

    /// Says which addresses the device can use at all. `EIO` for a mask that no memory can be reached with.
    ///
    /// # Safety
    ///
    /// As for [`dma_set_mask`](Self::dma_set_mask).
    #[track_caller]
    unsafe fn dma_set_mask_and_coherent(&self, mask: DmaMask) -> Result {
        set_masks(self.as_ref(), Some(mask), Some(mask))
    }

    /// Says how long a segment of a mapping may be at most, in bytes; 65536 otherwise.
    ///
    /// # Safety
    ///
    /// As for [`dma_set_mask`](Self::dma_set_mask).
    unsafe fn dma_set_max_seg_size(&self, size: u32) {
        if let Some(id) = self.as_ref().fields().machine {
            machine_dma::set_max_segment(id, size);
        }
    }
}

#[track_caller]
fn set_masks(dev: &device::Device, streaming: Option<DmaMask>, coherent: Option<DmaMask>) -> Result {
    let id = dev.fields().machine.ok_or(EIO)?;
    let value = |mask: DmaMask| mask.value();
    machine_dma::set_masks(id, streaming.map(value), coherent.map(value)).map_err(Error::from_errno)
}

/// The device of the machine that does the DMA, or `None` with a warning if this one does none: it has no mask then.
#[track_caller]
pub(crate) fn dma_device(dev: &device::Device) -> Option<DeviceId> {
    let id = dev.fields().machine;
    if id.is_none() {
        machine::warn(format_args!("DMA for {}, which has no DMA mask", dev.name().to_string_lossy()));
    }
    id
}

/// The highest address that a device can use.
///
/// ```
/// use kernel::dma::DmaMask;
///
/// assert_eq!(DmaMask::new::<36>().value(), 0xf_ffff_ffff);
/// assert!(DmaMask::try_new(65).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaMask(u64);

impl DmaMask {
    /// A mask of `N` bits; more than 64 do not compile.
    pub const fn new<const N: u32>() -> Self {
        match Self::try_new(N) {
            Ok(mask) => mask,
            Err(_) => build_error!("a DMA mask has 64 bits at most"),
        }
    }

    /// A mask of `n` bits. `EINVAL` for more than 64.
    pub const fn try_new(n: u32) -> Result<Self> {
        match n {
            0..64 => Ok(Self((1 << n) - 1)),
            64 => Ok(Self(u64::MAX)),
            _ => Err(EINVAL),
        }
    }

    /// The mask as a number.
    pub const fn value(&self) -> u64 {
        self.0
    }
}

/// Wishes about an allocation: constants of [`attrs`], combined with `|`, `&` and `!`.
///
/// Differs from Linux: the machine's memory is all alike, so they change nothing.
#[derive(Clone, Copy, PartialEq)]
#[repr(transparent)]
pub struct Attrs(u32);

impl Attrs {
    const NONE: Self = Self(0);

    /// Whether all of `flags` are set.
    pub fn contains(self, flags: Attrs) -> bool {
        flags.0 & !self.0 == 0
    }
}

impl ops::BitOr for Attrs {
    type Output = Self;

    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl ops::BitAnd for Attrs {
    type Output = Self;

    fn bitand(self, rhs: Self) -> Self {
        Self(self.0 & rhs.0)
    }
}

impl ops::Not for Attrs {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// The wishes there are about allocations.
pub mod attrs {
    use super::Attrs;

    /// Accesses need not be ordered with each other.
    pub const DMA_ATTR_WEAK_ORDERING: Attrs = Attrs(1 << 1);
    /// Writes may be combined.
    pub const DMA_ATTR_WRITE_COMBINE: Attrs = Attrs(1 << 2);
    /// Mapping and unmapping need not make the memory's two views agree.
    pub const DMA_ATTR_SKIP_CPU_SYNC: Attrs = Attrs(1 << 5);
    /// The memory should be contiguous also where it need not be.
    pub const DMA_ATTR_FORCE_CONTIGUOUS: Attrs = Attrs(1 << 6);
    /// Large pages are not worth an effort.
    pub const DMA_ATTR_ALLOC_SINGLE_PAGES: Attrs = Attrs(1 << 7);
    /// Failing is not warned about.
    pub const DMA_ATTR_NO_WARN: Attrs = Attrs(1 << 8);
    /// Only the device's privileged side needs the memory.
    pub const DMA_ATTR_PRIVILEGED: Attrs = Attrs(1 << 9);
    /// What is mapped are registers of another device.
    pub const DMA_ATTR_MMIO: Attrs = Attrs(1 << 10);
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DataDirection {
    /// Both ways.
    Bidirectional = bindings::dma_data_direction::DMA_BIDIRECTIONAL.0,
    /// The device reads what the processor wrote.
    ToDevice = bindings::dma_data_direction::DMA_TO_DEVICE.0,
    /// The processor reads what the device writes.
    FromDevice = bindings::dma_data_direction::DMA_FROM_DEVICE.0,
    /// For debugging; nothing can be mapped with it.
    None = bindings::dma_data_direction::DMA_NONE.0,
}

impl From<DataDirection> for bindings::dma_data_direction {
    fn from(direction: DataDirection) -> Self {
        Self(direction as u32)
    }
}
