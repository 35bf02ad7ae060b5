//! Checks of what `unsafe` functions demand of their callers.

/// Panics, with debug assertions on, when a precondition of an unsafe function does not hold.
///
/// Without debug assertions the condition is not evaluated. A message may follow, as for `assert!`.
#[macro_export]
macro_rules! unsafe_precondition_assert {
    ($holds:expr $(,)?) => {
        ::core::debug_assert!($holds, "unsafe precondition violated: {}", ::core::stringify!($holds))
    };
    ($holds:expr, $($message:tt)+) => {
        ::core::debug_assert!($holds, "unsafe precondition violated: {}", $crate::prelude::fmt!($($message)+))
    };
}
