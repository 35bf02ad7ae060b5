//! In-place and pinned initialisation with the interface of Linux 7.3's `pin-init`.
//!
//! Some values must stand at their final address from the first moment: a lock that a list points
//! to, driver data that borrows from itself, a buffer that is larger than the stack. Such a value
//! is not returned but described, by an *initialiser*: something that can fill a slot of memory
//! that someone else provides. [`PinInit<T, E>`] fills a slot from which the `T` will not move
//! again, [`Init<T, E>`] any slot; both may fail with an `E`.
//!
//! [`pin_init!`] and [`init!`] write initialisers for structs, [`#[pin_data]`](macro@pin_data)
//! says which fields are pinned with their struct, and whoever owns memory runs the initialiser:
//! `KBox::pin_init`, the driver core after `probe`, [`stack_pin_init!`], or [`raw_try_init`].
//!
//! ```
//! use core::pin::Pin;
//! use pin_init::{pin_data, pin_init, stack_pin_init, PinInit};
//!
//! #[pin_data]
//! struct Counter {
//!     #[pin]
//!     hits: core::cell::Cell<u32>,
//!     limit: u32,
//! }
//!
//! impl Counter {
//!     fn new(limit: u32) -> impl PinInit<Self> {
//!         pin_init!(Self {
//!             hits <- core::cell::Cell::new(0),
//!             limit,
//!         })
//!     }
//! }
//!
//! stack_pin_init!(let counter = Counter::new(3));
//! let counter: Pin<&mut Counter> = counter;
//! counter.hits.set(1);
//! assert_eq!((counter.hits.get(), counter.limit), (1, 3));
//! ```
//!
//! The crate corresponds to Linux's as the kernel configures it: without `std` and `alloc`. The
//! kernel crate has its own `InPlaceInit` for its own `Box` and `Arc`, and its own `try_pin_init!`
//! and `try_init!`, whose error is the kernel's.

#![no_std]
#![allow(unsafe_code, reason = "filling memory of which only a part is initialised is what this crate is for")]

// The macros expand to `::pin_init::...`, also in this crate's own examples.
#[allow(unused_extern_crates, reason = "only expanded code uses the name")]
extern crate self as pin_init;

#[doc(hidden)]
pub mod __internal;

mod array;
mod closure;
mod initializer;
mod pinned;
mod place;
mod stack;
mod zeroable;

pub use array::{init_array_from_fn, pin_init_array_from_fn};
pub use closure::{
    cast_init, cast_pin_init, init_from_closure, init_scope, pin_init_from_closure, pin_init_scope, uninit,
};
pub use initializer::{raw_init, raw_try_init, ChainInit, ChainPinInit, Init, PinInit};
pub use pinned::PinnedDrop;
pub use place::{InPlaceWrite, Wrapper};
pub use zeroable::{init_zeroed, zeroed, Zeroable, ZeroableOption};

/// Builds a [`PinInit`] for a struct that has [`#[pin_data]`](macro@pin_data).
///
/// # Syntax
///
/// A struct expression, in which each field takes one of three forms, in the order in which the
/// fields shall be initialised:
/// - `field: value` moves a value in, `field` alone the variable of that name;
/// - `field <- initialiser` runs a [`PinInit`] for a `#[pin]` field and an [`Init`] for another.
///   A plain value and a `Result` are initialisers too.
///
/// From then on the name of the field stands for the field itself: a `Pin<&mut T>` if it is
/// `#[pin]`, a `&mut T` if not.
///
/// Furthermore:
/// - `_: { statements }` in place of a field runs code at that moment;
/// - `&this in` before the struct's name makes `this` a `NonNull` pointer to the whole struct;
/// - `..Zeroable::init_zeroed()` at the end zeroes the struct first, and fields may be left out;
///   the struct must be [`Zeroable`]. No other expression is accepted there;
/// - `? Error` after the braces says with what the initialiser may fail. Without it the error is
///   `Infallible`, or what `#[default_error(Error)]` before the struct says. `?` and
///   `return Err(..)` work within the braces;
/// - attributes such as `#[cfg(..)]` may stand before a field.
///
/// If an initialiser fails or panics, the fields that stand are dropped, last one first.
///
/// The braces become a closure that moves the variables it uses. Its argument is called `slot`:
/// do not use a variable of that name inside.
///
/// # Examples
///
/// ```
/// use core::{marker::PhantomPinned, ptr::NonNull};
/// use pin_init::{pin_data, pin_init, stack_try_pin_init};
///
/// #[pin_data]
/// struct Ring {
///     entries: [u8; 4],
///     // Points into `entries`.
///     head: *mut u8,
///     capacity: u16,
///     #[pin]
///     _pin: PhantomPinned,
/// }
///
/// stack_try_pin_init!(let ring = pin_init!(&this in Ring {
///     entries: [7; 4],
///     head: unsafe { (&raw mut (*this.as_ptr()).entries).cast() },
///     // `entries` is the field by now.
///     capacity: u16::try_from(entries.len())?,
///     _pin: PhantomPinned,
/// }? core::num::TryFromIntError));
///
/// let ring = ring.unwrap();
/// assert_eq!(ring.capacity, 4);
/// assert_eq!(ring.head.cast_const(), ring.entries.as_ptr());
/// ```
///
/// Every field has to be there:
///
/// ```compile_fail,E0063
/// # use pin_init::{pin_data, pin_init};
/// #[pin_data]
/// struct Pair { a: u8, b: u8 }
/// let _ = pin_init!(Pair { a: 1 });
/// ```
///
/// and only once:
///
/// ```compile_fail,E0062
/// # use pin_init::{pin_data, pin_init};
/// #[pin_data]
/// struct Single { a: u8 }
/// let _ = pin_init!(Single { a: 1, a: 2 });
/// ```
///
/// The struct needs `#[pin_data]`:
///
/// ```compile_fail,E0277
/// # use pin_init::pin_init;
/// struct Plain { a: u8 }
/// let _ = pin_init!(Plain { a: 1 });
/// ```
///
/// and a field without `#[pin]` takes no initialiser that relies on pinning:
///
/// ```compile_fail,E0277
/// # use pin_init::{pin_data, pin_init, PinInit};
/// #[pin_data]
/// struct Loose { a: u8 }
/// fn new(init: impl PinInit<u8>) -> impl PinInit<Loose> {
///     pin_init!(Loose { a <- init })
/// }
/// ```
///
/// A field may not be less aligned than its type, because initialisers get a pointer to it:
///
/// ```compile_fail,E0793
/// # use pin_init::init;
/// #[repr(C, packed)]
/// struct Packed { a: u8, b: u32 }
/// let _ = init!(Packed { a: 1, b: 2 });
/// ```
pub use pin_init_internal::pin_init;

/// Builds an [`Init`] for any struct: one that may be moved once it is initialised.
///
/// The syntax is that of [`pin_init!`]. No field is pinned: each takes an [`Init`] after `<-` and
/// is a `&mut T` for the fields after it.
///
/// # Examples
///
/// ```
/// use pin_init::{init, init_zeroed, Init};
///
/// struct Command {
///     opcode: u8,
///     payload: [u8; 4096],
/// }
///
/// fn command(opcode: u8) -> impl Init<Command> {
///     init!(Command {
///         opcode,
///         payload <- init_zeroed(),
///     })
/// }
///
/// pin_init::stack_pin_init!(let command = command(6));
/// assert_eq!((command.opcode, command.payload[4095]), (6, 0));
/// ```
pub use pin_init_internal::init;

/// Says which fields of a struct are pinned with it, by `#[pin]` before each of those.
///
/// Only such a struct can be initialised by [`pin_init!`]. The attribute also generates
/// - a method `project(self: Pin<&mut Self>)`, with the struct's visibility, that splits a pinned
///   reference: its result has a `Pin<&mut T>` for each `#[pin]` field and a `&mut T` for each
///   other;
/// - an `Unpin` impl that holds if all `#[pin]` fields are `Unpin`.
///
/// A pinned struct must not have a `Drop`, which could move its pinned fields. Write
/// `#[pin_data(PinnedDrop)]` and implement [`PinnedDrop`] with
/// [`#[pinned_drop]`](macro@pinned_drop) instead.
///
/// `#[pin]` on a `PhantomPinned` is what keeps a struct from being `Unpin`; a `PhantomPinned`
/// without it gets a warning. Enums, unions and tuple structs are not supported.
///
/// # Examples
///
/// ```
/// use core::{marker::PhantomPinned, pin::Pin};
/// use pin_init::pin_data;
///
/// #[pin_data]
/// struct Request<'a> {
///     #[pin]
///     _pin: PhantomPinned,
///     data: &'a mut [u8],
/// }
///
/// fn shorten(request: Pin<&mut Request<'_>>) {
///     let data = request.project().data;
///     *data = &mut core::mem::take(data)[1..];
/// }
/// ```
///
/// A `Drop` is an error:
///
/// ```compile_fail,E0119
/// # use pin_init::pin_data;
/// #[pin_data]
/// struct Handle { id: u32 }
/// impl Drop for Handle {
///     fn drop(&mut self) {}
/// }
/// ```
///
/// and so is a `PinnedDrop` that was not announced:
///
/// ```compile_fail,E0119
/// # use core::pin::Pin;
/// # use pin_init::{pin_data, pinned_drop};
/// #[pin_data]
/// struct Handle { id: u32 }
/// #[pinned_drop]
/// impl PinnedDrop for Handle {
///     fn drop(self: Pin<&mut Self>) {}
/// }
/// ```
///
/// or one that was announced and never came:
///
/// ```compile_fail,E0277
/// # use pin_init::pin_data;
/// #[pin_data(PinnedDrop)]
/// struct Handle { id: u32 }
/// ```
///
/// A pinned `PhantomPinned` takes `Unpin` away:
///
/// ```compile_fail,E0277
/// # use pin_init::pin_data;
/// #[pin_data]
/// struct Stays { #[pin] _pin: core::marker::PhantomPinned }
/// fn assert_unpin<T: Unpin>() {}
/// assert_unpin::<Stays>();
/// ```
pub use pin_init_internal::pin_data;

/// Implements [`PinnedDrop`] for a struct marked [`#[pin_data(PinnedDrop)]`](macro@pin_data).
///
/// The impl is written without `unsafe`, and the trait need not be imported.
///
/// # Examples
///
/// ```
/// use core::pin::Pin;
/// use pin_init::{pin_data, pinned_drop};
///
/// #[pin_data(PinnedDrop)]
/// struct Session<'a> {
///     open: &'a core::cell::Cell<bool>,
/// }
///
/// #[pinned_drop]
/// impl PinnedDrop for Session<'_> {
///     fn drop(self: Pin<&mut Self>) {
///         self.open.set(false);
///     }
/// }
///
/// let open = core::cell::Cell::new(true);
/// drop(Session { open: &open });
/// assert!(!open.get());
/// ```
pub use pin_init_internal::pinned_drop;

/// Derives [`Zeroable`](trait@Zeroable) for a struct or union whose fields are all `Zeroable`.
///
/// Each type parameter gets a `Zeroable` bound.
///
/// # Examples
///
/// ```
/// #[derive(pin_init::Zeroable)]
/// struct Descriptor {
///     address: u64,
///     next: Option<core::ptr::NonNull<Descriptor>>,
/// }
///
/// let descriptor: Descriptor = pin_init::zeroed();
/// assert!(descriptor.address == 0 && descriptor.next.is_none());
/// ```
///
/// ```compile_fail,E0277
/// #[derive(pin_init::Zeroable)]
/// struct Named {
///     name: &'static str,
/// }
/// ```
pub use pin_init_internal::Zeroable;

/// Derives [`Zeroable`](trait@Zeroable) if all fields are `Zeroable`, and otherwise nothing.
///
/// It suits generated types, of which nobody has looked at each field.
///
/// # Examples
///
/// ```
/// #[derive(pin_init::MaybeZeroable)]
/// struct Statistics { packets: u64 }
///
/// // Not `Zeroable`: a reference is never null.
/// #[derive(pin_init::MaybeZeroable)]
/// struct Label { text: &'static str }
///
/// let statistics: Statistics = pin_init::zeroed();
/// assert_eq!(statistics.packets, 0);
/// ```
///
/// ```compile_fail,E0277
/// #[derive(pin_init::MaybeZeroable)]
/// struct Label { text: &'static str }
///
/// let label: Label = pin_init::zeroed();
/// ```
pub use pin_init_internal::MaybeZeroable;
