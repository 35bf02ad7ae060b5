//! Types that are generic over one lifetime, as types: `ForLt!(Name<'_>)` stands for `Name<'a>` with every `'a`.

use core::marker::PhantomData;

pub use macros::{CovariantForLt, ForLt};

/// A type for each lifetime.
///
/// The macro of the same name makes an implementor: `ForLt!(Slot<'_>)`.
pub trait ForLt {
    /// The type with a lifetime put in.
    type Of<'a>: 'a;
}

/// A [`trait@ForLt`] whose types shrink with their lifetime, as `&'a T` does.
///
/// # Safety
///
/// `Of<'a>` must be covariant in `'a`.
pub unsafe trait CovariantForLt: ForLt {
    /// Shortens the lifetime inside.
    #[inline(always)]
    fn cast_ref<'r, 'short: 'r, 'long: 'short>(long: &'r Self::Of<'long>) -> &'r Self::Of<'short> {
        let short: *const Self::Of<'short> = core::ptr::from_ref(long).cast();
        // SAFETY: both types are one but for the lifetime, and the implementor says that it may be shortened.
        unsafe { &*short }
    }
}

/// How [`UnsafeForLtImpl`] learns the type of a lifetime from a `dyn for<'a> WithLt<'a, Of = …>`.
#[doc(hidden)]
pub trait WithLt<'a> {
    /// The type with `'a` put in.
    type Of: 'a;
}

/// What the macros expand to: `T` says the type, `WF` makes the compiler check that it is well formed, and `N` is 1 when
/// the macro proved covariance.
#[doc(hidden)]
pub struct UnsafeForLtImpl<T: ?Sized, WF, const N: usize>(PhantomData<(WF, T)>);

impl<T, WF, const N: usize> ForLt for UnsafeForLtImpl<T, WF, N>
where
    T: ?Sized + for<'a> WithLt<'a>,
{
    type Of<'a> = <T as WithLt<'a>>::Of;
}

// SAFETY: only `CovariantForLt!` makes `N` one, out of a proof that fails to compile for other types.
unsafe impl<T, WF> CovariantForLt for UnsafeForLtImpl<T, WF, 1> where T: ?Sized + for<'a> WithLt<'a> {}

#[cfg(test)]
mod tests {
    use super::{CovariantForLt, ForLt};
    use core::cell::Cell;

    /// A type with one lifetime that may be shortened.
    struct Window<'a> {
        bytes: &'a [u8],
    }

    fn length_of<F: for<'a> ForLt<Of<'a> = Window<'a>>>(window: &F::Of<'_>) -> usize {
        window.bytes.len()
    }

    fn both_lengths<'a, F>(long: &F::Of<'static>, short: &F::Of<'a>, len: impl Fn(&F::Of<'a>) -> usize) -> usize
    where
        F: CovariantForLt,
    {
        len(F::cast_ref(long)) + len(short)
    }

    #[test]
    fn type_takes_any_lifetime() {
        let bytes = [1, 2, 3];
        assert_eq!(length_of::<ForLt!(Window<'_>)>(&Window { bytes: &bytes }), 3);
    }

    #[test]
    fn covariant_type_is_shortened() {
        let bytes = [1, 2, 3];
        let (long, short) = (Window { bytes: b"static" }, Window { bytes: &bytes });
        let sum = both_lengths::<CovariantForLt!(Window<'_>)>(&long, &short, |window| window.bytes.len());
        assert_eq!(sum, 9);
    }

    #[test]
    fn invariant_type_is_still_a_type_of_a_lifetime() {
        fn put<'a, F: for<'b> ForLt<Of<'b> = Cell<&'b u8>>>(cell: &F::Of<'a>, value: &'a u8) {
            cell.set(value);
        }
        let (one, two) = (1, 2);
        let cell = Cell::new(&one);
        put::<ForLt!(Cell<&'_ u8>)>(&cell, &two);
        assert_eq!(*cell.get(), 2);
    }
}
