//! [`Box`]: one value in an allocation of its own.

use super::allocator::{KVmalloc, Kmalloc, Vmalloc, VmallocPageIter};
use super::flags::__GFP_ZERO;
use super::{AllocError, Allocator, Flags, NumaNode, Vec};
use crate::ffi::c_void;
use crate::fmt;
use crate::init::InPlaceInit;
use crate::page::AsPageIter;
use crate::types::ForeignOwnable;
use core::alloc::Layout;
use core::borrow::{Borrow, BorrowMut};
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::ptr::NonNull;
use pin_init::{InPlaceWrite, Init, PinInit, Zeroable, ZeroableOption};

/// A value in an allocation of its own, freed with the value.
///
/// Unlike the standard library's box it says which heap it uses, and making one can fail and takes [`Flags`]. Moving the
/// value out takes [`Box::into_inner`].
///
/// Differs from Linux: turning a box into one of a trait object needs the crate's feature `unsizing`.
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
///
/// let mut counter = KBox::new(7u32, GFP_KERNEL)?;
/// *counter += 1;
/// assert_eq!(*counter, 8);
/// # Ok::<(), Error>(())
/// ```
// The pointer is that of a block of `A`'s with a valid `T`, or dangling and aligned when `T` has no bytes.
#[repr(transparent)]
#[cfg_attr(feature = "unsizing", derive(core::marker::CoercePointee))]
pub struct Box<#[cfg_attr(feature = "unsizing", pointee)] T: ?Sized, A: Allocator>(NonNull<T>, PhantomData<A>);

/// A box in [`Kmalloc`] memory.
pub type KBox<T> = Box<T, Kmalloc>;

/// A box in [`Vmalloc`] memory.
pub type VBox<T> = Box<T, Vmalloc>;

/// A box in [`KVmalloc`] memory.
pub type KVBox<T> = Box<T, KVmalloc>;

// SAFETY: a box owns its value, so it may go where the value may go.
unsafe impl<T: Send + ?Sized, A: Allocator> Send for Box<T, A> {}

// SAFETY: a shared box gives shared access to its value only.
unsafe impl<T: Sync + ?Sized, A: Allocator> Sync for Box<T, A> {}

// SAFETY: the pointer of a box is not null, so all zeroes is `None`.
unsafe impl<T, A: Allocator> ZeroableOption for Box<T, A> {}

impl<T: ?Sized, A: Allocator> Box<T, A> {
    /// Makes a box of the pointer that [`into_raw`](Self::into_raw) returned.
    ///
    /// # Safety
    ///
    /// The pointer must be that of a block of `A`'s, fit for and holding a `T`, that nothing else owns; for a type
    /// without bytes it must be aligned and not null.
    pub const unsafe fn from_raw(raw: *mut T) -> Self {
        // SAFETY: neither a block nor an aligned pointer is null.
        Self(unsafe { NonNull::new_unchecked(raw) }, PhantomData)
    }

    /// Gives the value and its memory away as a pointer. Neither is freed unless the pointer becomes a box again.
    pub fn into_raw(b: Self) -> *mut T {
        ManuallyDrop::new(b).0.as_ptr()
    }

    /// Gives the value away as a reference; it and its memory are never freed.
    pub fn leak<'a>(b: Self) -> &'a mut T {
        let raw = Self::into_raw(b);
        // SAFETY: the value is valid and nobody else's now.
        unsafe { &mut *raw }
    }
}

impl<T, A: Allocator> Box<T, A> {
    /// Allocates and puts a value in. Without memory the value is dropped.
    #[track_caller]
    pub fn new(x: T, flags: Flags) -> Result<Self, AllocError> {
        Self::new_uninit(flags).map(|empty| empty.write(x))
    }

    /// Allocates memory for a value.
    #[track_caller]
    pub fn new_uninit(flags: Flags) -> Result<Box<MaybeUninit<T>, A>, AllocError> {
        let block = A::alloc(Layout::new::<T>(), flags, NumaNode::NO_NODE)?;
        Ok(Box(block.cast(), PhantomData))
    }

    /// Allocates a value of zero bytes.
    #[track_caller]
    pub fn zeroed(flags: Flags) -> Result<Self, AllocError>
    where
        T: Zeroable,
    {
        let zeroes = Self::new_uninit(flags | __GFP_ZERO)?;
        // SAFETY: the memory is zeroed, which is a value of the type.
        Ok(unsafe { zeroes.assume_init() })
    }

    /// As [`new`](Self::new), pinned.
    #[track_caller]
    pub fn pin(x: T, flags: Flags) -> Result<Pin<Box<T, A>>, AllocError>
    where
        A: 'static,
    {
        Self::new(x, flags).map(Self::into_pin)
    }

    /// Allocates a pinned slice whose elements are initialised one after the other, each by what `init` returns for its
    /// index.
    ///
    /// When one fails, those before it are dropped.
    #[track_caller]
    pub fn pin_slice<Func, Item, E>(mut init: Func, len: usize, flags: Flags) -> Result<Pin<Box<[T], A>>, E>
    where
        Func: FnMut(usize) -> Item,
        Item: PinInit<T, E>,
        E: From<AllocError>,
    {
        let mut elements = Vec::<T, A>::with_capacity(len, flags)?;
        for index in 0..len {
            let slot = elements.spare_capacity_mut().as_mut_ptr().cast::<T>();
            // SAFETY: `len` elements have room and fewer than that were initialised, so this is the next free place; the
            // vector never moves its elements from here on.
            unsafe { pin_init::raw_try_init(slot, init(index)) }?;
            // SAFETY: the element was initialised.
            unsafe { elements.inc_len(1) };
        }

        let (first, _, _) = elements.into_raw_parts();
        // SAFETY: with the capacity asked for at once, the memory is that of a slice of `len` elements.
        let slice = unsafe { Box::<[T], A>::from_raw(core::ptr::slice_from_raw_parts_mut(first, len)) };
        Ok(Pin::from(slice))
    }

    /// Pins the value where it is.
    pub fn into_pin(this: Self) -> Pin<Self> {
        Pin::from(this)
    }

    /// Drops the value and keeps its memory.
    pub fn drop_contents(this: Self) -> Box<MaybeUninit<T>, A> {
        let mut emptied = Self::forget_contents(this);
        // SAFETY: the memory still holds the value, which nothing uses any more.
        unsafe { emptied.assume_init_drop() };
        emptied
    }

    /// Moves the value out and frees its memory.
    pub fn into_inner(b: Self) -> T {
        let emptied = Self::forget_contents(b);
        // SAFETY: the memory still holds the value, and only this copy of it is used.
        unsafe { emptied.assume_init_read() }
    }

    /// Keeps the memory and its bytes, but not the duty to drop the value.
    fn forget_contents(this: Self) -> Box<MaybeUninit<T>, A> {
        // SAFETY: the memory is a block for a `T`, so also for a `MaybeUninit<T>`.
        unsafe { Box::from_raw(Self::into_raw(this).cast()) }
    }
}

impl<T, A: Allocator> Box<MaybeUninit<T>, A> {
    /// Says that the memory holds a value.
    ///
    /// # Safety
    ///
    /// It must.
    pub unsafe fn assume_init(self) -> Box<T, A> {
        // SAFETY: the memory is a block for a `T`, and the caller says that it holds one.
        unsafe { Box::from_raw(Self::into_raw(self).cast()) }
    }

    /// Puts a value in.
    pub fn write(mut self, value: T) -> Box<T, A> {
        MaybeUninit::write(&mut self, value);
        // SAFETY: it was just written.
        unsafe { self.assume_init() }
    }
}

impl<T: ?Sized, A: Allocator> Drop for Box<T, A> {
    fn drop(&mut self) {
        let layout = Layout::for_value(&**self);
        // SAFETY: the value is valid and not used again; its memory is a block of this layout, or none.
        unsafe {
            self.0.drop_in_place();
            A::free(self.0.cast(), layout);
        }
    }
}

impl<T: ?Sized, A: Allocator> Deref for Box<T, A> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value is valid and shared only as the box is.
        unsafe { self.0.as_ref() }
    }
}

impl<T: ?Sized, A: Allocator> DerefMut for Box<T, A> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the value is valid and lent out only as the box is.
        unsafe { self.0.as_mut() }
    }
}

impl<T: ?Sized, A: Allocator> From<Box<T, A>> for Pin<Box<T, A>> {
    /// Pins the value where it is.
    fn from(b: Box<T, A>) -> Self {
        // SAFETY: the value does not move when its box does, and a pinned box does not give it out.
        unsafe { Pin::new_unchecked(b) }
    }
}

impl<T, A: Allocator + 'static> InPlaceWrite<T> for Box<MaybeUninit<T>, A> {
    type Initialized = Box<T, A>;

    fn write_pin_init<E>(mut self, init: impl PinInit<T, E>) -> Result<Pin<Box<T, A>>, E> {
        // SAFETY: the memory is free for a `T`; it is given up after an error and pinned otherwise.
        unsafe { pin_init::raw_try_init(self.as_mut_ptr(), init) }?;
        // SAFETY: it was just initialised.
        Ok(Box::into_pin(unsafe { self.assume_init() }))
    }

    fn write_init<E>(mut self, init: impl Init<T, E>) -> Result<Box<T, A>, E> {
        // SAFETY: the memory is free for a `T`; it is given up after an error, and the value may move otherwise.
        unsafe { pin_init::raw_try_init(self.as_mut_ptr(), init) }?;
        // SAFETY: it was just initialised.
        Ok(unsafe { self.assume_init() })
    }
}

impl<T, A: Allocator + 'static> InPlaceInit<T> for Box<T, A> {
    type PinnedSelf = Pin<Self>;

    fn try_pin_init<E: From<AllocError>>(init: impl PinInit<T, E>, flags: Flags) -> Result<Pin<Self>, E> {
        Self::new_uninit(flags)?.write_pin_init(init)
    }

    fn try_init<E: From<AllocError>>(init: impl Init<T, E>, flags: Flags) -> Result<Self, E> {
        Self::new_uninit(flags)?.write_init(init)
    }
}

// SAFETY: the pointer is that of the value: not null, and aligned as the heap and the type say.
unsafe impl<T, A: Allocator> ForeignOwnable for Box<T, A> {
    #[rustfmt::skip]
    type Borrowed<'a> = &'a T where Self: 'a;
    #[rustfmt::skip]
    type BorrowedMut<'a> = &'a mut T where Self: 'a;

    const FOREIGN_ALIGN: usize = [A::MIN_ALIGN, align_of::<T>()][(A::MIN_ALIGN < align_of::<T>()) as usize];

    fn into_foreign(self) -> *mut c_void {
        Self::into_raw(self).cast()
    }

    unsafe fn from_foreign(ptr: *mut c_void) -> Self {
        // SAFETY: the pointer comes from `into_foreign`, so from `into_raw`.
        unsafe { Self::from_raw(ptr.cast()) }
    }

    unsafe fn borrow<'a>(ptr: *mut c_void) -> &'a T {
        // SAFETY: the value is valid, and the caller borrows it shared.
        unsafe { &*ptr.cast::<T>() }
    }

    unsafe fn borrow_mut<'a>(ptr: *mut c_void) -> &'a mut T {
        // SAFETY: the value is valid, and the caller borrows it alone.
        unsafe { &mut *ptr.cast::<T>() }
    }
}

// SAFETY: as for the box without the pin.
unsafe impl<T, A: Allocator> ForeignOwnable for Pin<Box<T, A>> {
    #[rustfmt::skip]
    type Borrowed<'a> = Pin<&'a T> where Self: 'a;
    #[rustfmt::skip]
    type BorrowedMut<'a> = Pin<&'a mut T> where Self: 'a;

    const FOREIGN_ALIGN: usize = Box::<T, A>::FOREIGN_ALIGN;

    fn into_foreign(self) -> *mut c_void {
        // SAFETY: foreign code does not move the value.
        unsafe { Pin::into_inner_unchecked(self) }.into_foreign()
    }

    unsafe fn from_foreign(ptr: *mut c_void) -> Self {
        // SAFETY: the pointer comes from `into_foreign` above.
        Self::from(unsafe { Box::from_foreign(ptr) })
    }

    unsafe fn borrow<'a>(ptr: *mut c_void) -> Pin<&'a T> {
        // SAFETY: the value is valid, pinned since it was given away, and the caller borrows it shared.
        unsafe { Pin::new_unchecked(&*ptr.cast::<T>()) }
    }

    unsafe fn borrow_mut<'a>(ptr: *mut c_void) -> Pin<&'a mut T> {
        // SAFETY: the value is valid, pinned since it was given away, and the caller borrows it alone.
        unsafe { Pin::new_unchecked(&mut *ptr.cast::<T>()) }
    }
}

impl<T: ?Sized, A: Allocator> Borrow<T> for Box<T, A> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized, A: Allocator> BorrowMut<T> for Box<T, A> {
    fn borrow_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: fmt::Display + ?Sized, A: Allocator> fmt::Display for Box<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: fmt::Debug + ?Sized, A: Allocator> fmt::Debug for Box<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T> AsPageIter for VBox<T> {
    #[rustfmt::skip]
    type Iter<'a> = VmallocPageIter<'a> where T: 'a;

    fn page_iter(&mut self) -> Self::Iter<'_> {
        // SAFETY: the block has room for a `T`, and it is borrowed while its pages are.
        unsafe { VmallocPageIter::new(self.0.cast(), size_of::<T>()) }
    }
}
