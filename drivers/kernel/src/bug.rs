//! Warnings about things that must not happen.

/// Warns when a condition that must never hold does hold, and returns the condition.
///
/// The driver goes on. A warning is a finding: Linux prints a backtrace and taints itself, and machines set up with
/// `panic_on_warn` stop.
///
/// # Examples
///
/// ```
/// let (free, total) = (3, 4);
/// let broken = kernel::warn_on!(free > total);
/// assert!(!broken);
/// ```
#[macro_export]
macro_rules! warn_on {
    ($condition:expr) => {{
        let hit: bool = $condition;
        if hit {
            $crate::bug::warned(::core::stringify!($condition));
        }
        hit
    }};
}

/// Tells the machine that [`warn_on!`](crate::warn_on) found its condition true.
#[doc(hidden)]
#[cold]
#[track_caller]
pub fn warned(condition: &str) {
    crate::machine::warn(format_args!("WARN_ON({condition})"));
}
