//! Letting time pass: sleeping ([`fsleep`]) and spinning ([`udelay`]).

use super::Delta;
use crate::machine;
use core::panic::Location;

/// Returns the span if it is between zero and `longest`, and `longest` otherwise.
fn within(span: Delta, longest: Delta) -> Delta {
    if span.is_negative() || span > longest {
        longest
    } else {
        span
    }
}

/// Rounds a span up to microseconds, as C's functions take them; the result is in nanoseconds.
fn whole_micros(span: Delta) -> u64 {
    Delta::from_micros(span.as_micros_ceil()).as_nanos().unsigned_abs()
}

/// Sleeps at least so long. Spans of up to 10 µs are spent spinning.
///
/// It is for process context only. A negative span, or one of more than `i32::MAX` microseconds, is a mistake: the longest
/// is slept instead.
///
/// Differs from Linux: a sleep is not longer than asked for, except that others may run first when it ends.
#[track_caller]
pub fn fsleep(delta: Delta) {
    const LONGEST: Delta = Delta::from_micros(i32::MAX as i64);
    const SPIN: u64 = Delta::from_micros(10).as_nanos() as u64;

    match whole_micros(within(delta, LONGEST)) {
        span @ ..=SPIN => {
            machine::sched::might_sleep_at("fsleep", Location::caller());
            spin(span);
        }
        span => machine::sleep(span),
    }
}

/// Spins at least so long: for short waits, in any context.
///
/// A negative span, or one of more than 5 ms, is a mistake: it is a warning, and 5 ms pass.
#[track_caller]
pub fn udelay(delta: Delta) {
    const LONGEST: Delta = Delta::from_millis(5);

    let span = within(delta, LONGEST);
    if span != delta {
        machine::warn(format_args!("udelay of {} ns: it is for 0 to 5 ms", delta.as_nanos()));
    }
    spin(whole_micros(span));
}

#[track_caller]
fn spin(nanos: u64) {
    if crate::sync::in_task() {
        machine::udelay(nanos);
    }
}
