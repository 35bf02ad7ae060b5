//! Messages to the kernel log: the `pr_*!` macros and their `_once` forms.
//!
//! A message is "prefix: text"; the prefix is the module's name. Messages end in a newline of their own; [`pr_cont!`]
//! goes on with a line that does not.
//!
//! [`pr_cont!`]: crate::pr_cont

use crate::machine;
use crate::sync::atomic::{Atomic, AtomicType, Relaxed};
use core::cell::RefCell;
use core::fmt::Arguments;
use std::vec::Vec;

/// The format strings, which carry the level to [`call_printk`].
#[doc(hidden)]
pub mod format_strings {
    /// The length of each, in bytes.
    pub const LENGTH: usize = 10;

    /// Puts a level into the C format that prints a prefix and Rust's arguments.
    const fn at_level(level: u8) -> [u8; LENGTH] {
        let mut format = *b"\x01?%s: %pA\0";
        format[1] = b'0' + level;
        format
    }

    /// The system is unusable.
    pub static EMERG: [u8; LENGTH] = at_level(0);
    /// Action must be taken at once.
    pub static ALERT: [u8; LENGTH] = at_level(1);
    /// A critical condition.
    pub static CRIT: [u8; LENGTH] = at_level(2);
    /// An error.
    pub static ERR: [u8; LENGTH] = at_level(3);
    /// A warning.
    pub static WARNING: [u8; LENGTH] = at_level(4);
    /// Normal but worth a look.
    pub static NOTICE: [u8; LENGTH] = at_level(5);
    /// Informational.
    pub static INFO: [u8; LENGTH] = at_level(6);
    /// For debugging.
    pub static DEBUG: [u8; LENGTH] = at_level(7);
    /// Goes on with the message before; it has no level of its own.
    pub static CONT: [u8; LENGTH] = *b"\x01c%pA\0\0\0\0\0";
}

/// Prints a message with its prefix at the level of the format string.
///
/// # Safety
///
/// The format string must be one of [`format_strings`] other than `CONT`, and `module_name` must end in a NUL.
#[doc(hidden)]
pub unsafe fn call_printk(format_string: &[u8; format_strings::LENGTH], module_name: &[u8], args: Arguments<'_>) {
    let level = format_string[1] - b'0';
    let prefix = crate::str::BStr::from_bytes(module_name.strip_suffix(b"\0").unwrap_or(module_name));
    machine::printk(level, format_args!("{}: {args}", crate::fmt::Adapter(&prefix)));
}

/// Goes on with the message before.
#[doc(hidden)]
pub fn call_printk_cont(args: Arguments<'_>) {
    machine::printk_cont(args);
}

/// Prints with a format string; the second argument says whether it continues a message.
#[doc(hidden)]
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "the prefix is that of the module the macro is used in")]
macro_rules! print_macro {
    ($format:path, true, $($message:tt)+) => {
        $crate::print::call_printk_cont($crate::prelude::fmt!($($message)+))
    };
    ($format:path, false, $($message:tt)+) => {
        // A match keeps the temporaries of the arguments alive, and the arguments out of the unsafe block.
        match ($crate::prelude::fmt!($($message)+), crate::__LOG_PREFIX) {
            // SAFETY: the macros pass only fixed format strings, and `module!` ends the prefix in a NUL.
            (message, prefix) => unsafe { $crate::print::call_printk(&$format, prefix, message) },
        }
    };
}

/// Prints at the emergency level: the system is unusable.
#[macro_export]
macro_rules! pr_emerg {
    ($($message:tt)*) => { $crate::print_macro!($crate::print::format_strings::EMERG, false, $($message)*) };
}

/// Prints at the alert level: action must be taken at once.
#[macro_export]
macro_rules! pr_alert {
    ($($message:tt)*) => { $crate::print_macro!($crate::print::format_strings::ALERT, false, $($message)*) };
}

/// Prints at the critical level.
#[macro_export]
macro_rules! pr_crit {
    ($($message:tt)*) => { $crate::print_macro!($crate::print::format_strings::CRIT, false, $($message)*) };
}

/// Prints at the error level.
#[macro_export]
macro_rules! pr_err {
    ($($message:tt)*) => { $crate::print_macro!($crate::print::format_strings::ERR, false, $($message)*) };
}

/// Prints at the warning level.
#[macro_export]
macro_rules! pr_warn {
    ($($message:tt)*) => { $crate::print_macro!($crate::print::format_strings::WARNING, false, $($message)*) };
}

/// Prints at the notice level: normal, but worth a look.
#[macro_export]
macro_rules! pr_notice {
    ($($message:tt)*) => { $crate::print_macro!($crate::print::format_strings::NOTICE, false, $($message)*) };
}

/// Prints at the info level.
#[macro_export]
macro_rules! pr_info {
    ($($message:tt)*) => { $crate::print_macro!($crate::print::format_strings::INFO, false, $($message)*) };
}

/// Prints at the debug level, when the driver is built with debug assertions.
#[macro_export]
macro_rules! pr_debug {
    ($($message:tt)*) => {
        if cfg!(debug_assertions) {
            $crate::print_macro!($crate::print::format_strings::DEBUG, false, $($message)*)
        }
    };
}

/// Goes on with the message before, which must not have ended in a newline. It adds no prefix.
#[macro_export]
macro_rules! pr_cont {
    ($($message:tt)*) => { $crate::print_macro!($crate::print::format_strings::CONT, true, $($message)*) };
}

/// Runs something at most once, without waiting for it: a second caller goes on while the first one still runs.
pub struct OnceLite(Atomic<State>);

/// Whether a [`OnceLite`] was called.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
enum State {
    Fresh = 0,
    Called = 1,
}

// SAFETY: the enum is an `i32` in size, alignment and values.
unsafe impl AtomicType for State {
    type Repr = i32;
}

impl OnceLite {
    /// Makes one that was not called yet.
    #[inline(always)]
    #[expect(clippy::new_without_default, reason = "Linux's has none")]
    pub const fn new() -> Self {
        Self(Atomic::new(State::Fresh))
    }

    /// Calls `f` if nothing was called before, and says whether it did.
    pub fn call_once<F>(&self, f: F) -> bool
    where
        F: FnOnce(),
    {
        let first = self.0.swap(State::Called, Relaxed) == State::Fresh;
        if first {
            f();
        }
        first
    }
}

std::thread_local! {
    /// The life that the list belongs to, and the sites that ran in it. Only looked up, never walked.
    static CALLED: RefCell<(u64, Vec<usize>)> = const { RefCell::new((0, Vec::new())) };
}

/// Runs `f` the first time that the machine on this thread comes by `site` in its current life.
///
/// A module's statics start afresh with each load in Linux; a process's do not, so "once" needs the life's number.
#[doc(hidden)]
pub fn once_per_life(site: &'static OnceLite, f: impl FnOnce()) {
    let address = core::ptr::from_ref(site).addr();
    let life = machine::life_number();
    let first = CALLED.with_borrow_mut(|(of, sites)| {
        if *of != life {
            *of = life;
            sites.clear();
        }
        let first = !sites.contains(&address);
        if first {
            sites.push(address);
        }
        first
    });
    if first {
        f();
    }
}

/// Runs its statements the first time only.
///
/// Differs from Linux: the first time in each life of each machine, because a process loads a module many times without
/// starting its statics afresh.
#[macro_export]
macro_rules! do_once_lite {
    ($($body:tt)*) => {{
        static SITE: $crate::print::OnceLite = $crate::print::OnceLite::new();
        $crate::print::once_per_life(&SITE, || { $($body)* });
    }};
}

/// [`pr_emerg!`](crate::pr_emerg), the first time only.
#[macro_export]
macro_rules! pr_emerg_once {
    ($($message:tt)*) => { $crate::do_once_lite! { $crate::pr_emerg!($($message)*) } };
}

/// [`pr_alert!`](crate::pr_alert), the first time only.
#[macro_export]
macro_rules! pr_alert_once {
    ($($message:tt)*) => { $crate::do_once_lite! { $crate::pr_alert!($($message)*) } };
}

/// [`pr_crit!`](crate::pr_crit), the first time only.
#[macro_export]
macro_rules! pr_crit_once {
    ($($message:tt)*) => { $crate::do_once_lite! { $crate::pr_crit!($($message)*) } };
}

/// [`pr_err!`](crate::pr_err), the first time only.
#[macro_export]
macro_rules! pr_err_once {
    ($($message:tt)*) => { $crate::do_once_lite! { $crate::pr_err!($($message)*) } };
}

/// [`pr_warn!`](crate::pr_warn), the first time only.
#[macro_export]
macro_rules! pr_warn_once {
    ($($message:tt)*) => { $crate::do_once_lite! { $crate::pr_warn!($($message)*) } };
}

/// [`pr_notice!`](crate::pr_notice), the first time only.
#[macro_export]
macro_rules! pr_notice_once {
    ($($message:tt)*) => { $crate::do_once_lite! { $crate::pr_notice!($($message)*) } };
}

/// [`pr_info!`](crate::pr_info), the first time only.
#[macro_export]
macro_rules! pr_info_once {
    ($($message:tt)*) => { $crate::do_once_lite! { $crate::pr_info!($($message)*) } };
}
