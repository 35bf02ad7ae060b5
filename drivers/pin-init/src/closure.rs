//! Initialisers from closures, and those that are built from them.

use core::{marker::PhantomData, mem::MaybeUninit};

use crate::{Init, PinInit};

/// An initialiser that calls a closure. It is both kinds of initialiser, but only its creators
/// below name it, and each promises no more than its closure's author did.
struct FromClosure<F, T: ?Sized> {
    fill: F,
    target: PhantomData<fn(*mut T)>,
}

// SAFETY: the creator of the closure has promised this.
unsafe impl<Fill, T: ?Sized, E> PinInit<T, E> for FromClosure<Fill, T>
where
    Fill: FnOnce(*mut T) -> Result<(), E>,
{
    #[inline]
    unsafe fn __init(self, slot: *mut T) -> Result<(), E> {
        (self.fill)(slot)
    }
}

// SAFETY: visible only if the closure came through `init_from_closure`, where this was promised.
unsafe impl<Fill, T: ?Sized, E> Init<T, E> for FromClosure<Fill, T> where Fill: FnOnce(*mut T) -> Result<(), E> {}

/// Makes a [`PinInit`] of a closure that fills the slot it is given.
///
/// # Safety
///
/// The closure must do what [`PinInit`] asks of `__init`: initialise the whole slot or fail and
/// leave nothing behind, and respect the pinning rules of `T`. It may rely on the value staying in
/// the slot.
#[inline]
pub const unsafe fn pin_init_from_closure<T: ?Sized, E>(f: impl FnOnce(*mut T) -> Result<(), E>) -> impl PinInit<T, E> {
    FromClosure { fill: f, target: PhantomData }
}

/// Makes an [`Init`] of a closure that fills the slot it is given.
///
/// # Safety
///
/// As for [`pin_init_from_closure`], but the closure may not rely on the value staying in the slot.
#[inline]
pub const unsafe fn init_from_closure<T: ?Sized, E>(f: impl FnOnce(*mut T) -> Result<(), E>) -> impl Init<T, E> {
    FromClosure { fill: f, target: PhantomData }
}

/// Turns an initialiser of a `T` into one of a `U` that is laid out like a `T`.
///
/// # Safety
///
/// A pointer to a `U` can be used as one to a `T`, and any `T` written through it makes a valid
/// `U`.
#[inline]
pub const unsafe fn cast_pin_init<T, U, E>(init: impl PinInit<T, E>) -> impl PinInit<U, E> {
    // SAFETY: `init` keeps the promise for the `T`, the caller says that this makes it for the `U`.
    unsafe { pin_init_from_closure(move |slot: *mut U| init.__init(slot.cast())) }
}

/// Turns an initialiser of a `T` into one of a `U` that is laid out like a `T`.
///
/// # Safety
///
/// As for [`cast_pin_init`].
#[inline]
pub const unsafe fn cast_init<T, U, E>(init: impl Init<T, E>) -> impl Init<U, E> {
    // SAFETY: `init` keeps the promise for the `T`, the caller says that this makes it for the `U`.
    unsafe { init_from_closure(move |slot: *mut U| init.__init(slot.cast())) }
}

/// An initialiser that leaves the slot as it is.
#[inline]
pub fn uninit<T, E>() -> impl Init<MaybeUninit<T>, E> {
    // SAFETY: any bytes, also uninitialised ones, are a `MaybeUninit`.
    unsafe { init_from_closure(|_| Ok(())) }
}

/// Puts off the making of an initialiser until it is run.
///
/// # Errors
///
/// The initialiser fails if `make_init` does, and if the initialiser that it returns does.
///
/// # Examples
///
/// ```
/// use pin_init::{pin_data, pin_init, pin_init_scope, stack_try_pin_init, PinInit};
///
/// #[pin_data]
/// struct Port { speed: u32 }
///
/// fn port(text: &str) -> impl PinInit<Port, core::num::ParseIntError> + '_ {
///     pin_init_scope(move || {
///         let speed = text.parse()?;
///         Ok(pin_init!(Port { speed }? core::num::ParseIntError))
///     })
/// }
///
/// stack_try_pin_init!(let good = port("1000"));
/// assert_eq!(good.unwrap().speed, 1000);
/// stack_try_pin_init!(let bad = port("fast"));
/// assert!(bad.is_err());
/// ```
#[inline]
pub fn pin_init_scope<T, E, F, I>(make_init: F) -> impl PinInit<T, E>
where
    I: PinInit<T, E>,
    F: FnOnce() -> Result<I, E>,
{
    // SAFETY: the slot is not touched but by the initialiser, to which its rules are passed on.
    unsafe { pin_init_from_closure(move |slot: *mut T| make_init()?.__init(slot)) }
}

/// Puts off the making of an initialiser until it is run; the [`Init`] twin of [`pin_init_scope`].
///
/// # Errors
///
/// The initialiser fails if `make_init` does, and if the initialiser that it returns does.
#[inline]
pub fn init_scope<T, E, F, I>(make_init: F) -> impl Init<T, E>
where
    I: Init<T, E>,
    F: FnOnce() -> Result<I, E>,
{
    // SAFETY: the slot is not touched but by the initialiser, to which its rules are passed on.
    unsafe { init_from_closure(move |slot: *mut T| make_init()?.__init(slot)) }
}
