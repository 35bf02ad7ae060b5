//! Allocating and initialising in one step, and the `try_` initialiser macros with the kernel's [`Error`].
//!
//! Most things with a lock, a list node or a registration inside must not move once they are set up. `pin-init` sets
//! such values up at their final address; this module connects it with the kernel's allocations and errors.

use crate::alloc::{AllocError, Flags};
use crate::error::{self, Error};
use pin_init::{init_from_closure, pin_init_from_closure, raw_try_init, Init, PinInit};

/// Smart pointers that can be made from an initialiser, allocation included.
pub trait InPlaceInit<T>: Sized {
    /// The pinned form of `Self`: `Pin<Self>`, or `Self` when it always pins.
    type PinnedSelf;

    /// Allocates and runs a pin-initialiser in the new memory.
    ///
    /// The error is the initialiser's, or an [`AllocError`] turned into it. After an error the memory is free again and
    /// nothing is dropped in it.
    #[track_caller]
    fn try_pin_init<E: From<AllocError>>(init: impl PinInit<T, E>, flags: Flags) -> Result<Self::PinnedSelf, E>;

    /// Allocates and runs an initialiser in the new memory.
    ///
    /// Errors are as for [`try_pin_init`](Self::try_pin_init).
    #[track_caller]
    fn try_init<E: From<AllocError>>(init: impl Init<T, E>, flags: Flags) -> Result<Self, E>;

    /// Allocates and runs a pin-initialiser whose error an [`Error`] can be made of.
    #[track_caller]
    fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> error::Result<Self::PinnedSelf>
    where
        Error: From<E>,
    {
        // SAFETY: `init` initialises the slot or cleans it up, and only its error changes on the way.
        let init = unsafe { pin_init_from_closure(|slot| raw_try_init(slot, init).map_err(Error::from)) };
        Self::try_pin_init(init, flags)
    }

    /// Allocates and runs an initialiser whose error an [`Error`] can be made of.
    #[track_caller]
    fn init<E>(init: impl Init<T, E>, flags: Flags) -> error::Result<Self>
    where
        Error: From<E>,
    {
        // SAFETY: `init` initialises the slot or cleans it up, and only its error changes on the way.
        let init = unsafe { init_from_closure(|slot| raw_try_init(slot, init).map_err(Error::from)) };
        Self::try_init(init, flags)
    }
}

/// An initialiser for a structure that may fail with [`Error`], or with `E` when it ends in `? E`.
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
///
/// struct Ring {
///     entries: KVec<u64>,
///     head: usize,
/// }
///
/// fn ring(len: usize) -> impl Init<Ring, Error> {
///     try_init!(Ring {
///         entries: KVec::zeroed(len, GFP_KERNEL)?,
///         head: 0,
///     })
/// }
///
/// let ring = KBox::init(ring(4), GFP_KERNEL)?;
/// assert_eq!(ring.entries.len(), 4);
/// assert_eq!(ring.head, 0);
/// # Ok::<(), Error>(())
/// ```
#[macro_export]
macro_rules! try_init {
    ($($body:tt)*) => { ::pin_init::init!(#[default_error($crate::error::Error)] $($body)*) };
}

/// A pin-initialiser for a structure that may fail with [`Error`], or with `E` when it ends in `? E`.
///
/// Fields marked `#[pin]` in the structure's `#[pin_data]` take pin-initialisers after `<-`.
#[macro_export]
macro_rules! try_pin_init {
    ($($body:tt)*) => { ::pin_init::pin_init!(#[default_error($crate::error::Error)] $($body)*) };
}
