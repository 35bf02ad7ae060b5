//! Access to one part of a typed view: `io_project!`, `io_read!` and `io_write!`.

use super::{Io, IoBackend};
use crate::ptr::KnownSize;

/// Gives a view's backend operations as methods, so that [`io_project!`](crate::io::io_project) can call them without
/// naming the type of the view.
#[derive(Clone, Copy)]
#[doc(hidden)]
pub struct ProjectHelper<T>(pub T);

impl<'a, T: Io<'a, Backend: IoBackend<View<'a, T::Target> = T>>> ProjectHelper<T> {
    /// The pointer to project.
    #[inline(always)]
    pub fn as_ptr(self) -> *mut T::Target {
        <T::Backend as IoBackend>::as_ptr(self.0)
    }

    /// The view of the part that `part` points to.
    ///
    /// # Safety
    ///
    /// `part` is a projection of [`as_ptr`](Self::as_ptr).
    #[inline(always)]
    pub unsafe fn project_view<U>(self, part: *mut U) -> <T::Backend as IoBackend>::View<'a, U>
    where
        U: ?Sized + KnownSize,
    {
        // SAFETY: The caller's promise.
        unsafe { <T::Backend as IoBackend>::project_view::<T::Target, U>(self.0, part) }
    }
}

/// The view of a part of a view: `io_project!(io, path)`, with the paths of [`ptr::project!`](crate::ptr::project).
///
/// It works on anything that implements [`Io`], and gives that backend's view.
///
/// ```
/// use kernel::{io::{io_project, Mmio}, prelude::*};
///
/// #[repr(C)]
/// struct Queue { head: u32, tail: u32 }
///
/// fn tail_of(queues: Mmio<'_, [Queue]>, n: usize) -> Result<Mmio<'_, u32>> {
///     Ok(io_project!(queues, [try: n].tail))
/// }
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! io_project {
    ($io:expr, $($path:tt)*) => {{
        // A method call, so that `$io` can be the owner of a mapping as well as a reference to one.
        #[allow(unused_imports, reason = "the caller may have the trait in scope")]
        use $crate::io::IoBase as _;
        let whole = $crate::io::ProjectHelper($io.as_view());
        let part = $crate::ptr::project!(mut whole.as_ptr(), $($path)*);
        #[allow(unused_unsafe, reason = "the caller may itself be an unsafe block")]
        // SAFETY: `project!` made it from that very pointer.
        let view = unsafe { whole.project_view(part) };
        view
    }};
}

/// Reads a part of a view: `io_read!(io, path)`, with the paths of [`ptr::project!`](crate::ptr::project).
///
/// The part must be of a type that the view's backend can access in one piece.
///
/// ```
/// use kernel::{io::{io_read, Mmio}, prelude::*};
///
/// #[repr(C)]
/// struct Queue { head: u32, tail: u32 }
///
/// fn is_idle(queue: Mmio<'_, Queue>) -> bool {
///     io_read!(queue, .head) == io_read!(queue, .tail)
/// }
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! io_read {
    ($io:expr, $($path:tt)*) => {
        $crate::io::Io::read_val($crate::io_project!($io, $($path)*))
    };
}

/// Writes a part of a view: `io_write!(io, path, value)`, with the paths of [`ptr::project!`](crate::ptr::project).
///
/// The part must be of a type that the view's backend can access in one piece.
///
/// ```
/// use kernel::{io::{io_write, Mmio}, prelude::*};
///
/// #[repr(C)]
/// struct Queue { head: u32, tail: u32 }
///
/// fn empty(queues: Mmio<'_, [Queue; 4]>) {
///     io_write!(queues, [build: 3].head, 0);
/// }
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! io_write {
    // A path has no end mark of its own, so its steps are taken over one by one until only `, value` is left.
    (@path [$($path:tt)*] $io:expr; .$field:tt $($rest:tt)*) => {
        $crate::io_write!(@path [$($path)* .$field] $io; $($rest)*)
    };
    (@path [$($path:tt)*] $io:expr; [$flavor:ident: $i:expr] $($rest:tt)*) => {
        $crate::io_write!(@path [$($path)* [$flavor: $i]] $io; $($rest)*)
    };
    (@path [$($path:tt)*] $io:expr; , $value:expr) => {
        $crate::io::Io::write_val($crate::io_project!($io, $($path)*), $value)
    };
    ($io:expr, $($rest:tt)*) => {
        $crate::io_write!(@path [] $io; $($rest)*)
    };
}
