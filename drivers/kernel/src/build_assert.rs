//! Assertions that a driver must satisfy before it ever runs.
//!
//! | macro | where it can stand | what its condition may name | when it is decided |
//! |---|---|---|---|
//! | [`static_assert!`] | anywhere an item can | constants | always, when the crate is checked |
//! | [`const_assert!`] | in a body | constants and generic parameters | per instance, when it is compiled |
//! | [`build_assert!`] | in a body | anything, variables too | when the optimiser has seen the call site |
//!
//! Take the first one that can express the condition: it fails earlier and with the clearer message.
//!
//! # What "the optimiser proves it" means here
//!
//! Differs from Linux: there, a [`build_assert!`] whose failing branch survives optimisation leaves an undefined
//! symbol, and the link fails. Here the branch becomes a call of a real function, so that unoptimised builds link; a
//! condition that is false at run time panics with the condition's text and the caller's place. A condition that is
//! true but not provable passes unnoticed here and fails to link in a kernel tree. To find those too, build with
//! optimisation and search the linked program for the bytes `bringup-build-error`: they are in the program if and
//! only if such a branch survived.

#[doc(inline)]
pub use crate::{build_assert_macro as build_assert, build_error, const_assert, static_assert};

/// Bytes kept of a failed condition's text in a panic message; longer texts are cut.
const TEXT_LIMIT: usize = 400;

/// Starts every message, and is what a search of a linked program looks for.
const MARKER: &str = "bringup-build-error: ";

/// Where the surviving failure branches of [`build_assert!`] and [`build_error!`] end.
///
/// A compile error when evaluated at compile time; a panic naming `condition` otherwise.
#[doc(hidden)]
#[cold]
#[inline(never)]
#[track_caller]
pub const fn build_error_fn(condition: &'static str) -> ! {
    assert!(
        !condition.is_empty(),
        // A plain literal, so that the marker stands in the program's read-only data in one piece.
        "bringup-build-error: code that must be unreachable was reached"
    );
    let (text, length) = marked(condition);
    match core::str::from_utf8(text.split_at(length).0) {
        // A panic in a constant takes no other form than a lone `{}`.
        Ok(text) => panic!("{}", text),
        // The cut fell inside a character.
        Err(_) => panic!("{}", condition),
    }
}

/// The marker followed by as much of `condition` as fits, and the number of bytes used.
///
/// Formatting machinery is not available to constant panics, so the two strings are joined by hand.
const fn marked(condition: &str) -> ([u8; MARKER.len() + TEXT_LIMIT], usize) {
    let mut text = [0; MARKER.len() + TEXT_LIMIT];
    let mut length = 0;
    while length < text.len() && length < MARKER.len() + condition.len() {
        text[length] =
            if length < MARKER.len() { MARKER.as_bytes()[length] } else { condition.as_bytes()[length - MARKER.len()] };
        length += 1;
    }
    (text, length)
}

/// Asserts a constant condition wherever an item may stand.
///
/// A second argument, a string literal, replaces the message.
///
/// ```
/// use kernel::build_assert::static_assert;
///
/// const RING: usize = 64;
/// static_assert!(RING.is_power_of_two(), "ring indices are masked, not divided");
/// ```
///
/// ```compile_fail
/// kernel::build_assert::static_assert!(3 + 4 == 8);
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! static_assert {
    ($holds:expr $(, $why:literal)?) => {
        const _: () = { ::core::assert!($holds $(, $why)?) };
    };
}

/// Asserts, in a body, a condition on constants and on the generic parameters in scope.
///
/// Decided once for every instance that is compiled; an uninstantiated function asserts nothing.
///
/// ```
/// use kernel::build_assert::const_assert;
///
/// fn slots<const N: usize>() -> usize {
///     const_assert!(N > 1, "one slot always stays empty");
///     N - 1
/// }
/// assert_eq!(slots::<8>(), 7);
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! const_assert {
    ($holds:expr $(, $why:literal)?) => {
        const { ::core::assert!($holds $(, $why)?) }
    };
}

/// Marks code that the optimiser has to prove unreachable.
///
/// The optional argument is a `&'static str` saying why. See the [module](mod@crate::build_assert) for how this
/// differs from Linux, where code that stays reachable fails to link.
#[macro_export]
#[doc(hidden)]
macro_rules! build_error {
    () => {
        $crate::build_error!("")
    };
    ($why:expr) => {{
        $crate::build_assert::build_error_fn($why)
    }};
}

/// Asserts a condition that the optimiser has to prove.
///
/// A function whose argument the condition names must be `#[inline(always)]`, or there is nothing to prove it from.
/// The optional second argument, a `&'static str`, replaces the message. See the [module](mod@crate::build_assert)
/// for how this differs from Linux.
///
/// ```
/// use kernel::build_assert::build_assert;
///
/// #[inline(always)]
/// const fn doorbell(queue: usize) -> usize {
///     build_assert!(queue < 4);
///     0x1000 + 8 * queue
/// }
/// assert_eq!(doorbell(2), 0x1010);
/// ```
///
/// In a constant it is decided at once:
///
/// ```compile_fail
/// # use kernel::build_assert::build_assert;
/// # #[inline(always)]
/// # const fn doorbell(queue: usize) -> usize {
/// #     build_assert!(queue < 4);
/// #     0x1000 + 8 * queue
/// # }
/// const NO_SUCH_QUEUE: usize = doorbell(4);
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! build_assert_macro {
    ($holds:expr $(,)?) => {
        $crate::build_assert_macro!($holds, ::core::concat!("assertion failed: ", ::core::stringify!($holds)))
    };
    ($holds:expr, $why:expr) => {{
        if !$holds {
            $crate::build_error!($why);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::{build_assert, marked, MARKER, TEXT_LIMIT};
    use std::{
        boxed::Box,
        panic::{catch_unwind, Location},
        string::{String, ToString},
    };

    fn message_of(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let payload = catch_unwind(f).expect_err("the assertion must not hold");
        payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
            .expect("panics carry text")
    }

    #[test]
    fn failed_condition_is_named_after_the_marker() {
        let queue = std::hint::black_box(9);

        let message = message_of(move || build_assert!(queue < 4));

        assert_eq!(message, "bringup-build-error: assertion failed: queue < 4");
    }

    #[test]
    fn callers_own_words_replace_the_condition() {
        let queue = std::hint::black_box(9);

        let message = message_of(move || build_assert!(queue < 4, "no such queue"));

        assert_eq!(message, "bringup-build-error: no such queue");
    }

    #[test]
    fn reached_error_without_words_still_carries_the_marker() {
        let message = message_of(|| build_error!());

        assert!(message.starts_with(MARKER));
    }

    #[test]
    fn long_texts_are_cut_at_the_limit() {
        const LONG: &str = match core::str::from_utf8(&[b'x'; 1000]) {
            Ok(text) => text,
            Err(_) => unreachable!(),
        };

        let (_, length) = marked(LONG);

        assert_eq!(length, MARKER.len() + TEXT_LIMIT);
    }

    #[test]
    fn panic_is_attributed_to_the_caller_of_a_tracked_function() {
        #[track_caller]
        fn accessor(offset: usize) {
            build_assert!(offset < 4);
        }
        std::thread_local!(static LINE: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(|info| LINE.set(info.location().map_or(0, Location::line))));

        let line = line!() + 1;
        let outcome = catch_unwind(|| accessor(std::hint::black_box(9)));
        std::panic::set_hook(previous);

        assert!(outcome.is_err());
        assert_eq!(LINE.get(), line);
    }
}
