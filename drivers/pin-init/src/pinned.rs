//! Destruction of pinned values, and a proof that a field is pinned.

use core::pin::Pin;

use crate::__internal::{HasPinData, OnlyCallFromDrop};

/// A destructor that gets the value pinned.
///
/// Implement it by [`#[pinned_drop]`](macro@crate::pinned_drop), which adds the second argument,
/// and announce it by [`#[pin_data(PinnedDrop)]`](macro@crate::pin_data).
///
/// # Safety
///
/// Only `#[pinned_drop]` may implement this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is `#[pin_data(PinnedDrop)]` and does not implement `PinnedDrop`",
    note = "write `#[pinned_drop] impl PinnedDrop for ...`"
)]
pub unsafe trait PinnedDrop: HasPinData {
    /// Runs before the fields are dropped. The token keeps others than the compiler from calling
    /// it.
    fn drop(self: Pin<&mut Self>, only_call_from_drop: OnlyCallFromDrop);
}

/// Fails to compile unless the field of a `#[pin_data]` struct has the given type and is `#[pin]`.
///
/// `assert_pinned!(Struct, field, FieldType)` stands among items. Within a function a fourth
/// argument `inline` lets the types name the generic parameters of the surroundings.
///
/// # Examples
///
/// ```
/// use core::pin::Pin;
/// use pin_init::{assert_pinned, pin_data};
///
/// #[pin_data]
/// struct Queue<T> {
///     #[pin]
///     head: T,
///     len: usize,
/// }
///
/// assert_pinned!(Queue<u8>, head, u8);
///
/// impl<T> Queue<T> {
///     fn head(self: Pin<&mut Self>) -> Pin<&mut T> {
///         assert_pinned!(Queue<T>, head, T, inline);
///         // SAFETY: the field is pinned with the struct.
///         unsafe { self.map_unchecked_mut(|queue| &mut queue.head) }
///     }
/// }
/// ```
///
/// ```compile_fail,E0308
/// # use pin_init::{assert_pinned, pin_data};
/// #[pin_data]
/// struct Queue { len: usize }
/// assert_pinned!(Queue, len, usize);
/// ```
#[macro_export]
macro_rules! assert_pinned {
    ($whole_struct:ty, $field:ident, $content:ty, inline) => {
        let _ = |whole: *mut $whole_struct| -> $crate::__internal::Slot<$crate::__internal::Pinned, $content> {
            // SAFETY: the closure is never called.
            unsafe { $crate::__internal::table_of::<$whole_struct>().$field(whole) }
        };
    };
    ($whole_struct:ty, $field:ident, $content:ty) => {
        const _: () = {
            $crate::assert_pinned!($whole_struct, $field, $content, inline);
        };
    };
}
