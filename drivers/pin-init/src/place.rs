//! Places that take an initialiser, and wrappers that pass one on to their content.

use core::{cell::UnsafeCell, mem::MaybeUninit, pin::Pin};

use crate::{cast_pin_init, Init, PinInit};

/// Uninitialised memory, owned through a smart pointer, that an initialiser can fill.
pub trait InPlaceWrite<T> {
    /// The pointer once there is a value behind it.
    type Initialized;

    /// Fills the memory. A value that it may have held is not dropped.
    ///
    /// # Errors
    ///
    /// Whatever `init` fails with; the memory is given up then.
    fn write_init<E>(self, init: impl Init<T, E>) -> Result<Self::Initialized, E>;

    /// Fills the memory with a value that stays there. A value that it may have held is not
    /// dropped.
    ///
    /// # Errors
    ///
    /// Whatever `init` fails with; the memory is given up then.
    fn write_pin_init<E>(self, init: impl PinInit<T, E>) -> Result<Pin<Self::Initialized>, E>;
}

/// Static or leaked memory, whose value is never dropped.
impl<T> InPlaceWrite<T> for &'static mut MaybeUninit<T> {
    type Initialized = &'static mut T;

    #[inline]
    fn write_init<E>(self, init: impl Init<T, E>) -> Result<&'static mut T, E> {
        // SAFETY: the memory is borrowed for ever, so it is ours to fill.
        unsafe { init.__init(self.as_mut_ptr())? };
        // SAFETY: it has just been filled.
        Ok(unsafe { self.assume_init_mut() })
    }

    #[inline]
    fn write_pin_init<E>(self, init: impl PinInit<T, E>) -> Result<Pin<&'static mut T>, E> {
        // SAFETY: the memory is borrowed for ever, so it is ours to fill and nobody reuses it.
        unsafe { init.__init(self.as_mut_ptr())? };
        // SAFETY: it has just been filled.
        let value = unsafe { self.assume_init_mut() };
        Ok(Pin::static_mut(value))
    }
}

/// A type that wraps exactly one value and pins it with itself.
///
/// # Examples
///
/// ```
/// use core::cell::UnsafeCell;
/// use pin_init::{pin_data, pin_init, stack_pin_init, Wrapper};
///
/// #[pin_data]
/// struct Shared {
///     #[pin]
///     value: UnsafeCell<u32>,
/// }
///
/// stack_pin_init!(let shared = pin_init!(Shared { value <- UnsafeCell::pin_init(5) }));
/// assert_eq!(unsafe { *shared.value.get() }, 5);
/// ```
pub trait Wrapper<T> {
    /// Makes an initialiser of the wrapper of one of its content.
    fn pin_init<E>(value_init: impl PinInit<T, E>) -> impl PinInit<Self, E>;
}

impl<T> Wrapper<T> for UnsafeCell<T> {
    #[inline]
    fn pin_init<E>(content: impl PinInit<T, E>) -> impl PinInit<Self, E> {
        // SAFETY: the cell has the layout of its content.
        unsafe { cast_pin_init(content) }
    }
}

impl<T> Wrapper<T> for MaybeUninit<T> {
    #[inline]
    fn pin_init<E>(content: impl PinInit<T, E>) -> impl PinInit<Self, E> {
        // SAFETY: the wrapper has the layout of its content.
        unsafe { cast_pin_init(content) }
    }
}
