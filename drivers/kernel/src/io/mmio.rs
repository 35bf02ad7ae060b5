//! Device registers: every access is a call of the machine, which alone knows what stands behind an address.

use super::{copy_like_an_address, Io, IoBackend, IoBase, IoCapable, IoCopyable, Region};
use crate::{error::Result, machine, ptr::KnownSize};
use core::{marker::PhantomData, ptr};

/// The address of device memory, and what is said to be there; nothing vouches for either.
///
/// It is turned into the accessible [`Mmio`] by the bus that mapped the memory.
pub struct MmioRaw<T: ?Sized> {
    /// Only address and metadata matter: it is never dereferenced.
    ptr: *mut T,
}

copy_like_an_address!(MmioRaw<T>, Mmio<'_, T>, RelaxedMmio<'_, T>);

// SAFETY: An address by itself gives access to nothing.
unsafe impl<T: ?Sized> Send for MmioRaw<T> {}
// SAFETY: As above.
unsafe impl<T: ?Sized> Sync for MmioRaw<T> {}

impl<T> MmioRaw<T> {
    /// A `T` at `addr`.
    #[inline]
    pub fn new(addr: usize) -> Self {
        let ptr = ptr::without_provenance_mut(addr);
        Self { ptr }
    }
}

impl<const SIZE: usize> MmioRaw<Region<SIZE>> {
    /// The region of `size` bytes at `addr`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `size` is less than `SIZE`, or if `addr` or `size` is not a multiple of 4.
    #[inline]
    pub fn new_region(addr: usize, size: usize) -> Result<Self> {
        let base = ptr::without_provenance_mut(addr);
        Region::ptr_try_from_raw_parts_mut(base, size).map(|ptr| Self { ptr })
    }
}

impl<T: ?Sized + KnownSize> MmioRaw<T> {
    /// Where it starts.
    #[inline]
    pub fn addr(&self) -> usize {
        <*mut T>::addr(self.ptr)
    }

    /// How many bytes it has.
    #[inline]
    pub fn size(&self) -> usize {
        T::size(self.ptr)
    }
}

/// A view of mapped device registers.
///
/// Accesses have the ordering of `readl` and `writel`: a read is done before what follows it, and a write comes after
/// what precedes it, memory that devices see included. [`relaxed`](Self::relaxed) gives that up.
pub struct Mmio<'a, T: ?Sized> {
    ptr: *mut T,
    mapped: PhantomData<&'a ()>,
}

impl<'a, T: ?Sized> Mmio<'a, T> {
    /// The view of `raw`.
    ///
    /// # Safety
    ///
    /// For as long as `'a`, `raw` is mapped, aligned for a `T`, and its to access.
    #[inline]
    pub unsafe fn from_raw(raw: MmioRaw<T>) -> Self {
        Self { ptr: raw.ptr, mapped: PhantomData }
    }

    /// The same registers, accessed without ordering against memory, as `readl_relaxed` and `writel_relaxed` do.
    ///
    /// Accesses of one device still come in program order.
    #[inline(always)]
    pub fn relaxed(self) -> RelaxedMmio<'a, T> {
        RelaxedMmio(self)
    }
}

// SAFETY: It shares the registers just like a `&T` shares a `T`.
unsafe impl<T: ?Sized + Sync> Send for Mmio<'_, T> {}
// SAFETY: As above.
unsafe impl<T: ?Sized + Sync> Sync for Mmio<'_, T> {}

impl<'a, T: ?Sized + KnownSize> IoBase<'a> for Mmio<'a, T> {
    type Target = T;
    type Backend = MmioBackend;

    #[inline(always)]
    fn as_view(self) -> Self {
        self
    }
}

/// A view of mapped device registers whose accesses are not ordered against memory; see [`Mmio::relaxed`].
pub struct RelaxedMmio<'a, T: ?Sized>(Mmio<'a, T>);

impl<'a, T: ?Sized + KnownSize> IoBase<'a> for RelaxedMmio<'a, T> {
    type Target = T;
    type Backend = RelaxedMmioBackend;

    #[inline(always)]
    fn as_view(self) -> Self {
        self
    }
}

/// How an [`Mmio`] is accessed: 8, 16, 32 or 64 bits at a time, in order with memory.
pub struct MmioBackend;

impl IoBackend for MmioBackend {
    type View<'a, T: ?Sized + KnownSize> = Mmio<'a, T>;

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
        let mapped = view.mapped;
        Mmio { ptr, mapped }
    }
}

/// How a [`RelaxedMmio`] is accessed: 8, 16, 32 or 64 bits at a time, not ordered against memory.
pub struct RelaxedMmioBackend;

impl IoBackend for RelaxedMmioBackend {
    type View<'a, T: ?Sized + KnownSize> = RelaxedMmio<'a, T>;

    #[inline(always)]
    fn as_ptr<'a, T: ?Sized + KnownSize>(view: Self::View<'a, T>) -> *mut T {
        view.0.ptr
    }

    #[inline(always)]
    unsafe fn project_view<'a, T, U>(view: Self::View<'a, T>, ptr: *mut U) -> Self::View<'a, U>
    where
        T: ?Sized + KnownSize,
        U: ?Sized + KnownSize,
    {
        // SAFETY: The caller's promise.
        RelaxedMmio(unsafe { MmioBackend::project_view(view.0, ptr) })
    }
}

macro_rules! widths_of_registers {
    ($($backend:ident, $relaxed:literal: $($ty:ident)*;)*) => {$($(
        impl IoCapable<$ty> for $backend {
            #[inline(always)]
            #[track_caller]
            fn io_read<'a>(view: Self::View<'a, $ty>) -> $ty {
                machine::mmio_read(Self::as_ptr(view).addr(), size_of::<$ty>() as u8, $relaxed) as $ty
            }

            #[inline(always)]
            #[track_caller]
            fn io_write<'a>(view: Self::View<'a, $ty>, value: $ty) {
                let addr = Self::as_ptr(view).addr();
                machine::mmio_write(addr, size_of::<$ty>() as u8, u64::from(value), $relaxed);
            }
        }
    )*)*};
}

widths_of_registers! {
    MmioBackend, false: u8 u16 u32 u64;
    RelaxedMmioBackend, true: u8 u16 u32 u64;
}

/// Bytes of the widest access that a copy makes, a CPU word.
const WORD: usize = 8;

/// The widths of the accesses that copy `size` bytes at `addr`, in order of their addresses.
///
/// Those of Linux's generic `memcpy_fromio` and `memcpy_toio`: single bytes up to the first aligned word, words, and
/// single bytes again.
fn accesses_of_copy(addr: usize, size: usize) -> impl Iterator<Item = usize> {
    let head = (addr.wrapping_neg() % WORD).min(size);
    let words = (size - head) / WORD;
    let tail = (size - head) % WORD;
    core::iter::repeat_n(1, head).chain(core::iter::repeat_n(WORD, words)).chain(core::iter::repeat_n(1, tail))
}

/// The accesses of a copy are relaxed ones, as in Linux.
impl IoCopyable for MmioBackend {
    #[track_caller]
    unsafe fn copy_from_io(view: Mmio<'_, [u8]>, buffer: *mut u8) {
        let (start, size) = (view.ptr.addr(), view.size());
        let mut done = 0;
        for width in accesses_of_copy(start, size) {
            let value = machine::mmio_read(start + done, width as u8, true).to_le_bytes();
            // SAFETY: `buffer` has `size` bytes, as the caller promises, and the widths add up to that.
            unsafe { ptr::copy_nonoverlapping(value.as_ptr(), buffer.add(done), width) };
            done += width;
        }
    }

    #[track_caller]
    unsafe fn copy_to_io(view: Mmio<'_, [u8]>, buffer: *const u8) {
        let (start, size) = (view.ptr.addr(), view.size());
        let mut done = 0;
        for width in accesses_of_copy(start, size) {
            let mut value = [0; WORD];
            // SAFETY: `buffer` has `size` bytes, as the caller promises, and the widths add up to that.
            unsafe { ptr::copy_nonoverlapping(buffer.add(done), value.as_mut_ptr(), width) };
            machine::mmio_write(start + done, width as u8, u64::from_le_bytes(value), true);
            done += width;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::accesses_of_copy;
    use std::vec::Vec;

    fn widths(addr: usize, size: usize) -> Vec<usize> {
        accesses_of_copy(addr, size).collect()
    }

    #[test]
    fn aligned_copies_are_whole_words() {
        assert_eq!(widths(0x1000, 24), [8, 8, 8]);
    }

    #[test]
    fn unaligned_edges_are_copied_bytewise() {
        assert_eq!(widths(0x1006, 12), [1, 1, 8, 1, 1]);
    }

    #[test]
    fn copies_shorter_than_a_word_are_bytewise_even_when_aligned() {
        assert_eq!(widths(0x1000, 4), [1, 1, 1, 1]);
        assert_eq!(widths(0x1003, 2), [1, 1]);
        assert_eq!(widths(0x1000, 0), [0usize; 0]);
    }
}
