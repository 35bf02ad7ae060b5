//! [`Arc`]: a value with a reference count, pinned, in `kmalloc` memory.

use super::Refcount;
use crate::alloc::{AllocError, Flags, KBox};
use crate::ffi::c_void;
use crate::fmt;
use crate::init::InPlaceInit;
use crate::types::ForeignOwnable;
use core::any::Any;
use core::borrow::{Borrow, BorrowMut};
use core::marker::PhantomData;
use core::mem::{align_of_val, offset_of, ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::ptr::NonNull;
use pin_init::{InPlaceWrite, Init, PinInit};

/// A shared value that is dropped with its last [`Arc`]. There are no weak references, and the value never moves.
///
/// Differs from Linux: turning an `Arc` into one of a trait object needs the crate's feature `unsizing`.
///
/// # Examples
///
/// ```
/// use kernel::{prelude::*, sync::Arc};
///
/// let limits = Arc::new([64u32, 4096], GFP_KERNEL)?;
/// let also = limits.clone();
/// drop(limits);
/// assert_eq!(also[1], 4096);
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
#[cfg_attr(feature = "unsizing", derive(core::marker::CoercePointee))]
pub struct Arc<T: ?Sized> {
    ptr: NonNull<ArcInner<T>>,
    // Tells the drop checker that dropping an `Arc` may drop a `T`.
    _value: PhantomData<ArcInner<T>>,
}

/// What an [`Arc`] points to. In C's order, because `from_raw` goes from the value back to the count.
#[repr(C)]
struct ArcInner<T: ?Sized> {
    refcount: Refcount,
    data: T,
}

// SAFETY: whoever has the last `Arc` drops the value, so it must be `Send`; others share it, so it must be `Sync`.
unsafe impl<T: ?Sized + Send + Sync> Send for Arc<T> {}

// SAFETY: as above, since a shared `Arc` can be cloned.
unsafe impl<T: ?Sized + Send + Sync> Sync for Arc<T> {}

impl<T> Arc<T> {
    /// Where the value is within the allocation, in bytes.
    pub const DATA_OFFSET: usize = offset_of!(ArcInner<T>, data);

    /// Allocates and shares a value. Without memory the value is dropped.
    #[track_caller]
    pub fn new(contents: T, flags: Flags) -> Result<Self, AllocError> {
        UniqueArc::new(contents, flags).map(Self::from)
    }
}

impl<T: ?Sized> Arc<T> {
    /// Takes over one reference.
    ///
    /// # Safety
    ///
    /// The caller must own it, and not count it down itself.
    unsafe fn from_inner(ptr: NonNull<ArcInner<T>>) -> Self {
        Self { ptr, _value: PhantomData }
    }

    fn refcount(&self) -> &Refcount {
        // SAFETY: the allocation stays while a reference is held.
        unsafe { &(*self.ptr.as_ptr()).refcount }
    }

    /// Returns a pointer to the value, valid while any `Arc` of it is.
    pub fn as_ptr(this: &Self) -> *const T {
        let inner = this.ptr.as_ptr();
        // SAFETY: the allocation stays while a reference is held.
        unsafe { &raw const (*inner).data }
    }

    /// Gives the reference away as a pointer to the value.
    pub fn into_raw(self) -> *const T {
        Self::as_ptr(&ManuallyDrop::new(self))
    }

    /// Takes back a reference that [`into_raw`](Self::into_raw) gave away.
    ///
    /// # Safety
    ///
    /// The pointer must come from there, and each may be taken back once.
    pub unsafe fn from_raw(ptr: *const T) -> Self {
        // SAFETY: the caller's contract: the pointer is that of a shared value, and carries a reference.
        unsafe { Self::from_inner(inner_of(ptr)) }
    }

    /// Borrows the reference, for functions that may want one of their own.
    pub fn as_arc_borrow(&self) -> ArcBorrow<'_, T> {
        ArcBorrow { inner: self.ptr, _arc: PhantomData }
    }

    /// Says whether two `Arc`s share one value.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        core::ptr::addr_eq(this.ptr.as_ptr(), other.ptr.as_ptr())
    }

    /// Gives the reference up, unless it is the only one: then it returns the value for changing.
    pub fn into_unique_or_drop(this: Self) -> Option<Pin<UniqueArc<T>>> {
        let this = ManuallyDrop::new(this);
        if !this.refcount().dec_and_test() {
            return None;
        }
        // It was the only reference, and it is used again instead of freeing the value.
        this.refcount().set(1);
        Some(Pin::from(UniqueArc { inner: ManuallyDrop::into_inner(this) }))
    }
}

/// Goes from a shared value to the whole allocation.
///
/// # Safety
///
/// The pointer must come from [`Arc::into_raw`], and a reference must be held.
unsafe fn inner_of<T: ?Sized>(value: *const T) -> NonNull<ArcInner<T>> {
    // SAFETY: the value is there while a reference is held.
    let align = align_of_val(unsafe { &*value });
    let offset = size_of::<Refcount>().next_multiple_of(align);
    // The value is the last field, so both pointers carry the same metadata.
    let inner = value as *const ArcInner<T>;
    // SAFETY: in C's order the value stands behind the count at the next aligned place, within one allocation.
    unsafe { NonNull::new_unchecked(inner.byte_sub(offset).cast_mut()) }
}

impl<T: ?Sized> Clone for Arc<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        self.refcount().inc();
        // SAFETY: the reference that was just counted is the new one's.
        unsafe { Self::from_inner(self.ptr) }
    }
}

impl<T: ?Sized> Drop for Arc<T> {
    fn drop(&mut self) {
        if self.refcount().dec_and_test() {
            // SAFETY: the allocation was made as a box, and the last reference to it is gone.
            drop(unsafe { KBox::from_raw(self.ptr.as_ptr()) });
        }
    }
}

impl<T: ?Sized> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value stays while a reference is held, and is only shared.
        unsafe { &*Self::as_ptr(self) }
    }
}

impl<T: ?Sized> AsRef<T> for Arc<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized> Borrow<T> for Arc<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized> From<UniqueArc<T>> for Arc<T> {
    fn from(unique: UniqueArc<T>) -> Self {
        unique.inner
    }
}

impl<T: ?Sized> From<Pin<UniqueArc<T>>> for Arc<T> {
    fn from(unique: Pin<UniqueArc<T>>) -> Self {
        // SAFETY: an `Arc` does not move its value either.
        unsafe { Pin::into_inner_unchecked(unique) }.inner
    }
}

impl<T: ?Sized> From<ArcBorrow<'_, T>> for Arc<T> {
    #[track_caller]
    fn from(borrow: ArcBorrow<'_, T>) -> Self {
        // SAFETY: the reference is borrowed, so this `Arc` must not be dropped.
        let lent = ManuallyDrop::new(unsafe { Self::from_inner(borrow.inner) });
        Self::clone(&lent)
    }
}

impl Arc<dyn Any + Send + Sync> {
    /// Returns the `Arc` of the type the value has, or the same `Arc` when it has another.
    pub fn downcast<T: Any + Send + Sync>(self) -> Result<Arc<T>, Self> {
        if !(*self).is::<T>() {
            return Err(self);
        }
        let inner = ManuallyDrop::new(self).ptr.cast::<ArcInner<T>>();
        // SAFETY: the value is a `T`, and the reference is the new `Arc`'s.
        Ok(unsafe { Arc::from_inner(inner) })
    }
}

impl<T> InPlaceInit<T> for Arc<T> {
    /// An `Arc` is always pinned.
    type PinnedSelf = Self;

    fn try_pin_init<E: From<AllocError>>(init: impl PinInit<T, E>, flags: Flags) -> Result<Self, E> {
        UniqueArc::try_pin_init(init, flags).map(Self::from)
    }

    fn try_init<E: From<AllocError>>(init: impl Init<T, E>, flags: Flags) -> Result<Self, E> {
        UniqueArc::try_init(init, flags).map(Self::from)
    }
}

// SAFETY: the pointer is that of the allocation, which is a box.
unsafe impl<T: 'static> ForeignOwnable for Arc<T> {
    type Borrowed<'a> = ArcBorrow<'a, T>;
    type BorrowedMut<'a> = ArcBorrow<'a, T>;
    const FOREIGN_ALIGN: usize = KBox::<ArcInner<T>>::FOREIGN_ALIGN;

    fn into_foreign(self) -> *mut c_void {
        ManuallyDrop::new(self).ptr.as_ptr().cast()
    }

    unsafe fn from_foreign(ptr: *mut c_void) -> Self {
        // SAFETY: the pointer comes from `into_foreign`, so it is not null and carries a reference.
        unsafe { Self::from_inner(NonNull::new_unchecked(ptr.cast())) }
    }

    unsafe fn borrow<'a>(ptr: *mut c_void) -> ArcBorrow<'a, T> {
        // SAFETY: the pointer comes from `into_foreign`, so it is not null.
        let inner = unsafe { NonNull::new_unchecked(ptr.cast()) };
        // Foreign code holds the reference for `'a`.
        ArcBorrow { inner, _arc: PhantomData }
    }

    unsafe fn borrow_mut<'a>(ptr: *mut c_void) -> ArcBorrow<'a, T> {
        // SAFETY: who borrows alone may share.
        unsafe { <Self as ForeignOwnable>::borrow(ptr) }
    }
}

/// A reference held by somebody else for `'a`. It can be copied freely, and turned into an [`Arc`] of one's own.
#[repr(transparent)]
#[cfg_attr(feature = "unsizing", derive(core::marker::CoercePointee))]
pub struct ArcBorrow<'a, T: ?Sized + 'a> {
    inner: NonNull<ArcInner<T>>,
    _arc: PhantomData<&'a ()>,
}

impl<T: ?Sized> Copy for ArcBorrow<'_, T> {}

impl<T: ?Sized> Clone for ArcBorrow<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> ArcBorrow<'_, T> {
    /// Borrows a reference that was given away as a pointer.
    ///
    /// # Safety
    ///
    /// The pointer must come from [`Arc::into_raw`], and the reference must not be taken back during the lifetime.
    pub unsafe fn from_raw(ptr: *const T) -> Self {
        // SAFETY: the caller's contract: the reference is held.
        let inner = unsafe { inner_of(ptr) };
        Self { inner, _arc: PhantomData }
    }
}

impl<T: ?Sized> Deref for ArcBorrow<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value stays while the reference is held, and is only shared.
        unsafe { &(*self.inner.as_ptr()).data }
    }
}

/// The only reference to a value, which may therefore be changed, or not be there yet.
///
/// It turns into an [`Arc`] without allocating.
pub struct UniqueArc<T: ?Sized> {
    inner: Arc<T>,
}

impl<T> UniqueArc<T> {
    /// Allocates and holds a value. Without memory the value is dropped.
    #[track_caller]
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        Self::new_uninit(flags).map(|empty| empty.write(value))
    }

    /// Allocates memory for a value.
    #[track_caller]
    pub fn new_uninit(flags: Flags) -> Result<UniqueArc<MaybeUninit<T>>, AllocError> {
        let memory = KBox::<ArcInner<MaybeUninit<T>>>::new_uninit(flags)?;
        let inner = KBox::leak(memory).as_mut_ptr();
        // SAFETY: the memory is new, and after the count is written it holds all that it must; it is not null.
        let inner = unsafe {
            (&raw mut (*inner).refcount).write(Refcount::new(1));
            NonNull::new_unchecked(inner)
        };
        // SAFETY: the count of one is for this reference.
        Ok(UniqueArc { inner: unsafe { Arc::from_inner(inner) } })
    }
}

impl<T: ?Sized> UniqueArc<T> {
    /// Returns a pointer to the value.
    pub fn as_ptr(this: &Self) -> *const T {
        Arc::as_ptr(&this.inner)
    }
}

impl<T> UniqueArc<MaybeUninit<T>> {
    /// Puts a value in.
    pub fn write(mut self, value: T) -> UniqueArc<T> {
        MaybeUninit::write(&mut self, value);
        // SAFETY: it was just written.
        unsafe { self.assume_init() }
    }

    /// Says that the memory holds a value.
    ///
    /// # Safety
    ///
    /// It must.
    pub unsafe fn assume_init(self) -> UniqueArc<T> {
        let inner = ManuallyDrop::new(self).inner.ptr.cast::<ArcInner<T>>();
        // SAFETY: the reference goes over, and the caller says that the value is there.
        UniqueArc { inner: unsafe { Arc::from_inner(inner) } }
    }

    /// Initialises the value. After an error the memory is free again.
    pub fn init_with<E>(self, init: impl Init<T, E>) -> Result<UniqueArc<T>, E> {
        self.write_init(init)
    }

    /// Initialises the value where it will stay. After an error the memory is free again.
    pub fn pin_init_with<E>(self, init: impl PinInit<T, E>) -> Result<Pin<UniqueArc<T>>, E> {
        self.write_pin_init(init)
    }
}

impl<T> InPlaceWrite<T> for UniqueArc<MaybeUninit<T>> {
    type Initialized = UniqueArc<T>;

    fn write_pin_init<E>(mut self, init: impl PinInit<T, E>) -> Result<Pin<UniqueArc<T>>, E> {
        // SAFETY: the memory is free for a `T`; it is given up after an error and pinned otherwise.
        unsafe { pin_init::raw_try_init(self.as_mut_ptr(), init) }?;
        // SAFETY: it was just initialised.
        Ok(Pin::from(unsafe { self.assume_init() }))
    }

    fn write_init<E>(mut self, init: impl Init<T, E>) -> Result<UniqueArc<T>, E> {
        // SAFETY: the memory is free for a `T`; it is given up after an error, and the value may move otherwise.
        unsafe { pin_init::raw_try_init(self.as_mut_ptr(), init) }?;
        // SAFETY: it was just initialised.
        Ok(unsafe { self.assume_init() })
    }
}

impl<T> InPlaceInit<T> for UniqueArc<T> {
    type PinnedSelf = Pin<Self>;

    fn try_pin_init<E: From<AllocError>>(init: impl PinInit<T, E>, flags: Flags) -> Result<Pin<Self>, E> {
        Self::new_uninit(flags)?.write_pin_init(init)
    }

    fn try_init<E: From<AllocError>>(init: impl Init<T, E>, flags: Flags) -> Result<Self, E> {
        Self::new_uninit(flags)?.write_init(init)
    }
}

impl<T: ?Sized> From<UniqueArc<T>> for Pin<UniqueArc<T>> {
    fn from(unique: UniqueArc<T>) -> Self {
        // SAFETY: the value does not move with its pointer, and a pinned one does not give it out.
        unsafe { Pin::new_unchecked(unique) }
    }
}

impl<T: ?Sized> Deref for UniqueArc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for UniqueArc<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is no other reference to the value.
        unsafe { &mut (*self.inner.ptr.as_ptr()).data }
    }
}

impl<T: ?Sized> Borrow<T> for UniqueArc<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized> BorrowMut<T> for UniqueArc<T> {
    fn borrow_mut(&mut self) -> &mut T {
        self
    }
}

/// Formats both the way they format their value.
macro_rules! format_as_value {
    ($($form:ident for $arc:ident),*) => {$(
        impl<T: fmt::$form + ?Sized> fmt::$form for $arc<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                T::fmt(self, f)
            }
        }
    )*};
}

format_as_value!(Display for Arc, Debug for Arc, Display for UniqueArc, Debug for UniqueArc);
