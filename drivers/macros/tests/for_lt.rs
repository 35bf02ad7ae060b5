//! `ForLt!` and `CovariantForLt!` against stand-ins for the traits in `kernel::types`.

extern crate self as kernel;

use core::cell::Cell;
use macros::{CovariantForLt, ForLt};
use types::for_lt::{CovariantForLt, ForLt};

mod types {
    pub(crate) mod for_lt {
        use core::marker::PhantomData;

        pub(crate) trait ForLt {
            type Of<'a>: 'a;
        }

        pub(crate) trait CovariantForLt: ForLt {}

        pub(crate) trait WithLt<'a> {
            type Of: 'a;
        }

        pub(crate) struct UnsafeForLtImpl<T: ?Sized, WF, const N: usize>(PhantomData<(WF, T)>);

        impl<Family, Static, const N: usize> ForLt for UnsafeForLtImpl<Family, Static, N>
        where
            Family: ?Sized + for<'a> WithLt<'a>,
        {
            type Of<'a> = <Family as WithLt<'a>>::Of;
        }

        impl<T: ?Sized + for<'a> WithLt<'a>, WF> CovariantForLt for UnsafeForLtImpl<T, WF, 1> {}
    }
}

struct Window<'a>(&'a [u8]);

struct Slot<'a>(Cell<&'a u8>);

type AnyWindow = CovariantForLt!(Window<'_>);
type AnyNamedWindow = CovariantForLt!(for<'x> (Window<'x>, &'x Window<'x>));
type AnySlot = ForLt!(Slot<'_>);

/// Holds one instance of the family for a lifetime of its own.
struct Holder<'a, F: ForLt>(F::Of<'a>);

fn is_covariant<F: CovariantForLt>() -> bool {
    true
}

/// The type mentions a generic parameter, which no item inside the expansion could name.
fn any_reference_is_covariant<T: 'static>() -> bool {
    is_covariant::<CovariantForLt!(&T)>()
}

#[test]
fn family_is_instantiated_with_the_lifetime_at_hand() {
    let bytes = [1, 2, 3];

    let holder: Holder<'_, AnyWindow> = Holder(Window(&bytes));

    assert_eq!(holder.0 .0, [1, 2, 3]);
}

#[test]
fn named_binder_may_be_used_more_than_once() {
    let bytes = [4];
    let window = Window(&bytes);

    let holder: Holder<'_, AnyNamedWindow> = Holder((Window(&bytes), &window));

    assert_eq!(holder.0 .0 .0, holder.0 .1 .0);
}

#[test]
fn invariant_type_is_accepted_without_covariance() {
    let (old, new) = (1, 2);

    let holder: Holder<'_, AnySlot> = Holder(Slot(Cell::new(&old)));
    holder.0 .0.set(&new);

    assert_eq!(*holder.0 .0.get(), 2);
}

#[test]
fn elided_reference_over_a_generic_parameter_needs_no_proof() {
    assert!(any_reference_is_covariant::<String>());
}

#[test]
fn type_without_lifetime_is_accepted() {
    let holder: Holder<'_, ForLt!(u32)> = Holder(9);

    assert_eq!(holder.0, 9);
    assert!(is_covariant::<CovariantForLt!(u32)>());
}
