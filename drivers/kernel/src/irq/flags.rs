//! The flags of an interrupt handler.

use crate::ffi::c_ulong;
use core::ops;

/// How an interrupt is to be handled. Flags combine by `|`, `&` and `!`.
///
/// Differs from Linux: the machine looks at [`SHARED`](Self::SHARED) and [`ONESHOT`](Self::ONESHOT); the others change
/// nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(c_ulong);

/// Defines the flags.
macro_rules! flags {
    ($($(#[$doc:meta])* $NAME:ident = $bits:literal;)*) => {
        impl Flags {$(
            $(#[$doc])*
            pub const $NAME: Flags = Flags($bits);
        )*}
    };
}

flags! {
    /// The line triggers as it is set up to.
    TRIGGER_NONE = 0x0;
    /// The line triggers when it rises.
    TRIGGER_RISING = 0x1;
    /// The line triggers when it falls.
    TRIGGER_FALLING = 0x2;
    /// The line triggers while it is high.
    TRIGGER_HIGH = 0x4;
    /// The line triggers while it is low.
    TRIGGER_LOW = 0x8;
    /// Others may have handlers on the line too; all of them must say so.
    SHARED = 0x80;
    /// The caller expects that others do not share the line.
    PROBE_SHARED = 0x100;
    /// The interrupt is that of a timer; it can be neither suspended nor threaded.
    TIMER = 0x1_4200;
    /// Each processor has its own.
    PERCPU = 0x400;
    /// It stays on its processor.
    NOBALANCING = 0x800;
    /// It is polled.
    IRQPOLL = 0x1000;
    /// It stays off until its threaded handler has ended.
    ONESHOT = 0x2000;
    /// It stays on while the system is suspended.
    NO_SUSPEND = 0x4000;
    /// It is turned on when the system resumes, even with [`NO_SUSPEND`](Self::NO_SUSPEND).
    FORCE_RESUME = 0x8000;
    /// Its handler is never moved into a thread.
    NO_THREAD = 0x1_0000;
    /// It is turned on early when the system resumes.
    EARLY_RESUME = 0x2_0000;
    /// Its handler runs after interrupts were suspended, if it shares its line with one that is not.
    COND_SUSPEND = 0x4_0000;
    /// It stays off until it is turned on.
    NO_AUTOEN = 0x8_0000;
    /// It does not take part in the kernel's tests of handlers.
    NO_DEBUG = 0x10_0000;
}

impl Flags {
    /// Returns C's bits.
    pub(crate) fn into_inner(self) -> c_ulong {
        self.0
    }
}

impl ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl ops::BitAnd for Flags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl ops::Not for Flags {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}
