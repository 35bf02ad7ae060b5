//! The kernel's `dbg!`, which has the interface of the standard library's.

/// Prints an expression and its value at the info level and returns the value.
///
/// Without an argument it prints the place only; with several it returns a tuple. It is for debugging: a driver that
/// goes upstream has none.
///
/// # Examples
///
/// ```
/// # const __LOG_PREFIX: &[u8] = b"example\0";
/// # fn main() {
/// let sectors = kernel::dbg!(2 + 2);
/// assert_eq!(sectors, 4);
/// # }
/// ```
#[macro_export]
macro_rules! dbg {
    () => {
        $crate::pr_info!("[{}:{}:{}]\n", ::core::file!(), ::core::line!(), ::core::column!())
    };
    ($one:expr $(,)?) => {
        // A match, not a let: temporaries of the expression live as long as they would without the macro.
        match $one {
            value => {
                $crate::pr_info!(
                    "[{}:{}:{}] {} = {:#?}\n",
                    ::core::file!(),
                    ::core::line!(),
                    ::core::column!(),
                    ::core::stringify!($one),
                    &value
                );
                value
            }
        }
    };
    ($($each:expr),+ $(,)?) => { ($($crate::dbg!($each)),+,) };
}
