//! The few types that atomic instructions work on, and what they can do.

use crate::ffi::c_void;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicI16, AtomicI32, AtomicI64, AtomicI8, AtomicPtr, Ordering};

mod private {
    /// Only these types have atomic instructions.
    pub trait Sealed {}
}

/// A type that atomic instructions work on: `i8`, `i16`, `i32`, `i64` or `*const c_void`.
pub trait AtomicImpl: Sized + Copy + private::Sealed {
    /// What can be added to it.
    type Delta;
}

/// Memory that holds a representation.
#[repr(transparent)]
pub struct AtomicRepr<T: AtomicImpl>(UnsafeCell<T>);

impl<T: AtomicImpl> AtomicRepr<T> {
    /// Makes memory that holds a representation.
    pub(super) const fn new(repr: T) -> Self {
        Self(UnsafeCell::new(repr))
    }

    /// Returns a pointer to the memory, valid while it is borrowed.
    pub(super) const fn as_ptr(&self) -> *mut T {
        self.0.get()
    }
}

/// Reading and writing.
pub trait AtomicBasicOps: AtomicImpl {
    /// Reads.
    fn load(memory: &AtomicRepr<Self>, order: Ordering) -> Self;

    /// Writes.
    fn store(memory: &AtomicRepr<Self>, new: Self, order: Ordering);
}

/// Writing depending on, and together with, reading.
pub trait AtomicExchangeOps: AtomicImpl {
    /// Writes and returns what was there.
    fn swap(memory: &AtomicRepr<Self>, new: Self, order: Ordering) -> Self;

    /// Writes if `old` is there, and returns what was there.
    fn compare_swap(memory: &AtomicRepr<Self>, old: Self, new: Self, order: Ordering) -> Result<Self, Self>;
}

/// Adding and subtracting, wrapping around.
pub trait AtomicArithmeticOps: AtomicImpl {
    /// Adds and returns what was there.
    fn add(memory: &AtomicRepr<Self>, delta: Self::Delta, order: Ordering) -> Self;

    /// Subtracts and returns what was there.
    fn sub(memory: &AtomicRepr<Self>, delta: Self::Delta, order: Ordering) -> Self;
}

/// Implements the operations with one of core's types, given how to get from the representation to core's and back.
macro_rules! exchange_with {
    ($repr:ty as $core:ty, delta $delta:ty, $into:expr, $back:expr) => {
        impl private::Sealed for $repr {}

        impl AtomicImpl for $repr {
            type Delta = $delta;
        }

        impl AtomicRepr<$repr> {
            fn core(&self) -> &$core {
                // SAFETY: the memory is valid and aligned while it is borrowed, and all shared access is atomic.
                unsafe { <$core>::from_ptr(self.as_ptr().cast()) }
            }
        }

        impl AtomicBasicOps for $repr {
            #[inline(always)]
            fn load(memory: &AtomicRepr<Self>, order: Ordering) -> Self {
                $back(memory.core().load(order))
            }

            #[inline(always)]
            fn store(memory: &AtomicRepr<Self>, new: Self, order: Ordering) {
                memory.core().store($into(new), order);
            }
        }

        impl AtomicExchangeOps for $repr {
            #[inline(always)]
            fn swap(memory: &AtomicRepr<Self>, new: Self, order: Ordering) -> Self {
                $back(memory.core().swap($into(new), order))
            }

            #[inline(always)]
            fn compare_swap(memory: &AtomicRepr<Self>, old: Self, new: Self, order: Ordering) -> Result<Self, Self> {
                let was = memory.core().compare_exchange($into(old), $into(new), order, Ordering::Relaxed);
                was.map($back).map_err($back)
            }
        }
    };
}

exchange_with!(i8 as AtomicI8, delta i8, core::convert::identity, core::convert::identity);
exchange_with!(i16 as AtomicI16, delta i16, core::convert::identity, core::convert::identity);
exchange_with!(i32 as AtomicI32, delta i32, core::convert::identity, core::convert::identity);
exchange_with!(i64 as AtomicI64, delta i64, core::convert::identity, core::convert::identity);
exchange_with!(*const c_void as AtomicPtr<c_void>, delta isize, <*const c_void>::cast_mut, <*mut c_void>::cast_const);

/// Implements arithmetic with core's.
macro_rules! arithmetic {
    ($($repr:ty),*) => {$(
        impl AtomicArithmeticOps for $repr {
            #[inline(always)]
            fn add(memory: &AtomicRepr<Self>, delta: Self, order: Ordering) -> Self {
                memory.core().fetch_add(delta, order)
            }

            #[inline(always)]
            fn sub(memory: &AtomicRepr<Self>, delta: Self, order: Ordering) -> Self {
                memory.core().fetch_sub(delta, order)
            }
        }
    )*};
}

// As in the kernel, the narrow types have none.
arithmetic!(i32, i64);
