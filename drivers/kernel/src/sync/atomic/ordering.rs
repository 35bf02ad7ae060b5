//! The orderings of the Linux kernel memory model, as types.

use core::sync::atomic::Ordering as CoreOrdering;

/// Orders nothing but what depends on the value.
pub struct Relaxed;

/// What follows stays behind the reading part of the operation.
pub struct Acquire;

/// What precedes stays before the writing part of the operation.
pub struct Release;

/// What precedes stays before the operation and what follows behind it, as with a full barrier on both sides.
pub struct Full;

/// An ordering as a value.
#[doc(hidden)]
pub enum OrderingType {
    /// [`Relaxed`]
    Relaxed,
    /// [`Acquire`]
    Acquire,
    /// [`Release`]
    Release,
    /// [`Full`]
    Full,
}

mod internal {
    /// There are four orderings.
    pub trait Sealed {}
}

/// Any ordering.
pub trait Ordering: internal::Sealed {
    /// Which one it is.
    const TYPE: OrderingType;
}

/// The orderings that a read can have.
pub trait AcquireOrRelaxed: Ordering {}

/// The orderings that a write can have.
pub trait ReleaseOrRelaxed: Ordering {}

/// Says what each ordering is good for.
macro_rules! orderings {
    ($($name:ident $(reads $read:ident)? $(writes $write:ident)?;)*) => {$(
        impl internal::Sealed for $name {}

        impl Ordering for $name {
            const TYPE: OrderingType = OrderingType::$name;
        }

        $(impl $read for $name {})?
        $(impl $write for $name {})?
    )*};
}

orderings! {
    Relaxed reads AcquireOrRelaxed writes ReleaseOrRelaxed;
    Acquire reads AcquireOrRelaxed;
    Release writes ReleaseOrRelaxed;
    Full;
}

/// Returns what Rust's atomics call an ordering.
#[inline(always)]
pub(super) const fn of<O: Ordering>() -> CoreOrdering {
    match O::TYPE {
        OrderingType::Relaxed => CoreOrdering::Relaxed,
        OrderingType::Acquire => CoreOrdering::Acquire,
        OrderingType::Release => CoreOrdering::Release,
        OrderingType::Full => CoreOrdering::SeqCst,
    }
}
