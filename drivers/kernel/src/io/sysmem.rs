//! Ordinary memory that a device sees too, and views that are of either kind of memory.

use super::{copy_like_an_address, IoBackend, IoBase, IoCapable, IoCopyable, Mmio, MmioBackend};
use crate::{machine, ptr::KnownSize};
use core::{marker::PhantomData, panic::Location, ptr};

/// A view of memory of the CPU's, with the accesses of `READ_ONCE` and `WRITE_ONCE`.
///
/// Differs from Linux: copies are accesses of the widest aligned words up to 8 bytes, where Linux calls `memcpy` and
/// promises no widths.
pub struct SysMem<'a, T: ?Sized> {
    ptr: *mut T,
    valid: PhantomData<&'a ()>,
}

copy_like_an_address!(SysMem<'_, T>, IoSysMap<'_, T>);

// SAFETY: It shares the memory just like a `&T` shares a `T`.
unsafe impl<T: ?Sized + Sync> Send for SysMem<'_, T> {}
// SAFETY: As above.
unsafe impl<T: ?Sized + Sync> Sync for SysMem<'_, T> {}

impl<'a, T: ?Sized> SysMem<'a, T> {
    /// The view of what `ptr` points to.
    ///
    /// # Safety
    ///
    /// For as long as `'a`, `ptr` points to memory that is allocated, initialised, aligned for a `T` and accessed by
    /// nothing but views.
    #[inline]
    pub unsafe fn new(ptr: *mut T) -> Self {
        let valid = PhantomData;
        Self { ptr, valid }
    }

    /// A pointer to the memory.
    ///
    /// If the memory is coherent, the machine reports that it cannot follow what is done to it from now on.
    #[inline(always)]
    #[track_caller]
    pub fn as_ptr(self) -> *mut T {
        machine::mem_uncovered(self.ptr.cast(), Location::caller());
        self.ptr
    }
}

impl<'a, T: ?Sized + KnownSize> IoBase<'a> for SysMem<'a, T> {
    type Target = T;
    type Backend = SysMemBackend;

    #[inline(always)]
    fn as_view(self) -> Self {
        self
    }
}

/// How a [`SysMem`] is accessed: 8, 16, 32 or 64 bits at a time.
pub struct SysMemBackend;

impl IoBackend for SysMemBackend {
    type View<'a, T: ?Sized + KnownSize> = SysMem<'a, T>;

    #[inline(always)]
    fn as_ptr<'a, T: ?Sized + KnownSize>(view: Self::View<'a, T>) -> *mut T {
        view.ptr
    }

    #[inline(always)]
    unsafe fn project_view<'a, T, U>(view: Self::View<'a, T>, ptr: *mut U) -> Self::View<'a, U>
    where
        T: ?Sized + KnownSize,
        U: ?Sized + KnownSize,
    {
        let valid = view.valid;
        SysMem { ptr, valid }
    }
}

macro_rules! widths_of_memory {
    ($($ty:ident)*) => {$(
        impl IoCapable<$ty> for SysMemBackend {
            #[inline(always)]
            #[track_caller]
            fn io_read<'a>(view: Self::View<'a, $ty>) -> $ty {
                // SAFETY: A view is of valid, aligned memory.
                unsafe { machine::mem_read(view.ptr.cast(), size_of::<$ty>() as u8) as $ty }
            }

            #[inline(always)]
            #[track_caller]
            fn io_write<'a>(view: Self::View<'a, $ty>, value: $ty) {
                let width = size_of::<$ty>() as u8;
                // SAFETY: A view is of valid, aligned memory.
                unsafe { machine::mem_write(view.ptr.cast(), width, u64::from(value)) };
            }
        }
    )*};
}

widths_of_memory!(u8 u16 u32 u64);

/// Bytes of the widest access.
const WORD: usize = 8;

/// The width of the widest aligned access at `addr` that is within the next `left` bytes.
fn widest_access(addr: usize, left: usize) -> usize {
    let aligned = 1 << addr.trailing_zeros().min(WORD.ilog2());
    let fitting = 1 << left.ilog2();
    aligned.min(fitting)
}

impl IoCopyable for SysMemBackend {
    #[track_caller]
    unsafe fn copy_from_io(view: SysMem<'_, [u8]>, buffer: *mut u8) {
        let (start, size) = (view.ptr.cast::<u8>(), view.ptr.len());
        if !machine::mem_is_watched(start, size) {
            // SAFETY: as below. Nobody is told word by word.
            return unsafe { machine::mem_copy_from(start, buffer, size) };
        }
        let mut done = 0;
        while done < size {
            let from = start.wrapping_add(done);
            let width = widest_access(from.addr(), size - done);
            // SAFETY: The view is of `size` bytes of valid memory, and `buffer` has as many, as the caller promises;
            // at least `width` more are left of both.
            unsafe {
                let value = machine::mem_read(from, width as u8).to_le_bytes();
                ptr::copy_nonoverlapping(value.as_ptr(), buffer.add(done), width);
            }
            done += width;
        }
    }

    #[track_caller]
    unsafe fn copy_to_io(view: SysMem<'_, [u8]>, buffer: *const u8) {
        let (start, size) = (view.ptr.cast::<u8>(), view.ptr.len());
        if !machine::mem_is_watched(start, size) {
            // SAFETY: as below. Nobody is told word by word.
            return unsafe { machine::mem_copy_to(start, buffer, size) };
        }
        let mut done = 0;
        while done < size {
            let to = start.wrapping_add(done);
            let width = widest_access(to.addr(), size - done);
            let mut value = [0; WORD];
            // SAFETY: As in `copy_from_io`.
            unsafe {
                ptr::copy_nonoverlapping(buffer.add(done), value.as_mut_ptr(), width);
                machine::mem_write(to, width as u8, u64::from_le_bytes(value));
            }
            done += width;
        }
    }
}

/// A view of device registers or of memory, for code that has to work with either.
pub enum IoSysMap<'a, T: ?Sized> {
    /// Device registers.
    Io(Mmio<'a, T>),
    /// Memory.
    Sys(SysMem<'a, T>),
}

impl<'a, T: ?Sized> From<Mmio<'a, T>> for IoSysMap<'a, T> {
    #[inline]
    fn from(view: Mmio<'a, T>) -> Self {
        Self::Io(view)
    }
}

impl<'a, T: ?Sized> From<SysMem<'a, T>> for IoSysMap<'a, T> {
    #[inline]
    fn from(view: SysMem<'a, T>) -> Self {
        Self::Sys(view)
    }
}

impl<'a, T: ?Sized + KnownSize> IoBase<'a> for IoSysMap<'a, T> {
    type Target = T;
    type Backend = IoSysMapBackend;

    #[inline(always)]
    fn as_view(self) -> Self {
        self
    }
}

/// How an [`IoSysMap`] is accessed: as the view that it holds is.
pub struct IoSysMapBackend;

impl IoBackend for IoSysMapBackend {
    type View<'a, T: ?Sized + KnownSize> = IoSysMap<'a, T>;

    #[inline(always)]
    fn as_ptr<'a, T: ?Sized + KnownSize>(view: Self::View<'a, T>) -> *mut T {
        match view {
            IoSysMap::Io(registers) => MmioBackend::as_ptr(registers),
            IoSysMap::Sys(memory) => memory.ptr,
        }
    }

    #[inline]
    unsafe fn project_view<'a, T, U>(view: Self::View<'a, T>, ptr: *mut U) -> Self::View<'a, U>
    where
        T: ?Sized + KnownSize,
        U: ?Sized + KnownSize,
    {
        // SAFETY: The caller's promise, for whichever it is.
        unsafe {
            match view {
                IoSysMap::Io(registers) => MmioBackend::project_view(registers, ptr).into(),
                IoSysMap::Sys(memory) => SysMemBackend::project_view(memory, ptr).into(),
            }
        }
    }
}

/// The widths that both kinds have.
impl<T> IoCapable<T> for IoSysMapBackend
where
    SysMemBackend: IoCapable<T>,
    MmioBackend: IoCapable<T>,
{
    #[inline]
    #[track_caller]
    fn io_read<'a>(view: Self::View<'a, T>) -> T {
        match view {
            IoSysMap::Io(registers) => MmioBackend::io_read(registers),
            IoSysMap::Sys(memory) => SysMemBackend::io_read(memory),
        }
    }

    #[inline]
    #[track_caller]
    fn io_write<'a>(view: Self::View<'a, T>, value: T) {
        match view {
            IoSysMap::Io(registers) => MmioBackend::io_write(registers, value),
            IoSysMap::Sys(memory) => SysMemBackend::io_write(memory, value),
        }
    }
}

impl IoCopyable for IoSysMapBackend {
    #[track_caller]
    unsafe fn copy_from_io(view: IoSysMap<'_, [u8]>, buffer: *mut u8) {
        // SAFETY: The caller's promise, for whichever it is.
        unsafe {
            match view {
                IoSysMap::Io(registers) => MmioBackend::copy_from_io(registers, buffer),
                IoSysMap::Sys(memory) => SysMemBackend::copy_from_io(memory, buffer),
            }
        }
    }

    #[track_caller]
    unsafe fn copy_to_io(view: IoSysMap<'_, [u8]>, buffer: *const u8) {
        // SAFETY: The caller's promise, for whichever it is.
        unsafe {
            match view {
                IoSysMap::Io(registers) => MmioBackend::copy_to_io(registers, buffer),
                IoSysMap::Sys(memory) => SysMemBackend::copy_to_io(memory, buffer),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::widest_access;

    #[test]
    fn aligned_integers_are_copied_in_one_access() {
        assert_eq!(widest_access(0x1004, 4), 4);
        assert_eq!(widest_access(0x1000, 24), 8);
        assert_eq!(widest_access(0, 8), 8);
    }

    #[test]
    fn accesses_are_neither_unaligned_nor_longer_than_what_is_left() {
        assert_eq!(widest_access(0x1006, 24), 2);
        assert_eq!(widest_access(0x1000, 7), 4);
        assert_eq!(widest_access(0x1001, 24), 1);
    }
}
