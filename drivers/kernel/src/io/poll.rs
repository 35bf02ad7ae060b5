//! Waiting for a device by asking it again and again.

use crate::{
    error::{code::ETIMEDOUT, Result},
    task::might_sleep,
    time::{
        delay::{fsleep, udelay},
        Delta, Instant, Monotonic,
    },
};

/// Calls `op` until `cond` accepts its result, sleeping for `sleep_delta` in between, and returns that result.
///
/// Only where sleeping is allowed. `op` is called at least once, and always once more after the last sleep. A
/// `sleep_delta` of zero does not sleep.
///
/// # Errors
///
/// `op`'s own error as soon as there is one, and `ETIMEDOUT` when `cond` refuses a result after more than
/// `timeout_delta`.
///
/// ```no_run
/// use kernel::{io::{poll::read_poll_timeout, Io, Mmio, Region}, prelude::*, time::Delta};
///
/// /// Waits for the reset bit to read as zero.
/// fn wait_for_reset(regs: Mmio<'_, Region<0x100>>) -> Result {
///     read_poll_timeout(
///         || regs.try_read32(0x10),
///         |control| control & 1 == 0,
///         Delta::from_micros(20),
///         Delta::from_millis(5),
///     )
///     .map(|_control| ())
/// }
/// ```
#[track_caller]
pub fn read_poll_timeout<Op: FnMut() -> Result<T>, Cond: FnMut(&T) -> bool, T>(
    mut op: Op,
    mut cond: Cond,
    sleep_delta: Delta,
    timeout_delta: Delta,
) -> Result<T> {
    let start = Instant::<Monotonic>::now();
    // Whether or not the first answer is already the right one: a caller that may not sleep is wrong either way.
    might_sleep();
    loop {
        let answer = op()?;
        if cond(&answer) {
            break Ok(answer);
        }
        if start.elapsed() > timeout_delta {
            break Err(ETIMEDOUT);
        }
        if !sleep_delta.is_zero() {
            fsleep(sleep_delta);
        }
    }
}

/// Calls `op` until `cond` accepts its result, at most `retry` times, spinning for `delay_delta` after each refusal,
/// and returns that result.
///
/// It never sleeps. A `delay_delta` of zero does not spin.
///
/// # Errors
///
/// `op`'s own error as soon as there is one, and `ETIMEDOUT` when `cond` has refused `retry` results.
#[track_caller]
pub fn read_poll_timeout_atomic<Op: FnMut() -> Result<T>, Cond: FnMut(&T) -> bool, T>(
    mut op: Op,
    mut cond: Cond,
    delay_delta: Delta,
    retry: usize,
) -> Result<T> {
    for _attempt in 0..retry {
        let answer = op()?;
        if cond(&answer) {
            return Ok(answer);
        }
        if !delay_delta.is_zero() {
            udelay(delay_delta);
        }
    }
    Err(ETIMEDOUT)
}
