//! What a timer's expiry means: a moment or a span, by which clock; and where its function runs.

use crate::bindings;
use crate::time::{ClockSource, Delta, Instant};
use core::marker::PhantomData;

/// What a timer can be started with.
pub trait HrTimerExpires {
    /// Returns the nanoseconds: since the clock's zero for a moment, from now for a span.
    fn as_nanos(&self) -> i64;
}

impl<C: ClockSource> HrTimerExpires for Instant<C> {
    fn as_nanos(&self) -> i64 {
        Instant::as_nanos(self)
    }
}

impl HrTimerExpires for Delta {
    fn as_nanos(&self) -> i64 {
        let span = *self;
        Delta::as_nanos(span)
    }
}

mod private {
    pub trait Sealed {}
}

/// What a timer's expiry means, and where its function runs.
pub trait HrTimerMode: private::Sealed {
    /// C's number of the mode.
    const C_MODE: bindings::hrtimer_mode;

    /// The clock that the timer goes by.
    type Clock: ClockSource;

    /// What the timer is started with.
    type Expires: HrTimerExpires;
}

/// Defines the modes.
macro_rules! modes {
    ($($(#[$doc:meta])* $Mode:ident: $Expires:ty = $bits:expr;)*) => {$(
        $(#[$doc])*
        pub struct $Mode<C: ClockSource>(PhantomData<C>);

        impl<C: ClockSource> private::Sealed for $Mode<C> {}

        impl<C: ClockSource> HrTimerMode for $Mode<C> {
            type Clock = C;
            type Expires = $Expires;

            const C_MODE: bindings::hrtimer_mode = $bits;
        }
    )*};
}

/// The expiry is a moment.
const ABS: bindings::hrtimer_mode = 0;
const REL: bindings::hrtimer_mode = bindings::HRTIMER_MODE_REL;
const PINNED: bindings::hrtimer_mode = bindings::HRTIMER_MODE_PINNED;
const SOFT: bindings::hrtimer_mode = bindings::HRTIMER_MODE_SOFT;
const HARD: bindings::hrtimer_mode = bindings::HRTIMER_MODE_HARD;

modes! {
    /// Started for a moment.
    AbsoluteMode: Instant<C> = ABS;
    /// Started for so much time from now.
    RelativeMode: Delta = REL;
    /// Started for a moment; stays on its processor.
    AbsolutePinnedMode: Instant<C> = ABS | PINNED;
    /// Started for so much time from now; stays on its processor.
    RelativePinnedMode: Delta = REL | PINNED;
    /// Started for a moment; handled in soft interrupt context.
    AbsoluteSoftMode: Instant<C> = ABS | SOFT;
    /// Started for so much time from now; handled in soft interrupt context.
    RelativeSoftMode: Delta = REL | SOFT;
    /// Started for a moment; stays on its processor, and is handled in soft interrupt context.
    AbsolutePinnedSoftMode: Instant<C> = ABS | PINNED | SOFT;
    /// Started for so much time from now; stays on its processor, and is handled in soft interrupt context.
    RelativePinnedSoftMode: Delta = REL | PINNED | SOFT;
    /// Started for a moment; handled in hard interrupt context.
    AbsoluteHardMode: Instant<C> = ABS | HARD;
    /// Started for so much time from now; handled in hard interrupt context.
    RelativeHardMode: Delta = REL | HARD;
    /// Started for a moment; stays on its processor, and is handled in hard interrupt context.
    AbsolutePinnedHardMode: Instant<C> = ABS | PINNED | HARD;
    /// Started for so much time from now; stays on its processor, and is handled in hard interrupt context.
    RelativePinnedHardMode: Delta = REL | PINNED | HARD;
}
