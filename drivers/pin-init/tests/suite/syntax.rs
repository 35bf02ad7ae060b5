//! Each form that `pin_init!`, `init!` and the stack macros accept, and what it means.

#![allow(unsafe_code, reason = "drivers initialise fields through raw pointers")]

use core::{cell::Cell, convert::Infallible, marker::PhantomPinned, pin::Pin, ptr::NonNull};

use crate::support::{boxed, Broken, Log};
use pin_init::{init, init_zeroed, pin_data, pin_init, stack_pin_init, stack_try_pin_init, Init, PinInit, Zeroable};

/// As the kernel crate defines it.
macro_rules! try_pin_init {
    ($($args:tt)*) => { ::pin_init::pin_init!(#[default_error(crate::support::Broken)] $($args)*) };
}

/// As the kernel crate defines it.
macro_rules! try_init {
    ($($args:tt)*) => { ::pin_init::init!(#[default_error(crate::support::Broken)] $($args)*) };
}

#[pin_data]
#[derive(Zeroable)]
struct Point {
    x: u32,
    #[pin]
    y: u32,
    z: u32,
}

fn sum(point: &Point) -> (u32, u32, u32) {
    (point.x, point.y, point.z)
}

#[test]
fn value_shorthand_and_in_place_forms_fill_their_fields() {
    let x = 1;

    stack_pin_init!(let point = pin_init!(Point { x, y <- 2, z: 1 + 2 }));

    assert_eq!(sum(&point), (1, 2, 3));
}

#[test]
fn fields_run_in_the_order_written() {
    let log = &Log::default();
    let tell = |name, value: u32| {
        log.say(name);
        value
    };

    stack_pin_init!(let _point = pin_init!(Point {
        z: tell("z", 1),
        _: { log.say("code"); },
        x: tell("x", 2),
        y <- tell("y", 3),
    }));

    assert_eq!(log.lines(), ["z", "code", "x", "y"]);
}

#[test]
fn earlier_fields_are_visible_by_name() {
    stack_pin_init!(let point = pin_init!(Point {
        x: 10,
        y: {
            *x += 1;
            *x * 2
        },
        z: {
            let y: &mut Pin<&mut u32> = &mut { y };
            **y += 1;
            **y + *x
        },
    }));

    assert_eq!(sum(&point), (11, 23, 34));
}

#[test]
fn fields_of_init_are_visible_as_mutable_references() {
    let make = init!(Point {
        x: 1,
        y: 2,
        z: {
            *y += 5;
            *x + *y
        }
    });

    let point = boxed(make).unwrap();

    assert_eq!(sum(&point), (1, 7, 8));
}

#[test]
fn code_block_reads_and_changes_earlier_fields() {
    stack_pin_init!(let point = pin_init!(Point {
        x: 1,
        y: 2,
        z: 3,
        _: {
            let total = *x + *y + *z;
            *x = total;
        },
    }));

    assert_eq!(sum(&point), (6, 2, 3));
}

#[test]
fn code_block_can_fail() {
    let limit = 2;

    let point = boxed(try_pin_init!(Point {
        x: 1,
        y: 2,
        z: 3,
        _: {
            if *z > limit {
                return Err(Broken(*z));
            }
        },
    }));

    assert_eq!(point.err(), Some(Broken(3)));
}

#[test]
fn value_is_an_initialiser_and_so_is_a_result() {
    fn checked(value: u32) -> Result<u32, Broken> {
        if value == 0 {
            return Err(Broken(0));
        }
        Ok(value)
    }
    let make = |x| try_pin_init!(Point { x <- checked(x), y <- checked(2), z: checked(3)? });

    assert_eq!(sum(&boxed(make(1)).unwrap()), (1, 2, 3));
    assert_eq!(boxed(make(0)).err(), Some(Broken(0)));
}

#[test]
fn result_of_the_whole_struct_is_an_initialiser() {
    fn probe(fail: bool) -> impl PinInit<Point, Broken> {
        if fail {
            return Err(Broken(1));
        }
        Ok(Point { x: 1, y: 2, z: 3 })
    }

    assert_eq!(sum(&boxed(probe(false)).unwrap()), (1, 2, 3));
    assert_eq!(boxed(probe(true)).err(), Some(Broken(1)));
}

#[test]
fn error_type_after_the_braces_wins_over_the_default() {
    let init = try_init!(Point { x: "7".parse()?, y: 0, z: 0 }? core::num::ParseIntError);
    let error = boxed(try_init!(Point { x: "?".parse()?, y: 0, z: 0 }? core::num::ParseIntError));

    assert_eq!(boxed(init).unwrap().x, 7);
    let _: core::num::ParseIntError = error.err().expect("`?` is no number");
}

#[test]
fn infallible_parts_fit_into_a_fallible_whole() {
    fn part() -> impl PinInit<u32, Infallible> {
        5
    }

    let point = boxed(try_pin_init!(Point { x: 0, y <- part(), z: 0 }));

    assert_eq!(point.unwrap().y, 5);
}

#[test]
fn zeroed_rest_fills_what_is_left_out() {
    let pinned = boxed(pin_init!(Point { y: 9, ..Zeroable::init_zeroed() })).unwrap();
    let movable = boxed(init!(Point { x <- 4, ..Zeroable::init_zeroed() })).unwrap();
    let nothing = boxed(pin_init!(Point { ..Zeroable::init_zeroed() })).unwrap();

    assert_eq!(sum(&pinned), (0, 9, 0));
    assert_eq!(sum(&movable), (4, 0, 0));
    assert_eq!(sum(&nothing), (0, 0, 0));
}

#[test]
fn zeroes_are_written_before_the_fields() {
    let point = boxed(pin_init!(&this in Point {
        // SAFETY: the struct has been zeroed already.
        x: unsafe { (*this.as_ptr()).z } + 1,
        ..Zeroable::init_zeroed()
    }));

    assert_eq!(sum(&point.unwrap()), (1, 0, 0));
}

#[pin_data]
struct SelfPointing {
    value: u64,
    whole: NonNull<SelfPointing>,
    inner: *const u64,
    #[pin]
    _pin: PhantomPinned,
}

#[test]
fn this_points_to_the_final_place() {
    let value = boxed(pin_init!(&this in SelfPointing {
        value: 3,
        whole: this,
        inner: core::ptr::from_ref(value),
        _pin: PhantomPinned,
    }))
    .unwrap();

    let address: *const SelfPointing = &raw const *value;
    assert_eq!(value.whole.as_ptr().cast_const(), address);
    assert_eq!(value.inner, &raw const value.value);
    // SAFETY: it points to `value.value`, as just asserted.
    assert_eq!(unsafe { *value.inner }, 3);
}

#[pin_data]
struct Borrower<'a> {
    /// Dropped before `registers`, from which it borrows.
    user: &'a Cell<u32>,
    #[pin]
    registers: Cell<u32>,
}

#[test]
fn later_field_borrows_from_an_earlier_one() {
    let value = boxed(pin_init!(Borrower {
        registers: Cell::new(1),
        // SAFETY: the struct is pinned and drops `user` first.
        user: unsafe { &*core::ptr::from_ref(registers.as_ref().get_ref()) },
    }))
    .unwrap();

    value.user.set(8);

    assert_eq!(value.registers.get(), 8);
}

#[pin_data]
struct Generic<'a, T: Clone, const N: usize>
where
    T: Default,
{
    #[pin]
    items: [T; N],
    name: &'a str,
}

#[test]
fn generic_arguments_may_be_written_or_inferred() {
    let written = boxed(pin_init!(Generic::<'_, u8, 2> { items: [1, 2], name: "w" })).unwrap();
    let inferred = boxed(pin_init!(Generic { items <- [3_u16; 3], name: "i" })).unwrap();

    assert_eq!((written.items, written.name), ([1, 2], "w"));
    assert_eq!((inferred.items, inferred.name), ([3; 3], "i"));
}

impl<'a, T: Clone + Default, const N: usize> Generic<'a, T, N> {
    fn new<F: Fn() -> T>(name: &'a str, item: F) -> impl PinInit<Self, Broken> {
        try_pin_init!(Self { items: core::array::from_fn(|_| item()), name })
    }
}

mod nested {
    pub(crate) mod deeper {
        #[pin_init::pin_data]
        pub(crate) struct Inner {
            #[pin]
            pub(crate) value: u8,
            pub(in super::super) other: u8,
        }
    }
}

#[pin_data]
struct Outer {
    #[pin]
    inner: nested::deeper::Inner,
    #[pin]
    alias: Alias,
    unit: Unit,
}

type Alias = Single<u8>;

#[pin_data]
struct Single<T> {
    #[pin]
    value: T,
}

#[pin_data]
struct Unit;

#[test]
fn paths_aliases_and_nested_initialisers_work() {
    let outer = boxed(pin_init!(Outer {
        inner <- pin_init!(nested::deeper::Inner { value: 1, other: 2 }),
        alias <- pin_init!(Alias { value <- 3 }),
        unit <- init!(Unit {}),
    }))
    .unwrap();

    assert_eq!((outer.inner.value, outer.inner.other, outer.alias.value), (1, 2, 3));
    let Unit = outer.unit;
}

#[pin_data]
struct Conditional {
    always: u8,
    #[cfg(test)]
    #[pin]
    present: u8,
    #[cfg(any())]
    #[pin]
    absent: MissingType,
}

#[test]
fn cfg_removes_fields_and_steps() {
    let value = boxed(pin_init!(Conditional {
        #[cfg(any())]
        always: no_such_function(),
        #[cfg(test)]
        always: 1,
        present <- 2,
        #[cfg(any())]
        absent <- no_such_function(),
        #[cfg(any())]
        _: { no_such_function() },
    }))
    .unwrap();
    let mut value = value;
    let mut parts = value.as_mut().project();

    assert_eq!((*parts.always, *parts.present), (1, 2));
    parts.present.set(3);
    assert_eq!(value.present, 3);
}

#[test]
fn attributes_apply_to_the_users_expression() {
    #[deny(clippy::identity_op, unused_parens)]
    fn make() -> impl Init<Point> {
        init!(Point {
            #[allow(unused_parens, reason = "the attribute is what is tested")]
            x: (1),
            y: 2,
            z: 3,
        })
    }

    assert_eq!(boxed(make()).unwrap().x, 1);
}

#[test]
fn field_called_slot_works_through_the_kernels_macro() {
    #[pin_data]
    struct Function {
        slot: u8,
        after: u8,
    }

    let value = boxed(try_pin_init!(Function { slot: 3, after: *slot + 1 })).unwrap();

    assert_eq!((value.slot, value.after), (3, 4));
}

#[test]
fn stack_slot_pins_and_returns_errors() {
    fn run(y: Result<u32, Broken>) -> Result<u32, Broken> {
        stack_try_pin_init!(let point: Point =? try_pin_init!(Point { x: 0, y <- y, z: 0 }));
        let point: Pin<&mut Point> = point;
        Ok(point.y)
    }
    stack_try_pin_init!(let kept = try_pin_init!(Point { x: 0, y <- Err(Broken(4)), z: 0 }));

    assert_eq!(run(Ok(6)), Ok(6));
    assert_eq!(run(Err(Broken(5))), Err(Broken(5)));
    assert_eq!(kept.err(), Some(Broken(4)));
}

#[test]
fn array_can_be_an_element_of_a_larger_whole() {
    struct Large {
        bytes: [u8; 1 << 16],
        words: [usize; 4],
    }

    let large = boxed(init!(Large {
        bytes <- init_zeroed(),
        words <- pin_init::init_array_from_fn(|index| index * 2),
    }))
    .unwrap();

    assert!(large.bytes.iter().all(|&byte| byte == 0));
    assert_eq!(large.words, [0, 2, 4, 6]);
}

#[test]
fn function_returning_an_initialiser_can_borrow_its_arguments() {
    let name = String::from("borrowed");

    let made = boxed(Generic::<u8, 2>::new(&name, || 7)).unwrap();

    assert_eq!((made.items, made.name), ([7, 7], "borrowed"));
}

/// The shape of a bus driver: data that borrows from its device, made in place by `probe`.
trait Driver {
    type Data<'bound>: 'bound;

    fn probe<'bound>(
        device: &'bound Device,
        id: Option<&'bound u32>,
    ) -> impl PinInit<Self::Data<'bound>, Broken> + 'bound;
}

struct Device {
    registers: [Cell<u32>; 2],
}

impl Device {
    fn map(&self, bar: usize) -> impl PinInit<Bar<'_>, Broken> + '_ {
        pin_init::pin_init_scope(move || {
            let register = self.registers.get(bar).ok_or(Broken(1))?;
            Ok(try_pin_init!(Bar { register }))
        })
    }
}

#[pin_data]
struct Bar<'a> {
    register: &'a Cell<u32>,
}

struct Sample;

#[pin_data]
struct SampleData<'bound> {
    handler: Handler<'bound>,
    #[pin]
    bar: Bar<'bound>,
    id: u32,
}

struct Handler<'a> {
    bar: &'a Bar<'a>,
}

impl Driver for Sample {
    type Data<'bound> = SampleData<'bound>;

    fn probe<'bound>(
        device: &'bound Device,
        id: Option<&'bound u32>,
    ) -> impl PinInit<SampleData<'bound>, Broken> + 'bound {
        pin_init::pin_init_scope(move || {
            let id = *id.ok_or(Broken(2))?;
            Ok(try_pin_init!(SampleData {
                bar <- device.map(1),
                handler: Handler {
                    // SAFETY: the data is pinned and drops `handler` before `bar`.
                    bar: unsafe { &*core::ptr::from_ref(bar.as_ref().get_ref()) },
                },
                id,
                _: {
                    bar.register.set(*id);
                },
            }))
        })
    }
}

#[test]
fn probe_of_a_driver_with_borrowing_data_works() {
    let device = Device { registers: [Cell::new(0), Cell::new(0)] };

    let data = boxed(Sample::probe(&device, Some(&7))).unwrap();
    let unknown = boxed(Sample::probe(&device, None));

    assert_eq!(data.handler.bar.register.get(), 7);
    assert_eq!((device.registers[1].get(), data.id), (7, 7));
    assert_eq!(unknown.err(), Some(Broken(2)));
}
