//! Types that most of the crate builds on: opaque memory, guards, ownership by foreign code.

use crate::ffi::c_void;
use core::cell::UnsafeCell;
use core::marker::{PhantomData, PhantomPinned};
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use pin_init::{PinInit, Wrapper, Zeroable};

#[doc(hidden)]
pub mod for_lt;
pub use for_lt::{CovariantForLt, ForLt};

/// Pointers that can be lent to foreign code as a `void *` and come back.
///
/// This is how Rust data sits behind a `driver_data` or `private` field.
///
/// # Safety
///
/// [`into_foreign`](Self::into_foreign) must return what its documentation promises.
pub unsafe trait ForeignOwnable: Sized {
    /// What the foreign pointer can be borrowed as.
    type Borrowed<'a>
    where
        Self: 'a;

    /// What the foreign pointer can be borrowed as when nobody else borrows it. Pointers that share, like `Arc`, have the
    /// same here as in [`Borrowed`](Self::Borrowed).
    type BorrowedMut<'a>
    where
        Self: 'a;

    /// The alignment in bytes of the foreign pointer.
    const FOREIGN_ALIGN: usize;

    /// Gives the value away. The pointer is not null and has [`FOREIGN_ALIGN`](Self::FOREIGN_ALIGN); nothing else is
    /// known about it, and only the functions of this trait may use it.
    fn into_foreign(self) -> *mut c_void;

    /// Takes the value back.
    ///
    /// # Safety
    ///
    /// The pointer must come from [`into_foreign`](Self::into_foreign), be taken back once only, and not be borrowed.
    unsafe fn from_foreign(ptr: *mut c_void) -> Self;

    /// Takes the value back, or `None` from a null pointer.
    ///
    /// # Safety
    ///
    /// As for [`from_foreign`](Self::from_foreign), unless the pointer is null.
    unsafe fn try_from_foreign(ptr: *mut c_void) -> Option<Self> {
        // SAFETY: the caller's contract, for a pointer that is not null.
        (!ptr.is_null()).then(|| unsafe { Self::from_foreign(ptr) })
    }

    /// Borrows the value while foreign code owns it.
    ///
    /// # Safety
    ///
    /// The pointer must come from [`into_foreign`](Self::into_foreign), and during `'a` it must neither be taken back nor
    /// borrowed mutably.
    unsafe fn borrow<'a>(ptr: *mut c_void) -> Self::Borrowed<'a>;

    /// Borrows the value alone while foreign code owns it. What the pointer points at may change, but not the pointer.
    ///
    /// # Safety
    ///
    /// The pointer must come from [`into_foreign`](Self::into_foreign), and during `'a` it must neither be taken back nor
    /// borrowed otherwise.
    unsafe fn borrow_mut<'a>(ptr: *mut c_void) -> Self::BorrowedMut<'a>;
}

// SAFETY: a dangling pointer is not null and aligned for `()`.
unsafe impl ForeignOwnable for () {
    type Borrowed<'a> = ();
    type BorrowedMut<'a> = ();
    const FOREIGN_ALIGN: usize = 1;

    fn into_foreign(self) -> *mut c_void {
        NonNull::<c_void>::dangling().as_ptr()
    }

    unsafe fn from_foreign(_ptr: *mut c_void) -> Self {}
    unsafe fn borrow<'a>(_ptr: *mut c_void) -> Self::Borrowed<'a> {}
    unsafe fn borrow_mut<'a>(_ptr: *mut c_void) -> Self::BorrowedMut<'a> {}
}

/// Runs a cleanup when it goes out of scope, unless it was dismissed; it may hold the data to clean up.
///
/// # Examples
///
/// ```
/// use core::cell::Cell;
/// use kernel::types::ScopeGuard;
///
/// let powered = Cell::new(true);
/// let setup = |works: bool| {
///     let power_down = ScopeGuard::new(|| powered.set(false));
///     if works {
///         power_down.dismiss();
///     }
/// };
/// setup(true);
/// assert!(powered.get());
/// setup(false);
/// assert!(!powered.get());
/// ```
pub struct ScopeGuard<T, F: FnOnce(T)>(
    /// `None` once the guard is dismissed.
    Option<(T, F)>,
);

impl ScopeGuard<(), fn(())> {
    /// Guards a scope with a cleanup.
    pub fn new(cleanup: impl FnOnce()) -> ScopeGuard<(), impl FnOnce(())> {
        ScopeGuard::new_with_data((), move |()| cleanup())
    }
}

impl<T, F: FnOnce(T)> ScopeGuard<T, F> {
    /// What a guard that nobody dismissed holds.
    const HELD: &'static str = "only `dismiss` empties a guard, and it consumes it";

    /// Guards data with a cleanup that gets it.
    pub fn new_with_data(data: T, cleanup_func: F) -> Self {
        Self(Some((data, cleanup_func)))
    }

    /// Returns the data; the cleanup does not run.
    pub fn dismiss(mut self) -> T {
        let (data, _cleanup) = self.0.take().expect(Self::HELD);
        data
    }
}

impl<T, F: FnOnce(T)> Deref for ScopeGuard<T, F> {
    type Target = T;

    fn deref(&self) -> &T {
        let (data, _) = self.0.as_ref().expect(Self::HELD);
        data
    }
}

impl<T, F: FnOnce(T)> DerefMut for ScopeGuard<T, F> {
    fn deref_mut(&mut self) -> &mut T {
        let (data, _) = self.0.as_mut().expect(Self::HELD);
        data
    }
}

impl<T, F: FnOnce(T)> Drop for ScopeGuard<T, F> {
    fn drop(&mut self) {
        if let Some((data, cleanup)) = self.0.take() {
            cleanup(data);
        }
    }
}

/// Memory for a `T` about which nothing is assumed: it may be uninitialised, change behind a shared reference, and be
/// aliased through a mutable one. It is neither `Sync` nor `Unpin`, and dropping it does nothing.
#[repr(transparent)]
pub struct Opaque<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    _pin: PhantomPinned,
}

// SAFETY: any bytes are a valid `Opaque`.
unsafe impl<T> Zeroable for Opaque<T> {}

impl<T> Opaque<T> {
    const fn holding(value: MaybeUninit<T>) -> Self {
        Self { value: UnsafeCell::new(value), _pin: PhantomPinned }
    }

    /// Makes one that holds a value.
    pub const fn new(value: T) -> Self {
        Self::holding(MaybeUninit::new(value))
    }

    /// Makes one that holds nothing yet.
    pub const fn uninit() -> Self {
        Self::holding(MaybeUninit::uninit())
    }

    /// Makes one that holds zero bytes.
    pub const fn zeroed() -> Self {
        Self::holding(MaybeUninit::zeroed())
    }

    /// Returns an initialiser that lets a function set the memory up; the function may only write to it.
    pub fn ffi_init(init_func: impl FnOnce(*mut T)) -> impl PinInit<Self> {
        Self::try_ffi_init(move |slot| {
            init_func(slot);
            Ok(())
        })
    }

    /// As [`ffi_init`](Self::ffi_init), for a function that may fail; it cleans up after itself then.
    pub fn try_ffi_init<E>(init_func: impl FnOnce(*mut T) -> Result<(), E>) -> impl PinInit<Self, E> {
        // SAFETY: an `Opaque` needs no initialisation, whatever the function does to the memory.
        unsafe { pin_init::pin_init_from_closure(move |slot: *mut Self| init_func(Self::cast_into(slot))) }
    }

    /// Returns a pointer to the memory.
    pub const fn get(&self) -> *mut T {
        Self::cast_into(self)
    }

    /// Turns a pointer to an `Opaque` into one to its memory, without a reference in between.
    pub const fn cast_into(this: *const Self) -> *mut T {
        UnsafeCell::raw_get(this.cast::<UnsafeCell<MaybeUninit<T>>>()).cast()
    }

    /// Turns a pointer to the memory into one to its `Opaque`.
    pub const fn cast_from(this: *const T) -> *const Self {
        this.cast()
    }
}

impl<T> Wrapper<T> for Opaque<T> {
    fn pin_init<E>(init: impl PinInit<T, E>) -> impl PinInit<Self, E> {
        // SAFETY: the slot is valid for writes and stays where it is, since an `Opaque` is pinned.
        Self::try_ffi_init(move |slot| unsafe { pin_init::raw_try_init(slot, init) })
    }
}

/// A field of this type makes a structure neither `Send` nor `Sync`: it belongs to the task that made it.
pub type NotThreadSafe = PhantomData<*mut ()>;

/// The value of the type [`NotThreadSafe`](type@NotThreadSafe).
#[allow(non_upper_case_globals, reason = "it is written like the unit structure it replaces")]
pub const NotThreadSafe: NotThreadSafe = PhantomData;
