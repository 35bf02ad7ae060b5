//! Coherent memory: what the processor and a device see at once, and the ways to hold it.

use super::{dma_device, Attrs, DmaAddress};
use crate::alloc::{flags::__GFP_ZERO, Flags};
use crate::device::{self, Bound};
use crate::error::{
    code::{EINVAL, ENOMEM},
    Error, Result,
};
use crate::io::{IoBackend, IoBase, IoCapable, IoCopyable, SysMem, SysMemBackend};
use crate::machine::{self, dma as machine_dma, DeviceId};
use crate::ptr::KnownSize;
use crate::sync::aref::ARef;
use crate::transmute::{AsBytes, FromBytes};
use core::ops::{Deref, DerefMut};
use core::panic::Location;
use core::ptr::NonNull;
use pin_init::Init;

/// Coherent memory of one device, freed with the value.
struct Block {
    /// Kept as long as the memory.
    _dev: ARef<device::Device>,
    id: DeviceId,
    dma_addr: DmaAddress,
}

impl Block {
    #[track_caller]
    fn alloc(dev: &device::Device<Bound>, size: usize, flags: Flags) -> Result<(Self, NonNull<u8>)> {
        let id = dma_device(dev).ok_or(ENOMEM)?;
        let memory = machine_dma::alloc_coherent(id, size, flags.may_sleep()).map_err(|_| ENOMEM)?;
        Ok((Self { _dev: dev.into(), id, dma_addr: memory.iova }, memory.cpu))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        machine_dma::free_coherent(self.id, self.dma_addr);
    }
}

/// Coherent memory that holds a `T`, which the processor and the device see at once.
///
/// It is accessed through [`Io`](crate::io::Io) and the macros for it ([`io_read!`](crate::io_read),
/// [`io_write!`](crate::io_write), [`io_project!`](crate::io_project)). It must be gone when the device loses its driver.
///
/// # Examples
///
/// ```
/// use kernel::{device::{Bound, Device}, dma::Coherent, io::{io_read, io_write}, prelude::*};
///
/// fn ring(dev: &Device<Bound>) -> Result<Coherent<[u64]>> {
///     let ring = Coherent::<u64>::zeroed_slice(dev, 16, GFP_KERNEL)?;
///     io_write!(ring, [try: 3], 0x5a);
///     assert_eq!(io_read!(ring, [try: 3]), 0x5a);
///     Ok(ring)
/// }
/// ```
pub struct Coherent<T: KnownSize + ?Sized> {
    block: Block,
    cpu_addr: NonNull<T>,
}

// SAFETY: the memory belongs to no task; it takes what is in it along.
unsafe impl<T: KnownSize + Send + ?Sized> Send for Coherent<T> {}

// SAFETY: safe access through a shared one is by views, which `T: Sync` allows to share, or gives only addresses.
unsafe impl<T: KnownSize + ?Sized + AsBytes + FromBytes + Sync> Sync for Coherent<T> {}

impl<T: KnownSize + ?Sized> Coherent<T> {
    /// The size in bytes.
    pub fn size(&self) -> usize {
        T::size(self.cpu_addr.as_ptr())
    }

    /// Where the processor sees it.
    ///
    /// What is accessed through the pointer cannot be followed: the machine reports that it looks away from this memory from
    /// now on. The same goes for [`as_mut_ptr`](Self::as_mut_ptr), [`as_ref`](Self::as_ref) and [`as_mut`](Self::as_mut).
    #[track_caller]
    pub fn as_ptr(&self) -> *const T {
        self.uncovered()
    }

    /// Where the processor sees it.
    #[track_caller]
    pub fn as_mut_ptr(&self) -> *mut T {
        self.uncovered()
    }

    /// The pointer, for a driver to do with what it wants.
    #[track_caller]
    fn uncovered(&self) -> *mut T {
        machine::mem_not_followed();
        machine::mem_uncovered(self.cpu_addr.as_ptr().cast(), Location::caller());
        self.cpu_addr.as_ptr()
    }

    /// Says that the memory was filled before the device was told of it.
    #[track_caller]
    fn filled(&self) {
        machine::mem_filled(self.cpu_addr.as_ptr().cast(), self.size(), Location::caller());
    }

    /// Where the device sees it.
    pub fn dma_address(&self) -> DmaAddress {
        self.block.dma_addr
    }

    /// Borrows the memory.
    ///
    /// # Safety
    ///
    /// Neither the device nor anyone else may write to it while it is borrowed.
    #[track_caller]
    pub unsafe fn as_ref(&self) -> &T {
        // SAFETY: the memory is valid and initialised, and the caller answers for the rest.
        unsafe { &*self.uncovered() }
    }

    /// Borrows the memory alone.
    ///
    /// # Safety
    ///
    /// Neither the device nor anyone else may access it while it is borrowed.
    #[expect(clippy::mut_from_ref, reason = "the caller answers for there being one borrower")]
    #[track_caller]
    pub unsafe fn as_mut(&self) -> &mut T {
        // SAFETY: the memory is valid and initialised, and the caller answers for the rest.
        unsafe { &mut *self.uncovered() }
    }
}

impl<T> Coherent<[T]> {
    /// The number of elements, at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always an element")]
    pub fn len(&self) -> usize {
        self.cpu_addr.len()
    }
}

impl<T: AsBytes + FromBytes> Coherent<T> {
    const SIZE: usize = {
        assert!(size_of::<T>() != 0, "memory of no bytes cannot be shared");
        size_of::<T>()
    };

    #[track_caller]
    fn alloc(dev: &device::Device<Bound>, flags: Flags) -> Result<Self> {
        let (block, cpu_addr) = Block::alloc(dev, Self::SIZE, flags)?;
        Ok(Self { block, cpu_addr: cpu_addr.cast() })
    }

    #[track_caller]
    fn alloc_slice(dev: &device::Device<Bound>, len: usize, flags: Flags) -> Result<Coherent<[T]>> {
        if len == 0 {
            return Err(EINVAL);
        }
        let size = Self::SIZE.checked_mul(len).ok_or(ENOMEM)?;
        let (block, first) = Block::alloc(dev, size, flags)?;
        Ok(Coherent { block, cpu_addr: NonNull::slice_from_raw_parts(first.cast(), len) })
    }

    /// Allocates a `T` of zero bytes, with wishes. `ENOMEM`.
    #[track_caller]
    pub fn zeroed_with_attrs(dev: &device::Device<Bound>, gfp_flags: Flags, dma_attrs: Attrs) -> Result<Self> {
        let _ = dma_attrs;
        Self::alloc(dev, gfp_flags | __GFP_ZERO)
    }

    /// Allocates a `T` of zero bytes. `ENOMEM`.
    #[track_caller]
    pub fn zeroed(dev: &device::Device<Bound>, gfp_flags: Flags) -> Result<Self> {
        Self::zeroed_with_attrs(dev, gfp_flags, Attrs::NONE)
    }

    /// Allocates a `T` and initialises it in place, with wishes. `ENOMEM`, or the error of the initialiser.
    #[track_caller]
    pub fn init_with_attrs<E>(
        dev: &device::Device<Bound>,
        gfp_flags: Flags,
        dma_attrs: Attrs,
        init: impl Init<T, E>,
    ) -> Result<Self>
    where
        Error: From<E>,
    {
        let memory = Self::zeroed_with_attrs(dev, gfp_flags, dma_attrs)?;
        // SAFETY: the memory is valid, and nobody else knows of it. What a failing initialiser leaves is freed.
        unsafe { pin_init::raw_try_init(memory.cpu_addr.as_ptr(), init) }?;
        memory.filled();
        Ok(memory)
    }

    /// Allocates a `T` and initialises it in place. `ENOMEM`, or the error of the initialiser.
    #[track_caller]
    pub fn init<E>(dev: &device::Device<Bound>, gfp_flags: Flags, init: impl Init<T, E>) -> Result<Self>
    where
        Error: From<E>,
    {
        Self::init_with_attrs(dev, gfp_flags, Attrs::NONE, init)
    }

    /// Allocates `len` elements of zero bytes, with wishes. `EINVAL` for none, `ENOMEM`.
    #[track_caller]
    pub fn zeroed_slice_with_attrs(
        dev: &device::Device<Bound>,
        len: usize,
        gfp_flags: Flags,
        dma_attrs: Attrs,
    ) -> Result<Coherent<[T]>> {
        let _ = dma_attrs;
        Self::alloc_slice(dev, len, gfp_flags | __GFP_ZERO)
    }

    /// Allocates `len` elements of zero bytes. `EINVAL` for none, `ENOMEM`.
    #[track_caller]
    pub fn zeroed_slice(dev: &device::Device<Bound>, len: usize, gfp_flags: Flags) -> Result<Coherent<[T]>> {
        Self::zeroed_slice_with_attrs(dev, len, gfp_flags, Attrs::NONE)
    }

    /// Allocates a copy of a slice, with wishes. `EINVAL` for an empty one, `ENOMEM`.
    #[track_caller]
    pub fn from_slice_with_attrs(
        dev: &device::Device<Bound>,
        data: &[T],
        gfp_flags: Flags,
        dma_attrs: Attrs,
    ) -> Result<Coherent<[T]>>
    where
        T: Copy,
    {
        let copy = CoherentBox::<[T]>::from_slice_with_attrs(dev, data, gfp_flags, dma_attrs)?;
        Ok(copy.into())
    }

    /// Allocates a copy of a slice. `EINVAL` for an empty one, `ENOMEM`.
    #[track_caller]
    pub fn from_slice(dev: &device::Device<Bound>, data: &[T], gfp_flags: Flags) -> Result<Coherent<[T]>>
    where
        T: Copy,
    {
        Self::from_slice_with_attrs(dev, data, gfp_flags, Attrs::NONE)
    }
}

/// Coherent memory that the device does not know yet: the processor may use it as its own.
///
/// Turned into [`Coherent`], it can be shown to the device.
pub struct CoherentBox<T: KnownSize + ?Sized>(Coherent<T>);

impl<T: AsBytes + FromBytes> CoherentBox<T> {
    /// Allocates a `T` of zero bytes, with wishes. `ENOMEM`.
    #[track_caller]
    pub fn zeroed_with_attrs(dev: &device::Device<Bound>, gfp_flags: Flags, dma_attrs: Attrs) -> Result<Self> {
        Ok(Self(Coherent::zeroed_with_attrs(dev, gfp_flags, dma_attrs)?))
    }

    /// Allocates a `T` of zero bytes. `ENOMEM`.
    #[track_caller]
    pub fn zeroed(dev: &device::Device<Bound>, gfp_flags: Flags) -> Result<Self> {
        Self::zeroed_with_attrs(dev, gfp_flags, Attrs::NONE)
    }
}

impl<T: AsBytes + FromBytes> CoherentBox<[T]> {
    /// Allocates `count` elements of zero bytes, with wishes. `EINVAL` for none, `ENOMEM`.
    #[track_caller]
    pub fn zeroed_slice_with_attrs(
        dev: &device::Device<Bound>,
        count: usize,
        gfp_flags: Flags,
        dma_attrs: Attrs,
    ) -> Result<Self> {
        Ok(Self(Coherent::zeroed_slice_with_attrs(dev, count, gfp_flags, dma_attrs)?))
    }

    /// Allocates `count` elements of zero bytes. `EINVAL` for none, `ENOMEM`.
    #[track_caller]
    pub fn zeroed_slice(dev: &device::Device<Bound>, count: usize, gfp_flags: Flags) -> Result<Self> {
        Self::zeroed_slice_with_attrs(dev, count, gfp_flags, Attrs::NONE)
    }

    /// Initialises one element in place. `EINVAL` if there is none at `i`, or the error of the initialiser.
    pub fn init_at<E>(&mut self, i: usize, init: impl Init<T, E>) -> Result
    where
        Error: From<E>,
    {
        let element: *mut T = self.get_mut(i).ok_or(EINVAL)?;
        // SAFETY: it is valid and borrowed alone. What a failing initialiser leaves is a `T` whatever it is, and a `T`
        // has no destructor to be missed.
        unsafe { pin_init::raw_try_init(element, init) }?;
        Ok(())
    }

    /// Allocates a copy of a slice, with wishes. `EINVAL` for an empty one, `ENOMEM`.
    #[track_caller]
    pub fn from_slice_with_attrs(
        dev: &device::Device<Bound>,
        data: &[T],
        gfp_flags: Flags,
        dma_attrs: Attrs,
    ) -> Result<Self>
    where
        T: Copy,
    {
        let mut copy = Self::zeroed_slice_with_attrs(dev, data.len(), gfp_flags, dma_attrs)?;
        copy.copy_from_slice(data);
        Ok(copy)
    }

    /// Allocates a copy of a slice. `EINVAL` for an empty one, `ENOMEM`.
    #[track_caller]
    pub fn from_slice(dev: &device::Device<Bound>, data: &[T], gfp_flags: Flags) -> Result<Self>
    where
        T: Copy,
    {
        Self::from_slice_with_attrs(dev, data, gfp_flags, Attrs::NONE)
    }
}

impl<T: KnownSize + ?Sized> Deref for CoherentBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: nobody else knows of the memory.
        unsafe { self.0.cpu_addr.as_ref() }
    }
}

impl<T: AsBytes + FromBytes + KnownSize + ?Sized> DerefMut for CoherentBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: nobody else knows of the memory.
        unsafe { self.0.cpu_addr.as_mut() }
    }
}

impl<T: AsBytes + FromBytes + KnownSize + ?Sized> From<CoherentBox<T>> for Coherent<T> {
    #[track_caller]
    fn from(CoherentBox(memory): CoherentBox<T>) -> Self {
        memory.filled();
        memory
    }
}

/// Coherent memory that only the device uses.
pub struct CoherentHandle {
    block: Block,
    size: usize,
}

// SAFETY: it gives no access to the memory.
unsafe impl Send for CoherentHandle {}

// SAFETY: as above.
unsafe impl Sync for CoherentHandle {}

impl CoherentHandle {
    /// Allocates `size` bytes, with wishes. `EINVAL` for none, `ENOMEM`.
    #[track_caller]
    pub fn alloc_with_attrs(
        dev: &device::Device<Bound>,
        size: usize,
        gfp_flags: Flags,
        dma_attrs: Attrs,
    ) -> Result<Self> {
        let _ = dma_attrs;
        if size == 0 {
            return Err(EINVAL);
        }
        let (block, _not_for_us) = Block::alloc(dev, size, gfp_flags)?;
        Ok(Self { block, size })
    }

    /// Allocates `size` bytes. `EINVAL` for none, `ENOMEM`.
    #[track_caller]
    pub fn alloc(dev: &device::Device<Bound>, size: usize, gfp_flags: Flags) -> Result<Self> {
        Self::alloc_with_attrs(dev, size, gfp_flags, Attrs::NONE)
    }

    /// Where the device sees it.
    pub fn dma_address(&self) -> DmaAddress {
        self.block.dma_addr
    }

    /// The size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }
}

/// A view of coherent memory, or of a part of it.
pub struct CoherentView<'a, T: ?Sized> {
    memory: SysMem<'a, T>,
    dma_addr: DmaAddress,
}

impl<T: ?Sized> Clone for CoherentView<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for CoherentView<'_, T> {}

impl<'a, T: ?Sized> CoherentView<'a, T> {
    /// The processor's view alone.
    pub fn as_sys_mem(self) -> SysMem<'a, T> {
        self.memory
    }

    /// Where the device sees it.
    pub fn dma_address(self) -> DmaAddress {
        self.dma_addr
    }

    /// Borrows the memory.
    ///
    /// # Safety
    ///
    /// Neither the device nor anyone else may write to it for `'a`.
    #[track_caller]
    pub unsafe fn as_ref(self) -> &'a T {
        machine::mem_not_followed();
        // SAFETY: a view is of valid memory, and the caller answers for the rest.
        unsafe { &*self.memory.as_ptr() }
    }

    /// Borrows the memory alone.
    ///
    /// # Safety
    ///
    /// Neither the device nor anyone else may access it for `'a`.
    #[track_caller]
    pub unsafe fn as_mut(self) -> &'a mut T {
        machine::mem_not_followed();
        // SAFETY: a view is of valid memory, and the caller answers for the rest.
        unsafe { &mut *self.memory.as_ptr() }
    }
}

impl<'a, T: ?Sized + KnownSize> IoBase<'a> for CoherentView<'a, T> {
    type Target = T;
    type Backend = CoherentIoBackend;

    fn as_view(self) -> Self {
        self
    }
}

impl<'a, T: ?Sized + KnownSize> IoBase<'a> for &'a Coherent<T> {
    type Target = T;
    type Backend = CoherentIoBackend;

    fn as_view(self) -> CoherentView<'a, T> {
        // SAFETY: the memory is valid and initialised as long as `self` is borrowed.
        let memory = unsafe { SysMem::new(self.cpu_addr.as_ptr()) };
        CoherentView { memory, dma_addr: self.dma_address() }
    }
}

/// How coherent memory is accessed: as other memory, with the device's address carried along.
pub struct CoherentIoBackend;

impl IoBackend for CoherentIoBackend {
    type View<'a, T: ?Sized + KnownSize> = CoherentView<'a, T>;

    fn as_ptr<'a, T: ?Sized + KnownSize>(view: Self::View<'a, T>) -> *mut T {
        SysMemBackend::as_ptr(view.memory)
    }

    unsafe fn project_view<'a, T, U>(view: Self::View<'a, T>, ptr: *mut U) -> Self::View<'a, U>
    where
        T: ?Sized + KnownSize,
        U: ?Sized + KnownSize,
    {
        let skipped = ptr.addr() - SysMemBackend::as_ptr(view.memory).addr();
        // SAFETY: the caller's promise.
        let memory = unsafe { SysMemBackend::project_view(view.memory, ptr) };
        CoherentView { memory, dma_addr: view.dma_addr + skipped as DmaAddress }
    }
}

impl<T> IoCapable<T> for CoherentIoBackend
where
    SysMemBackend: IoCapable<T>,
{
    #[track_caller]
    fn io_read<'a>(view: Self::View<'a, T>) -> T {
        SysMemBackend::io_read(view.memory)
    }

    #[track_caller]
    fn io_write<'a>(view: Self::View<'a, T>, value: T) {
        SysMemBackend::io_write(view.memory, value);
    }
}

impl IoCopyable for CoherentIoBackend {
    #[track_caller]
    unsafe fn copy_from_io(view: Self::View<'_, [u8]>, buffer: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { SysMemBackend::copy_from_io(view.memory, buffer) };
    }

    #[track_caller]
    unsafe fn copy_to_io(view: Self::View<'_, [u8]>, buffer: *const u8) {
        // SAFETY: the caller's promise.
        unsafe { SysMemBackend::copy_to_io(view.memory, buffer) };
    }
}
