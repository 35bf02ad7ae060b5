//! The two traits, running an initialiser by hand, chaining, and values as initialisers.

use core::{convert::Infallible, marker::PhantomData, pin::Pin};

use crate::__internal::{Pinned, Slot, Unpinned};

/// Something that can initialise a `T` in a slot from which it will not move again.
///
/// It is obtained from [`pin_init!`](crate::pin_init!) or from a function that returns
/// `impl PinInit<T, E>`; a `T` is a `PinInit<T>` itself and a `Result<T, E>` is a `PinInit<T, E>`.
///
/// # Safety
///
/// `__init` must initialise the whole slot if it returns `Ok`. If it returns `Err` or panics, it
/// must leave nothing in the slot that would need to be dropped, so that the memory can be freed
/// or used anew. It must respect the pinning rules of `T`.
///
/// Implementing the trait by hand is rarely needed: see
/// [`pin_init_from_closure`](crate::pin_init_from_closure).
#[must_use = "an initialiser does nothing until it is run on a slot"]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not initialise a `{T}` with the error `{E}`",
    label = "not a `PinInit<{T}, {E}>`",
    note = "the macros' error type is `Infallible` unless `? Error` follows the braces"
)]
pub unsafe trait PinInit<T: ?Sized, E = Infallible>: Sized {
    /// Initialises `slot`. Callers use [`raw_init`] or [`raw_try_init`] rather than this.
    ///
    /// # Errors
    ///
    /// Whatever the initialiser is made to fail with; `slot` is uninitialised then.
    ///
    /// # Safety
    ///
    /// - `slot` is valid for writes, aligned, and holds nothing that should have been dropped.
    /// - After `Err` the caller may free or reuse the memory, and nothing else.
    /// - After `Ok` the value stays where it is until it is dropped, unless `Self` is also an
    ///   [`Init<T, E>`].
    unsafe fn __init(self, slot: *mut T) -> Result<(), E>;

    /// Extends the initialiser by `f`, which gets the value once it stands.
    ///
    /// # Errors
    ///
    /// If `f` fails, the value is dropped and the initialiser fails with its error.
    ///
    /// # Examples
    ///
    /// ```
    /// use pin_init::{stack_pin_init, PinInit};
    ///
    /// let init = 1_u32.pin_chain(|mut number| {
    ///     *number += 1;
    ///     Ok(())
    /// });
    ///
    /// stack_pin_init!(let number: u32 = init);
    /// assert_eq!(*number, 2);
    /// ```
    #[inline(always)]
    fn pin_chain<F>(self, f: F) -> ChainPinInit<Self, F, T, E>
    where
        F: FnOnce(Pin<&mut T>) -> Result<(), E>,
    {
        ChainPinInit { first: self, then: f, target: PhantomData }
    }
}

/// Something that can initialise a `T` in any slot, and does not mind if the `T` moves afterwards.
///
/// It is obtained from [`init!`](crate::init!) or from a function that returns `impl Init<T, E>`.
///
/// # Safety
///
/// [`PinInit::__init`] must not rely on the value staying in its slot. Implementing the trait by
/// hand is rarely needed: see [`init_from_closure`](crate::init_from_closure).
#[must_use = "an initialiser does nothing until it is run on a slot"]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not initialise an unpinned `{T}` with the error `{E}`",
    label = "not an `Init<{T}, {E}>`",
    note = "a `PinInit` suits only fields marked `#[pin]`, and none in `init!`",
    note = "the macros' error type is `Infallible` unless `? Error` follows the braces"
)]
pub unsafe trait Init<T: ?Sized, E = Infallible>: PinInit<T, E> {
    /// Extends the initialiser by `f`, which gets the value once it stands.
    ///
    /// # Errors
    ///
    /// If `f` fails, the value is dropped and the initialiser fails with its error.
    ///
    /// # Examples
    ///
    /// ```
    /// use pin_init::{stack_try_pin_init, Init};
    ///
    /// fn table(used: usize) -> impl Init<[u8; 64], &'static str> {
    ///     Ok([0; 64]).chain(move |table: &mut [u8; 64]| {
    ///         table.get_mut(..used).ok_or("too long")?.fill(0xff);
    ///         Ok(())
    ///     })
    /// }
    ///
    /// stack_try_pin_init!(let short = table(2));
    /// assert_eq!(short.unwrap()[..3], [0xff, 0xff, 0]);
    /// stack_try_pin_init!(let long = table(65));
    /// assert_eq!(long.unwrap_err(), "too long");
    /// ```
    #[inline(always)]
    fn chain<F>(self, f: F) -> ChainInit<Self, F, T, E>
    where
        F: FnOnce(&mut T) -> Result<(), E>,
    {
        ChainInit { first: self, then: f, target: PhantomData }
    }
}

/// Runs an initialiser that cannot fail.
///
/// # Safety
///
/// - `slot` is valid for writes, aligned, and holds nothing that should have been dropped.
/// - The value stays where it is until it is dropped, unless `init` is an [`Init<T>`].
#[inline(always)]
pub unsafe fn raw_init<T>(slot: *mut T, init: impl PinInit<T>) {
    // SAFETY: the caller vouches for `slot`.
    let Ok(()) = unsafe { init.__init(slot) };
}

/// Runs an initialiser.
///
/// # Errors
///
/// Whatever the initialiser fails with.
///
/// # Safety
///
/// - `slot` is valid for writes, aligned, and holds nothing that should have been dropped.
/// - After `Err` the caller may free or reuse the memory, and nothing else.
/// - After `Ok` the value stays where it is until it is dropped, unless `init` is an
///   [`Init<T, E>`].
#[inline(always)]
pub unsafe fn raw_try_init<T, E>(slot: *mut T, init: impl PinInit<T, E>) -> Result<(), E> {
    // SAFETY: the caller vouches for `slot`.
    unsafe { init.__init(slot) }
}

/// What [`PinInit::pin_chain`] returns.
pub struct ChainPinInit<I, F, T: ?Sized, E> {
    first: I,
    then: F,
    target: PhantomData<fn(*mut T, E) -> E>,
}

// SAFETY: `first` fills the slot or leaves it empty, and the guard empties it again if `then` fails
// or panics. `then` gets the value pinned.
unsafe impl<First, Then, T: ?Sized, E> PinInit<T, E> for ChainPinInit<First, Then, T, E>
where
    First: PinInit<T, E>,
    Then: FnOnce(Pin<&mut T>) -> Result<(), E>,
{
    #[inline]
    unsafe fn __init(self, slot: *mut T) -> Result<(), E> {
        // SAFETY: the caller vouches for `slot`, and that the value will stay there.
        let mut value = unsafe { Slot::<Pinned, T>::new(slot) }.init(self.first)?;
        (self.then)(value.lend())?;
        value.release();
        Ok(())
    }
}

/// What [`Init::chain`] returns.
pub struct ChainInit<I, F, T: ?Sized, E> {
    first: I,
    then: F,
    target: PhantomData<fn(*mut T, E) -> E>,
}

// SAFETY: `first` fills the slot or leaves it empty, and the guard empties it again if `then` fails
// or panics.
unsafe impl<First, Then, T: ?Sized, E> PinInit<T, E> for ChainInit<First, Then, T, E>
where
    First: Init<T, E>,
    Then: FnOnce(&mut T) -> Result<(), E>,
{
    #[inline]
    unsafe fn __init(self, slot: *mut T) -> Result<(), E> {
        // SAFETY: the caller vouches for `slot`.
        let mut value = unsafe { Slot::<Unpinned, T>::new(slot) }.init(self.first)?;
        (self.then)(value.lend())?;
        value.release();
        Ok(())
    }
}

// SAFETY: neither `first`, being an `Init`, nor `then`, which gets `&mut T`, relies on pinning.
unsafe impl<First, Then, T: ?Sized, E> Init<T, E> for ChainInit<First, Then, T, E>
where
    First: Init<T, E>,
    Then: FnOnce(&mut T) -> Result<(), E>,
{
}

// SAFETY: the slot is filled by the move.
unsafe impl<T> PinInit<T> for T {
    #[inline]
    unsafe fn __init(self, slot: *mut T) -> Result<(), Infallible> {
        // SAFETY: the caller vouches for `slot`.
        unsafe { slot.write(self) };
        Ok(())
    }
}

// SAFETY: a value that could be moved in can be moved out.
unsafe impl<T> Init<T> for T {}

// SAFETY: the slot is filled by the move, or not touched.
unsafe impl<T, E> PinInit<T, E> for Result<T, E> {
    #[inline]
    unsafe fn __init(self, slot: *mut T) -> Result<(), E> {
        let value = self?;
        // SAFETY: the caller vouches for `slot`.
        unsafe { slot.write(value) };
        Ok(())
    }
}

// SAFETY: a value that could be moved in can be moved out.
unsafe impl<T, E> Init<T, E> for Result<T, E> {}
