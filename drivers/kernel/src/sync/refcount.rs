//! [`Refcount`]: a counter of references that would rather leak than wrap.

use super::atomic::{Acquire, Atomic, Relaxed, Release};
use crate::build_assert::build_assert;
use crate::machine;

/// A counter of references. A count that overflows or underflows warns and sticks at a value far from zero, so that what
/// it counts for is leaked rather than freed while in use.
#[repr(transparent)]
pub struct Refcount(Atomic<i32>);

/// Where a broken count sticks: as far as can be from both zero and `i32::MAX`.
const SATURATED: i32 = i32::MIN / 2;

impl Refcount {
    /// Makes a counter that starts at `value`, which must not be negative.
    #[inline(always)]
    pub fn new(value: i32) -> Self {
        build_assert!(value >= 0, "a negative count is a saturated one");
        Self(Atomic::new(value))
    }

    /// Returns the number behind the counter, without its protection.
    pub fn as_atomic(&self) -> &Atomic<i32> {
        &self.0
    }

    /// Sets the count.
    pub fn set(&self, value: i32) {
        self.0.store(value, Relaxed);
    }

    /// Counts one reference more. Warns when there was none, and when there are too many; no memory ordering.
    #[track_caller]
    pub fn inc(&self) {
        match self.0.fetch_add(1, Relaxed) {
            0 => self.saturate("addition on 0; use-after-free"),
            i32::MAX | ..0 => self.saturate("saturated; leaking memory"),
            _ => {}
        }
    }

    /// Counts one reference less, which must not be the last. Warns when it was; release ordering.
    #[track_caller]
    pub fn dec(&self) {
        if self.0.fetch_sub(1, Release) <= 1 {
            self.saturate("decrement hit 0; leaking memory");
        }
    }

    /// Counts one reference less and says whether it was the last.
    ///
    /// Warns when there was none; release ordering, and acquire ordering when it was the last.
    #[track_caller]
    #[must_use = "`dec` is for those who know that others hold references"]
    pub fn dec_and_test(&self) -> bool {
        match self.0.fetch_sub(1, Release) {
            1 => {
                self.0.peek(Acquire);
                return true;
            }
            ..=0 => self.saturate("underflow; use-after-free"),
            _ => {}
        }
        false
    }

    /// Makes the count stick and warns.
    #[cold]
    #[track_caller]
    fn saturate(&self, what: &str) {
        self.set(SATURATED);
        machine::warn(format_args!("refcount_t: {what}."));
    }
}
