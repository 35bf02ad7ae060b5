//! Time: clocks, moments ([`Instant`]), spans ([`Delta`]) and ticks ([`Jiffies`]).
//!
//! Differs from Linux: time is virtual. It passes with what the machine does, and jumps ahead when there is nothing to do.

use crate::bindings;
use crate::machine;
use core::marker::PhantomData;
use core::ops;

pub mod delay;
pub mod hrtimer;

/// Nanoseconds in a microsecond.
pub const NSEC_PER_USEC: i64 = 1_000;

/// Nanoseconds in a millisecond.
pub const NSEC_PER_MSEC: i64 = 1_000 * NSEC_PER_USEC;

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: i64 = 1_000 * NSEC_PER_MSEC;

/// A number of timer ticks.
///
/// Differs from Linux: there the length of a tick is a choice of the configuration; here it is a millisecond (`HZ` = 1000).
pub type Jiffies = crate::ffi::c_ulong;

/// A number of milliseconds.
pub type Msecs = crate::ffi::c_uint;

/// Nanoseconds in a tick.
const NSEC_PER_JIFFY: u64 = NSEC_PER_SEC as u64 / machine::time::HZ;

/// Turns milliseconds into ticks. A number with its top bit set, as a negative `int` has, is "for ever".
pub fn msecs_to_jiffies(msecs: Msecs) -> Jiffies {
    /// The longest timeout that can be added to the tick counter without becoming negative.
    const FOR_EVER: Jiffies = (isize::MAX as Jiffies >> 1) - 1;

    if msecs > Msecs::MAX / 2 {
        return FOR_EVER;
    }
    (u64::from(msecs) * machine::time::HZ).div_ceil(1000) as Jiffies
}

/// Returns the ticks since the machine started.
pub(crate) fn jiffies() -> Jiffies {
    (machine::time::now() / NSEC_PER_JIFFY) as Jiffies
}

/// Turns ticks into nanoseconds, at most as many as there are.
pub(crate) fn jiffies_to_nanos(jiffies: Jiffies) -> u64 {
    (jiffies as u64).saturating_mul(NSEC_PER_JIFFY)
}

/// A clock.
///
/// # Safety
///
/// [`ktime_get`](Self::ktime_get) must not return a negative number.
pub unsafe trait ClockSource {
    /// The clock's number.
    const ID: bindings::clockid_t;

    /// Reads the clock, in nanoseconds.
    fn ktime_get() -> bindings::ktime_t;
}

/// How far the clock is ahead of the one that starts with the machine, in nanoseconds.
fn ahead(clock: bindings::clockid_t) -> i64 {
    /// The first second of 2026, since every life begins then.
    const MACHINE_STARTED: i64 = 1_767_225_600 * NSEC_PER_SEC;
    /// How many seconds atomic time was ahead of UTC that day.
    const LEAP_SECONDS: i64 = 37 * NSEC_PER_SEC;

    match clock {
        bindings::CLOCK_REALTIME => MACHINE_STARTED,
        bindings::CLOCK_TAI => MACHINE_STARTED + LEAP_SECONDS,
        _ => 0,
    }
}

/// Reads a clock, without letting time pass.
fn read(clock: bindings::clockid_t) -> bindings::ktime_t {
    i64::try_from(machine::time::now()).unwrap_or(i64::MAX).saturating_add(ahead(clock))
}

/// Reads a clock as a program does: it takes a moment, so that a loop that waits for a moment gets there.
#[track_caller]
fn read_out(clock: bindings::clockid_t) -> bindings::ktime_t {
    /// What reading a clock costs, in nanoseconds.
    const COST: u64 = 20;

    if crate::sync::in_task() {
        machine::udelay(COST);
    }
    read(clock)
}

/// Defines the clocks that Linux has.
macro_rules! clocks {
    ($($(#[$doc:meta])* $Clock:ident = $id:ident;)*) => {$(
        $(#[$doc])*
        pub struct $Clock;

        // SAFETY: virtual time starts at zero, and no clock is behind it.
        unsafe impl ClockSource for $Clock {
            const ID: bindings::clockid_t = bindings::$id;

            #[track_caller]
            fn ktime_get() -> bindings::ktime_t {
                read_out(Self::ID)
            }
        }
    )*};
}

clocks! {
    /// The time since the machine started. Nobody can set it. It is the clock for timeouts.
    Monotonic = CLOCK_MONOTONIC;
    /// The time of day: UTC since 1970. Somebody may set it.
    ///
    /// Differs from Linux: nobody does, and the machine starts with the year 2026.
    RealTime = CLOCK_REALTIME;
    /// The time since the machine started, the time that it slept included.
    ///
    /// Differs from Linux: it never sleeps, so this is what [`Monotonic`] is.
    BootTime = CLOCK_BOOTTIME;
    /// International atomic time: as [`RealTime`], leap seconds included.
    Tai = CLOCK_TAI;
}

/// A moment, by one clock. It is never negative.
///
/// # Examples
///
/// ```
/// use kernel::time::{Delta, Instant, Monotonic};
///
/// let before = Instant::<Monotonic>::now();
/// let later = before + Delta::from_micros(3);
/// assert_eq!((later - before).as_nanos(), 3_000);
/// assert!((before - later).is_negative());
/// ```
#[repr(transparent)]
#[derive(PartialEq, PartialOrd, Eq, Ord)]
pub struct Instant<C: ClockSource> {
    nanos: bindings::ktime_t,
    _clock: PhantomData<C>,
}

// Not derived: a clock need be neither of the two.
impl<C: ClockSource> Copy for Instant<C> {}
impl<C: ClockSource> Clone for Instant<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: ClockSource> Instant<C> {
    const fn at(nanos: bindings::ktime_t) -> Self {
        Self { nanos, _clock: PhantomData }
    }

    /// Reads the clock. A point.
    #[track_caller]
    pub fn now() -> Self {
        Self::at(C::ktime_get())
    }

    /// Returns how much time has passed since.
    #[track_caller]
    pub fn elapsed(&self) -> Delta {
        Self::now() - *self
    }

    /// Returns the nanoseconds since the clock's zero.
    pub(crate) fn as_nanos(&self) -> i64 {
        self.nanos
    }

    /// Makes a moment after checking that it is not before the clock's zero.
    #[track_caller]
    fn checked(nanos: bindings::ktime_t) -> Self {
        assert!(nanos >= 0, "the moment is before the clock's zero");
        Self::at(nanos)
    }
}

impl<C: ClockSource> ops::Sub for Instant<C> {
    type Output = Delta;

    /// Returns the span between two moments, negative if `other` is the later one.
    fn sub(self, other: Instant<C>) -> Delta {
        Delta::from_nanos(self.nanos - other.nanos)
    }
}

impl<C: ClockSource> ops::Add<Delta> for Instant<C> {
    type Output = Self;

    /// Returns a moment that is later. Panics if it would be negative or does not fit.
    #[track_caller]
    fn add(self, span: Delta) -> Self {
        Self::checked(self.nanos + span.as_nanos())
    }
}

impl<C: ClockSource> ops::Sub<Delta> for Instant<C> {
    type Output = Self;

    /// Returns a moment that is earlier. Panics if it would be negative or does not fit.
    #[track_caller]
    fn sub(self, span: Delta) -> Self {
        Self::checked(self.nanos - span.as_nanos())
    }
}

mod private {
    pub trait Sealed {}
}

/// A unit of time.
pub trait TimeUnit: private::Sealed {
    /// The number type that counts it.
    type Repr: Copy + Clone + PartialEq + PartialOrd + Eq + Ord + core::fmt::Debug;
}

/// Nanoseconds.
#[derive(Copy, Clone, PartialEq, PartialOrd, Eq, Ord, Debug)]
pub enum Nsec {}

/// Timer ticks.
#[derive(Copy, Clone, PartialEq, PartialOrd, Eq, Ord, Debug)]
pub enum Jiffy {}

impl private::Sealed for Nsec {}
impl private::Sealed for Jiffy {}

impl TimeUnit for Nsec {
    type Repr = i64;
}

impl TimeUnit for Jiffy {
    type Repr = isize;
}

/// A span of time, which may be negative; in nanoseconds unless another unit is named.
///
/// # Examples
///
/// ```
/// use kernel::time::Delta;
///
/// let poll = Delta::from_millis(1) + Delta::from_nanos(1);
/// assert_eq!((poll.as_millis(), poll.as_millis_ceil()), (1, 2));
/// assert_eq!(Delta::from_secs(1) / poll, 999);
/// ```
#[derive(Copy, Clone, PartialEq, PartialOrd, Eq, Ord, Debug)]
pub struct Delta<U: TimeUnit = Nsec> {
    value: U::Repr,
}

impl Delta<Jiffy> {
    /// Makes a span of ticks.
    pub const fn from_jiffies(jiffies: isize) -> Self {
        Self { value: jiffies }
    }

    /// Returns the number of ticks.
    pub const fn as_jiffies(self) -> isize {
        self.value
    }
}

/// Gives spans an operator and its assigning form, both with the checks that integers have.
macro_rules! span_operator {
    ($Op:ident::$op:ident, $Assign:ident::$assign:ident, $Rhs:ty, |$rhs:ident| $amount:expr) => {
        impl ops::$Op<$Rhs> for Delta {
            type Output = Self;

            #[track_caller]
            fn $op(self, $rhs: $Rhs) -> Self {
                Self::from_nanos(ops::$Op::$op(self.value, $amount))
            }
        }

        impl ops::$Assign<$Rhs> for Delta {
            #[track_caller]
            fn $assign(&mut self, rhs: $Rhs) {
                *self = ops::$Op::$op(*self, rhs);
            }
        }
    };
}

span_operator!(Add::add, AddAssign::add_assign, Delta, |rhs| rhs.value);
span_operator!(Sub::sub, SubAssign::sub_assign, Delta, |rhs| rhs.value);
span_operator!(Mul::mul, MulAssign::mul_assign, i64, |factor| factor);

impl ops::Div for Delta {
    type Output = i64;

    /// Returns how often `rhs` goes into the span, rounded towards zero. Panics if `rhs` is zero.
    #[track_caller]
    fn div(self, rhs: Self) -> i64 {
        self.value / rhs.value
    }
}

impl Delta {
    /// No time at all.
    pub const ZERO: Self = Self::from_nanos(0);

    /// Makes a span of nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { value: nanos }
    }

    /// Makes a span of microseconds; one that is too long becomes the longest there is.
    pub const fn from_micros(micros: i64) -> Self {
        Self::from_nanos(micros.saturating_mul(NSEC_PER_USEC))
    }

    /// Makes a span of milliseconds; one that is too long becomes the longest there is.
    pub const fn from_millis(millis: i64) -> Self {
        Self::from_nanos(millis.saturating_mul(NSEC_PER_MSEC))
    }

    /// Makes a span of seconds; one that is too long becomes the longest there is.
    pub const fn from_secs(secs: i64) -> Self {
        Self::from_nanos(secs.saturating_mul(NSEC_PER_SEC))
    }

    /// Says whether it is no time at all.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Says whether it is less than no time.
    pub fn is_negative(self) -> bool {
        self < Self::ZERO
    }

    /// Returns the nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.value
    }

    /// Divides, rounding up.
    const fn whole_units(self, unit: i64) -> i64 {
        let whole = self.value / unit;
        if self.value % unit > 0 {
            whole + 1
        } else {
            whole
        }
    }

    /// Returns the microseconds, rounded up.
    pub fn as_micros_ceil(self) -> i64 {
        self.whole_units(NSEC_PER_USEC)
    }

    /// Returns the milliseconds, rounded towards zero.
    pub fn as_millis(self) -> i64 {
        self.value / NSEC_PER_MSEC
    }

    /// Returns the milliseconds, rounded up.
    pub fn as_millis_ceil(self) -> i64 {
        self.whole_units(NSEC_PER_MSEC)
    }

    /// Returns what is left of the span after whole numbers of `dividend` nanoseconds. Panics if that is zero.
    #[track_caller]
    pub fn rem_nanos(self, dividend: i32) -> Self {
        Self::from_nanos(self.value % i64::from(dividend))
    }
}
