//! Macros that initialise and pin a value in the current stack frame.

/// Declares a variable that holds a value pinned to the stack, by an initialiser that cannot fail.
///
/// The variable is a `Pin<&mut T>`. The type may be left out if the initialiser tells it.
///
/// # Examples
///
/// ```
/// use core::pin::Pin;
/// use pin_init::{pin_data, pin_init, stack_pin_init};
///
/// #[pin_data]
/// struct Waiter { ticket: u64 }
///
/// stack_pin_init!(let waiter: Waiter = pin_init!(Waiter { ticket: 9 }));
/// let waiter: Pin<&mut Waiter> = waiter;
/// assert_eq!(waiter.ticket, 9);
/// ```
#[macro_export]
macro_rules! stack_pin_init {
    (let $name:ident $(: $t:ty)? = $init:expr) => {
        let init = $init;
        let $name = ::core::pin::pin!($crate::__internal::StackInit$(::<$t>)?::uninit());
        #[allow(unused_mut)]
        let ::core::result::Result::Ok(mut $name) = $crate::__internal::StackInit::init($name, init);
    };
}

/// Declares a variable for a value pinned to the stack, by an initialiser that may fail.
///
/// With `=` the variable is a `Result<Pin<&mut T>, E>`, with `=?` the error is returned from the
/// function and the variable is a `Pin<&mut T>`.
///
/// # Examples
///
/// ```
/// use core::num::ParseIntError;
/// use pin_init::{pin_data, pin_init, stack_try_pin_init};
///
/// #[pin_data]
/// struct Speed { mbps: u32 }
///
/// fn double(text: &str) -> Result<u32, ParseIntError> {
///     stack_try_pin_init!(let speed: Speed =? pin_init!(Speed { mbps: text.parse()? }? ParseIntError));
///     Ok(speed.mbps * 2)
/// }
///
/// assert_eq!(double("100"), Ok(200));
/// assert!(double("fast").is_err());
/// ```
#[macro_export]
macro_rules! stack_try_pin_init {
    (let $name:ident $(: $t:ty)? = $init:expr) => {
        let init = $init;
        let $name = ::core::pin::pin!($crate::__internal::StackInit$(::<$t>)?::uninit());
        #[allow(unused_mut)]
        let mut $name = $crate::__internal::StackInit::init($name, init);
    };
    (let $name:ident $(: $t:ty)? =? $init:expr) => {
        let init = $init;
        let $name = ::core::pin::pin!($crate::__internal::StackInit$(::<$t>)?::uninit());
        #[allow(unused_mut)]
        let mut $name = $crate::__internal::StackInit::init($name, init)?;
    };
}
