//! The registers of a PCI function: its BARs and its configuration space.

use super::Device;
use crate::device::Bound;
use crate::devres::DevresLt;
use crate::error::{
    code::{EBUSY, EINVAL, ENOMEM},
    Result,
};
use crate::io::{IoBackend, IoBase, IoCapable, Mmio, MmioBackend, MmioRaw, Region};
use crate::machine::pci as machine_pci;
use crate::ptr::KnownSize;
use crate::str::CStr;
use crate::types::{CovariantForLt, ForLt};

/// How much configuration space a function has, in bytes.
#[derive(PartialEq, Eq)]
#[repr(usize)]
pub enum ConfigSpaceSize {
    /// That of conventional PCI.
    Normal = 256,
    /// That of PCI Express.
    Extended = 4096,
}

impl ConfigSpaceSize {
    /// The number of bytes.
    #[inline(always)]
    pub const fn into_raw(self) -> usize {
        self as usize
    }
}

/// The registers of conventional configuration space.
pub type Normal = Region<256>;

/// The registers of extended configuration space.
pub type Extended = Region<4096>;

/// A view of the configuration space of a function; `T` is as for [`Mmio`].
///
/// Accesses are 8, 16 or 32 bits wide. What cannot be read, because the device is gone, reads as ones.
pub struct ConfigSpace<'a, T: ?Sized = Extended> {
    pub(crate) pdev: &'a Device<Bound>,
    /// No pointer to anything: its address is the offset.
    ptr: *mut T,
}

impl<T: ?Sized> Clone for ConfigSpace<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for ConfigSpace<'_, T> {}

// SAFETY: it gives the access that a shared reference gives.
unsafe impl<T: ?Sized + Sync> Send for ConfigSpace<'_, T> {}

// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for ConfigSpace<'_, T> {}

impl<'a, T: ?Sized + KnownSize> IoBase<'a> for ConfigSpace<'a, T> {
    type Target = T;
    type Backend = ConfigSpaceBackend;

    fn as_view(self) -> Self {
        self
    }
}

/// How a [`ConfigSpace`] is accessed.
pub struct ConfigSpaceBackend;

impl IoBackend for ConfigSpaceBackend {
    type View<'a, T: ?Sized + KnownSize> = ConfigSpace<'a, T>;

    fn as_ptr<'a, T: ?Sized + KnownSize>(view: Self::View<'a, T>) -> *mut T {
        view.ptr
    }

    unsafe fn project_view<'a, T, U>(view: Self::View<'a, T>, ptr: *mut U) -> Self::View<'a, U>
    where
        T: ?Sized + KnownSize,
        U: ?Sized + KnownSize,
    {
        ConfigSpace { pdev: view.pdev, ptr }
    }
}

macro_rules! widths_of_config_space {
    ($($ty:ident)*) => {$(
        impl IoCapable<$ty> for ConfigSpaceBackend {
            #[track_caller]
            fn io_read<'a>(view: ConfigSpace<'a, $ty>) -> $ty {
                machine_pci::config_read(view.pdev.fields().id, view.ptr.addr() as u16, size_of::<$ty>() as u8) as $ty
            }

            #[track_caller]
            fn io_write<'a>(view: ConfigSpace<'a, $ty>, value: $ty) {
                let (id, width) = (view.pdev.fields().id, size_of::<$ty>() as u8);
                machine_pci::config_write(id, view.ptr.addr() as u16, width, u32::from(value));
            }
        }
    )*};
}

widths_of_config_space!(u8 u16 u32);

/// A mapped BAR of at least `SIZE` bytes. Dropping it unmaps the BAR, then gives it back.
pub struct Bar<'a, const SIZE: usize = 0> {
    pdev: &'a Device<Bound>,
    io: MmioRaw<Region<SIZE>>,
    /// What was requested; `None` only while it is given back.
    region: Option<machine_pci::Region>,
}

impl<const SIZE: usize> ForLt for Bar<'static, SIZE> {
    type Of<'a> = Bar<'a, SIZE>;
}

// SAFETY: the lifetime is that of a shared reference, which is covariant.
unsafe impl<const SIZE: usize> CovariantForLt for Bar<'static, SIZE> {}

/// A [`Bar`] that can be kept beyond the binding, and is taken away then.
pub type DevresBar<const SIZE: usize = 0> = DevresLt<Bar<'static, SIZE>>;

/// A requested region, given back unless it gets into a [`Bar`].
struct Requested(Option<machine_pci::Region>);

impl Drop for Requested {
    fn drop(&mut self) {
        if let Some(region) = self.0.take() {
            machine_pci::release_region(region);
        }
    }
}

impl<'a, const SIZE: usize> Bar<'a, SIZE> {
    #[track_caller]
    fn new(pdev: &'a Device<Bound>, bar: u32, name: &'static CStr) -> Result<Self> {
        let len = pdev.resource_len(bar)?;
        if len == 0 {
            return Err(ENOMEM);
        }
        let id = pdev.fields().id;
        let name = name.to_str().unwrap_or_default();
        let region = machine_pci::request_region(id, bar, name).map_err(|_| EBUSY)?;
        let mut requested = Requested(Some(region));
        let (address, _) = machine_pci::iomap(id, bar).map_err(|_| ENOMEM)?;
        match MmioRaw::new_region(address, len as usize) {
            Ok(io) => Ok(Self { pdev, io, region: requested.0.take() }),
            Err(error) => {
                machine_pci::iounmap(address);
                Err(error)
            }
        }
    }

    /// Hands the mapping over to the device's list of managed resources. `ENOMEM`; it is unmapped then.
    #[track_caller]
    pub fn into_devres(self) -> Result<DevresBar<SIZE>> {
        let dev = self.pdev.as_ref();
        // SAFETY: all it borrows is the device, which stays as long as it is bound.
        unsafe { DevresLt::new(dev, self) }
    }
}

impl<const SIZE: usize> Drop for Bar<'_, SIZE> {
    fn drop(&mut self) {
        machine_pci::iounmap(self.io.addr());
        drop(Requested(self.region.take()));
    }
}

impl<'a, const SIZE: usize> IoBase<'a> for &'a Bar<'_, SIZE> {
    type Target = Region<SIZE>;
    type Backend = MmioBackend;

    fn as_view(self) -> Mmio<'a, Region<SIZE>> {
        // SAFETY: it is mapped as long as `self` lives.
        unsafe { Mmio::from_raw(self.io) }
    }
}

impl Device<Bound> {
    /// Requests and maps a BAR of which at least `SIZE` bytes are to be used; `name` says for whom it is taken.
    ///
    /// `EINVAL` for an index that no device can have, and for a BAR that is shorter than `SIZE` or not whole words;
    /// `ENOMEM` if the device does not have it or it cannot be mapped; `EBUSY` when it is taken.
    #[track_caller]
    pub fn iomap_region_sized<'a, const SIZE: usize>(&'a self, bar: u32, name: &'static CStr) -> Result<Bar<'a, SIZE>> {
        Bar::new(self, bar, name)
    }

    /// Requests and maps a BAR of whatever size. Errors are as for [`iomap_region_sized`](Self::iomap_region_sized).
    #[track_caller]
    pub fn iomap_region<'a>(&'a self, bar: u32, name: &'static CStr) -> Result<Bar<'a>> {
        Bar::new(self, bar, name)
    }

    /// How much configuration space the device has.
    pub fn cfg_size(&self) -> ConfigSpaceSize {
        if self.fields().cfg_size == ConfigSpaceSize::Extended.into_raw() {
            ConfigSpaceSize::Extended
        } else {
            ConfigSpaceSize::Normal
        }
    }

    /// The configuration space, of which at least the conventional part is there.
    pub fn config_space<'a>(&'a self) -> ConfigSpace<'a, Normal> {
        let size = self.cfg_size().into_raw();
        ConfigSpace { pdev: self, ptr: Normal::ptr_from_raw_parts_mut(core::ptr::null_mut(), size) }
    }

    /// The extended configuration space. `EINVAL` if the device does not have it.
    pub fn config_space_extended<'a>(&'a self) -> Result<ConfigSpace<'a, Extended>> {
        match self.cfg_size() {
            ConfigSpaceSize::Normal => Err(EINVAL),
            whole @ ConfigSpaceSize::Extended => {
                let ptr = Extended::ptr_from_raw_parts_mut(core::ptr::null_mut(), whole.into_raw());
                Ok(ConfigSpace { pdev: self, ptr })
            }
        }
    }
}
