//! Access to device registers and to memory shared with devices.
//!
//! Three things meet in every access:
//!
//! - a **view** ([`Mmio`], [`RelaxedMmio`], [`SysMem`], [`IoSysMap`], or a reference to what owns a mapping) says
//!   where: it implements [`IoBase`], and with it [`Io`], which has all the methods;
//! - its **backend** says how, and which widths there are ([`IoCapable`], [`IoCopyable`]);
//! - a **location** ([`IoLoc`]) says at which offset and as what: a plain offset, or a register defined by
//!   [`register!`](mod@register).
//!
//! An untyped stretch of registers is a [`Region`]; a view of a Rust type instead is taken apart with [`io_project!`],
//! [`io_read!`] and [`io_write!`].
//!
//! ```
//! use kernel::{io::{Io, Mmio, Region}, prelude::*};
//!
//! fn sum(regs: Mmio<'_, Region<0x40>>, chosen: usize) -> Result<u32> {
//!     // In bounds by the type, so it cannot fail; a build error at an offset of 0x40.
//!     let fixed = regs.read32(0x3c);
//!     // Known only at run time.
//!     let chosen = regs.try_read32(chosen)?;
//!     Ok(fixed.wrapping_add(chosen))
//! }
//! ```
//!
//! A [`Region`] promises an alignment of 4 and no more, so nothing wider than 32 bits is provably aligned in one:
//!
//! ```compile_fail
//! use kernel::io::{Io, Mmio, Region};
//!
//! fn wide(regs: Mmio<'_, Region<0x40>>) -> u64 {
//!     regs.read64(0x38)
//! }
//! # let raw = kernel::io::MmioRaw::new_region(0x1000, 0x40).ok().unwrap();
//! # wide(unsafe { Mmio::from_raw(raw) });
//! ```

mod mmio;
pub mod poll;
mod project;
mod region;
pub mod register;
pub mod resource;
mod sysmem;

#[doc(inline)]
pub use crate::{io_project, io_read, io_write, register};
pub use mmio::{Mmio, MmioBackend, MmioRaw, RelaxedMmio, RelaxedMmioBackend};
#[doc(hidden)]
pub use project::ProjectHelper;
pub use region::Region;
pub use sysmem::{IoSysMap, IoSysMapBackend, SysMem, SysMemBackend};

use crate::{
    build_assert::{build_assert, const_assert, static_assert},
    error::{code::EINVAL, Result},
    ptr::KnownSize,
};
use core::{
    mem::{ManuallyDrop, MaybeUninit},
    ptr,
};
use register::LocatedRegister;
use zerocopy::{FromBytes, IntoBytes};

// Values pass between the machine and the CPU as little-endian bytes, which saves Linux's conversions.
static_assert!(cfg!(target_endian = "little"));

/// An address on the machine's memory bus.
///
/// Differs from Linux: always 64 bits, as with `CONFIG_PHYS_ADDR_T_64BIT`.
pub type PhysAddr = u64;

/// A number of bytes on the machine's memory bus, as wide as [`PhysAddr`].
pub type ResourceSize = PhysAddr;

/// A way of accessing memory: its views, and how a view is narrowed to a part.
pub trait IoBackend {
    /// What a view of a `T` is.
    type View<'a, T: ?Sized + KnownSize>: IoBase<'a, Backend = Self, Target = T>;

    /// The pointer that stands for the view in projections. It need not be valid.
    fn as_ptr<'a, T: ?Sized + KnownSize>(view: Self::View<'a, T>) -> *mut T;

    /// The view of the part of `view` that `ptr` points to.
    ///
    /// # Safety
    ///
    /// `ptr` is a projection of the view's [`as_ptr`](Self::as_ptr).
    unsafe fn project_view<'a, T, U>(view: Self::View<'a, T>, ptr: *mut U) -> Self::View<'a, U>
    where
        T: ?Sized + KnownSize,
        U: ?Sized + KnownSize;
}

/// Backends that can read and write a `T` in one access. A width that a backend does not have does not compile.
///
/// ```compile_fail
/// use kernel::io::{Io, Mmio};
///
/// fn wide(register: Mmio<'_, u128>) -> u128 {
///     register.read_val()
/// }
/// ```
pub trait IoCapable<T>: IoBackend {
    /// Reads what `view` shows.
    #[track_caller]
    fn io_read<'a>(view: Self::View<'a, T>) -> T;

    /// Writes `value` to what `view` shows.
    #[track_caller]
    fn io_write<'a>(view: Self::View<'a, T>, value: T);
}

/// Backends that can copy any number of bytes, in accesses of whatever width suits them.
pub trait IoCopyable: IoBackend {
    /// Copies from `view` to `buffer`.
    ///
    /// # Safety
    ///
    /// As many bytes as the view has can be written to `buffer`, and they are not the view's own.
    #[track_caller]
    unsafe fn copy_from_io(view: Self::View<'_, [u8]>, buffer: *mut u8);

    /// Copies from `buffer` to `view`.
    ///
    /// # Safety
    ///
    /// As many bytes as the view has can be read from `buffer`, and they are not the view's own.
    #[track_caller]
    unsafe fn copy_to_io(view: Self::View<'_, [u8]>, buffer: *const u8);

    /// Copies a `T` out of `view`.
    #[inline]
    #[track_caller]
    fn copy_read<T: FromBytes>(view: Self::View<'_, T>) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: The local variable has as many bytes as a `T`, and any bytes make a `T`.
        unsafe {
            Self::copy_from_io(bytes_of::<Self, T>(view), value.as_mut_ptr().cast());
            value.assume_init()
        }
    }

    /// Copies `value` into `view`. `value` is moved there: it is not dropped.
    #[inline]
    #[track_caller]
    fn copy_write<T: IntoBytes>(view: Self::View<'_, T>, value: T) {
        let value = ManuallyDrop::new(value);
        // SAFETY: The local variable has as many bytes as a `T`, all of them initialised.
        unsafe { Self::copy_to_io(bytes_of::<Self, T>(view), (&raw const value).cast()) };
    }
}

/// The view of the bytes of a `T`.
#[inline]
fn bytes_of<B: IoBackend + ?Sized, T>(view: B::View<'_, T>) -> B::View<'_, [u8]> {
    let bytes = ptr::slice_from_raw_parts_mut(B::as_ptr(view).cast(), size_of::<T>());
    // SAFETY: The bytes of a value are a projection of it.
    unsafe { B::project_view(view, bytes) }
}

/// A place in a `Base` where a `T` is read or written.
///
/// Offsets (`usize`) are locations of `u8`, `u16`, `u32` and `u64` in a [`Region`]; for those of registers, see
/// [`register`](mod@register).
pub trait IoLoc<Base: ?Sized, T> {
    /// What is accessed, an integer of the width of the access. Converts from and to `T`.
    type IoType: Into<T> + From<T>;

    /// Bytes from the start of the `Base`.
    fn offset(self) -> usize;
}

macro_rules! offsets_locate {
    ($($ty:ident)*) => {$(
        impl<const SIZE: usize> IoLoc<Region<SIZE>, $ty> for usize {
            type IoType = $ty;

            // The location is the offset.
            #[inline(always)]
            fn offset(self) -> usize {
                self
            }
        }
    )*};
}

offsets_locate!(u8 u16 u32 u64);

/// Something that views can be made of: a view itself, or a reference to what owns a mapping.
///
/// Implementing it is all that [`Io`] needs.
pub trait IoBase<'a>: Copy {
    /// How it is accessed.
    type Backend: IoBackend;

    /// What it is a view of.
    type Target: ?Sized + KnownSize;

    /// The view of all of it.
    fn as_view(self) -> <Self::Backend as IoBackend>::View<'a, Self::Target>;
}

/// The view that `IO`'s backend has of a `U`.
type ViewOf<'a, IO, U> = <<IO as IoBase<'a>>::Backend as IoBackend>::View<'a, U>;

/// Whether a `U` at `offset` ends within `size` bytes.
#[inline(always)]
const fn ends_within<U>(offset: usize, size: usize) -> bool {
    size >= size_of::<U>() && offset <= size - size_of::<U>()
}

/// The view of the `U` at `offset`, which the build must prove to be there.
#[inline(always)]
#[track_caller]
fn proven_view<'a, IO: Io<'a>, U>(io: IO, offset: usize) -> ViewOf<'a, IO, U> {
    const_assert!(
        align_of::<U>() <= <IO::Target as KnownSize>::MIN_ALIGN.as_usize(),
        "an access of this width is not provably aligned here"
    );
    build_assert!(
        ends_within::<U>(offset, <IO::Target as KnownSize>::MIN_SIZE) && offset.is_multiple_of(align_of::<U>()),
        "the offset of an infallible access is not provably in bounds and aligned"
    );
    // SAFETY: Just asserted.
    unsafe { view_at(io, offset) }
}

/// The view of the `U` at `offset`, or `EINVAL` if it is out of bounds or not aligned.
#[inline(always)]
fn checked_view<'a, IO: Io<'a>, U>(io: IO, offset: usize) -> Result<ViewOf<'a, IO, U>> {
    let base = <IO::Backend as IoBackend>::as_ptr(io.as_view());
    let aligned = base.addr().wrapping_add(offset).is_multiple_of(align_of::<U>());
    if aligned && ends_within::<U>(offset, KnownSize::size(base)) {
        // SAFETY: Just checked.
        Ok(unsafe { view_at(io, offset) })
    } else {
        Err(EINVAL)
    }
}

/// The view of the `U` at `offset`.
///
/// # Safety
///
/// It is in bounds and aligned.
#[inline(always)]
unsafe fn view_at<'a, IO: Io<'a>, U>(io: IO, offset: usize) -> ViewOf<'a, IO, U> {
    let view = io.as_view();
    let part = <IO::Backend as IoBackend>::as_ptr(view).cast::<u8>().wrapping_add(offset);
    // SAFETY: The caller's promise makes it a projection.
    unsafe { <IO::Backend as IoBackend>::project_view(view, part.cast()) }
}

/// Defines the accessors of [`Io`] that take an offset and say the width in their names.
macro_rules! accessors_by_width {
    ($($bits:literal $ty:ident: $read:ident $write:ident $try_read:ident $try_write:ident;)*) => {$(
        #[doc = concat!("Reads ", $bits, " bits at `offset`, provably in bounds and aligned.")]
        #[inline(always)]
        #[track_caller]
        fn $read(self, offset: usize) -> $ty
        where
            usize: IoLoc<Self::Target, $ty, IoType = $ty>,
            Self::Backend: IoCapable<$ty>,
        {
            self.read(offset)
        }

        #[doc = concat!("Writes ", $bits, " bits at `offset`, provably in bounds and aligned.")]
        #[inline(always)]
        #[track_caller]
        fn $write(self, value: $ty, offset: usize)
        where
            usize: IoLoc<Self::Target, $ty, IoType = $ty>,
            Self::Backend: IoCapable<$ty>,
        {
            self.write(offset, value)
        }

        #[doc = concat!("Reads ", $bits, " bits at `offset`; `EINVAL` if out of bounds or not aligned.")]
        #[inline(always)]
        #[track_caller]
        fn $try_read(self, offset: usize) -> Result<$ty>
        where
            usize: IoLoc<Self::Target, $ty, IoType = $ty>,
            Self::Backend: IoCapable<$ty>,
        {
            self.try_read(offset)
        }

        #[doc = concat!("Writes ", $bits, " bits at `offset`; `EINVAL` if out of bounds or not aligned.")]
        #[inline(always)]
        #[track_caller]
        fn $try_write(self, value: $ty, offset: usize) -> Result
        where
            usize: IoLoc<Self::Target, $ty, IoType = $ty>,
            Self::Backend: IoCapable<$ty>,
        {
            self.try_write(offset, value)
        }
    )*};
}

/// The methods of everything that is accessed through a backend.
///
/// Methods that cannot fail need the location to be provably within what the build knows of the target, as
/// [`build_assert!`] describes. The `try_` ones check it at run time, against the real size, and fail with `EINVAL`.
///
/// An access is attributed to the line that calls the method.
pub trait Io<'a>: IoBase<'a> {
    /// Bytes of the target.
    #[inline]
    fn size(self) -> usize {
        KnownSize::size(<Self::Backend as IoBackend>::as_ptr(self.as_view()))
    }

    /// Elements of the target, a slice.
    #[inline]
    fn len<T>(self) -> usize
    where
        Self: IoBase<'a, Target = [T]>,
    {
        <Self::Backend as IoBackend>::as_ptr(self.as_view()).len()
    }

    /// Whether the target, a slice, has no elements.
    #[inline]
    fn is_empty<T>(self) -> bool
    where
        Self: IoBase<'a, Target = [T]>,
    {
        Io::len(self) == 0
    }

    /// The same place seen as a `U`, whose bytes are the target's first.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the target is smaller than a `U` or not aligned for one.
    #[inline]
    fn try_cast<U: FromBytes + IntoBytes>(self) -> Result<ViewOf<'a, Self, U>>
    where
        Self::Target: FromBytes + IntoBytes,
    {
        checked_view(self, 0)
    }

    /// Reads the target in one access.
    #[inline(always)]
    #[track_caller]
    fn read_val(self) -> Self::Target
    where
        Self::Target: Sized,
        Self::Backend: IoCapable<Self::Target>,
    {
        Self::Backend::io_read(self.as_view())
    }

    /// Writes the target in one access.
    #[inline(always)]
    #[track_caller]
    fn write_val(self, value: Self::Target)
    where
        Self::Target: Sized,
        Self::Backend: IoCapable<Self::Target>,
    {
        Self::Backend::io_write(self.as_view(), value);
    }

    /// Copies the target out, in as many accesses as it takes.
    #[inline]
    #[track_caller]
    fn copy_read(self) -> Self::Target
    where
        Self::Target: FromBytes + Sized,
        Self::Backend: IoCopyable,
    {
        <Self::Backend as IoCopyable>::copy_read(self.as_view())
    }

    /// Copies `value` in, in as many accesses as it takes. It is not dropped.
    #[inline]
    #[track_caller]
    fn copy_write(self, value: Self::Target)
    where
        Self::Target: IntoBytes + Sized,
        Self::Backend: IoCopyable,
    {
        <Self::Backend as IoCopyable>::copy_write(self.as_view(), value);
    }

    /// Copies `data` in.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[inline]
    #[track_caller]
    fn copy_from_slice(self, data: &[u8])
    where
        Self: Io<'a, Target = [u8]>,
        Self::Backend: IoCopyable,
    {
        assert_eq!(Io::len(self), data.len(), "lengths of I/O memory and slice");
        // SAFETY: `data` is as long, and a shared borrow overlaps nothing that is written to.
        unsafe { Self::Backend::copy_to_io(self.as_view(), data.as_ptr()) };
    }

    /// Copies the target out to `data`.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[inline]
    #[track_caller]
    fn copy_to_slice(self, data: &mut [u8])
    where
        Self: Io<'a, Target = [u8]>,
        Self::Backend: IoCopyable,
    {
        assert_eq!(Io::len(self), data.len(), "lengths of I/O memory and slice");
        // SAFETY: `data` is as long, and an exclusive borrow overlaps nothing.
        unsafe { Self::Backend::copy_from_io(self.as_view(), data.as_mut_ptr()) };
    }

    accessors_by_width! {
        "8" u8: read8 write8 try_read8 try_write8;
        "16" u16: read16 write16 try_read16 try_write16;
        "32" u32: read32 write32 try_read32 try_write32;
        "64" u64: read64 write64 try_read64 try_write64;
    }

    /// Reads what is at `location`, provably in bounds and aligned.
    #[inline(always)]
    #[track_caller]
    fn read<T, L: IoLoc<Self::Target, T>>(self, location: L) -> T
    where
        Self::Backend: IoCapable<L::IoType>,
    {
        proven_view::<_, L::IoType>(self, location.offset()).read_val().into()
    }

    /// Writes `value` to `location`, provably in bounds and aligned.
    #[inline(always)]
    #[track_caller]
    fn write<T, L: IoLoc<Self::Target, T>>(self, location: L, value: T)
    where
        Self::Backend: IoCapable<L::IoType>,
    {
        proven_view::<_, L::IoType>(self, location.offset()).write_val(value.into());
    }

    /// Writes a register value that knows its own location, provably in bounds and aligned.
    #[inline(always)]
    #[track_caller]
    fn write_reg<T, L: IoLoc<Self::Target, T>, V>(self, value: V)
    where
        V: LocatedRegister<Self::Target, Location = L, Value = T>,
        Self::Backend: IoCapable<L::IoType>,
    {
        let (location, value) = value.into_io_op();
        self.write(location, value);
    }

    /// Reads what is at `location`, provably in bounds and aligned, and writes what `f` makes of it: two accesses,
    /// between which others may come.
    #[inline(always)]
    #[track_caller]
    fn update<T, L: IoLoc<Self::Target, T>, F: FnOnce(T) -> T>(self, location: L, f: F)
    where
        Self::Backend: IoCapable<L::IoType>,
    {
        let view = proven_view::<_, L::IoType>(self, location.offset());
        view.write_val(f(view.read_val().into()).into());
    }

    /// Reads what is at `location`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that is out of bounds or not aligned.
    #[inline(always)]
    #[track_caller]
    fn try_read<T, L: IoLoc<Self::Target, T>>(self, location: L) -> Result<T>
    where
        Self::Backend: IoCapable<L::IoType>,
    {
        let view = checked_view::<_, L::IoType>(self, location.offset())?;
        Ok(view.read_val().into())
    }

    /// Writes `value` to `location`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that is out of bounds or not aligned.
    #[inline(always)]
    #[track_caller]
    fn try_write<T, L: IoLoc<Self::Target, T>>(self, location: L, value: T) -> Result
    where
        Self::Backend: IoCapable<L::IoType>,
    {
        let view = checked_view::<_, L::IoType>(self, location.offset())?;
        view.write_val(value.into());
        Ok(())
    }

    /// Writes a register value that knows its own location.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that is out of bounds or not aligned.
    #[inline(always)]
    #[track_caller]
    fn try_write_reg<T, L: IoLoc<Self::Target, T>, V>(self, value: V) -> Result
    where
        V: LocatedRegister<Self::Target, Location = L, Value = T>,
        Self::Backend: IoCapable<L::IoType>,
    {
        let (location, value) = value.into_io_op();
        self.try_write(location, value)
    }

    /// Reads what is at `location` and writes what `f` makes of it: two accesses, between which others may come.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the location is out of bounds or not aligned; `f` is not called then.
    #[inline(always)]
    #[track_caller]
    fn try_update<T, L: IoLoc<Self::Target, T>, F: FnOnce(T) -> T>(self, location: L, f: F) -> Result
    where
        Self::Backend: IoCapable<L::IoType>,
    {
        let view = checked_view::<_, L::IoType>(self, location.offset())?;
        view.write_val(f(view.read_val().into()).into());
        Ok(())
    }
}

impl<'a, T: IoBase<'a>> Io<'a> for T {}

/// Makes a view as freely copyable as the address it is, whatever it is a view of.
macro_rules! copy_like_an_address {
    ($($view:ty),*) => {$(
        impl<T: ?Sized> Clone for $view {
            #[inline(always)]
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T: ?Sized> Copy for $view {}
    )*};
}
use copy_like_an_address;
