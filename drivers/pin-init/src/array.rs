//! Arrays, one element at a time.

use core::{marker::PhantomData, mem, ptr};

use crate::{Init, PinInit};

/// Initialises an array by the initialiser that `make_init` returns for each index.
///
/// # Errors
///
/// The first element that fails ends it; the elements before are dropped.
///
/// # Examples
///
/// ```
/// use pin_init::{init_array_from_fn, stack_pin_init};
///
/// stack_pin_init!(let squares = init_array_from_fn::<_, 4, usize, _>(|i| i * i));
/// assert_eq!(*squares, [0, 1, 4, 9]);
/// ```
#[inline]
pub fn init_array_from_fn<I, const N: usize, T, E>(make_init: impl FnMut(usize) -> I) -> impl Init<[T; N], E>
where
    I: Init<T, E>,
{
    EachElement::new(make_init)
}

/// Initialises a pinned array by the initialiser that `make_init` returns for each index.
///
/// # Errors
///
/// The first element that fails ends it; the elements before are dropped.
#[inline]
pub fn pin_init_array_from_fn<I, const N: usize, T, E>(make_init: impl FnMut(usize) -> I) -> impl PinInit<[T; N], E>
where
    I: PinInit<T, E>,
{
    EachElement::new(make_init)
}

struct EachElement<F, T> {
    make_init: F,
    target: PhantomData<fn(*mut T)>,
}

impl<F, T> EachElement<F, T> {
    fn new(make_init: F) -> Self {
        Self { make_init, target: PhantomData }
    }
}

/// The elements that stand already; dropped with the guard.
struct Done<T> {
    first: *mut T,
    count: usize,
}

impl<T> Drop for Done<T> {
    fn drop(&mut self) {
        let elements = ptr::slice_from_raw_parts_mut(self.first, self.count);
        // SAFETY: exactly `count` elements are initialised, and nobody else drops them.
        unsafe { ptr::drop_in_place(elements) };
    }
}

// SAFETY: `Ok` is returned once all elements stand; on an error or a panic the guard drops those
// that do. An element is as pinned as the array.
unsafe impl<Make, Element, T, E, const N: usize> PinInit<[T; N], E> for EachElement<Make, T>
where
    Make: FnMut(usize) -> Element,
    Element: PinInit<T, E>,
{
    unsafe fn __init(mut self, slot: *mut [T; N]) -> Result<(), E> {
        let mut done = Done { first: slot.cast::<T>(), count: 0 };
        while done.count < N {
            let init = (self.make_init)(done.count);
            // SAFETY: `count` is within the array, and its element is not initialised yet.
            unsafe { init.__init(done.first.add(done.count))? };
            done.count += 1;
        }
        mem::forget(done);
        Ok(())
    }
}

// SAFETY: if no element relies on pinning, neither does the array.
unsafe impl<Make, Element, T, E, const N: usize> Init<[T; N], E> for EachElement<Make, T>
where
    Make: FnMut(usize) -> Element,
    Element: Init<T, E>,
{
}
