//! What is dropped, and in which order, when an initialiser fails, panics or succeeds.

use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::support::{boxed, Broken, Log, Noisy};
use pin_init::{
    init, init_array_from_fn, pin_data, pin_init, pin_init_array_from_fn, pinned_drop, stack_pin_init, Init, PinInit,
};

#[pin_data]
struct Three<'a> {
    a: Noisy<'a>,
    #[pin]
    b: Noisy<'a>,
    c: Noisy<'a>,
}

#[test]
fn complete_struct_drops_its_fields_in_declaration_order() {
    let log = &Log::default();

    let three = boxed(pin_init!(Three { c: log.noisy("c"), a: log.noisy("a"), b: log.noisy("b") }));
    assert!(log.lines().is_empty());
    drop(three);

    assert_eq!(log.lines(), ["a", "b", "c"]);
}

#[test]
fn error_drops_initialised_fields_in_reverse_order() {
    let log = &Log::default();

    let three = boxed(pin_init!(Three {
        b <- log.noisy("b"),
        a: log.noisy("a"),
        c <- Err(Broken(1)),
    }? Broken));

    assert_eq!(three.err(), Some(Broken(1)));
    assert_eq!(log.lines(), ["a", "b"]);
}

#[test]
fn error_of_the_first_field_drops_nothing_of_the_struct() {
    let log = &Log::default();

    let three = boxed(init!(Three {
        a <- Err(Broken(2)),
        b: log.noisy("b"),
        c: log.noisy("c"),
    }? Broken));

    assert!(three.is_err());
    assert!(log.lines().is_empty());
}

#[test]
fn error_in_a_code_block_after_all_fields_drops_them_all() {
    let log = &Log::default();

    let three = boxed(pin_init!(Three {
        a: log.noisy("a"),
        b: log.noisy("b"),
        c: log.noisy("c"),
        _: { Err(Broken(3))?; },
    }? Broken));

    assert!(three.is_err());
    assert_eq!(log.lines(), ["c", "b", "a"]);
}

#[test]
fn panic_drops_initialised_fields_in_reverse_order() {
    let log = &Log::default();

    let stop = || -> Noisy<'_> { std::panic::resume_unwind(Box::new("stop")) };

    let result =
        catch_unwind(AssertUnwindSafe(|| boxed(pin_init!(Three { a: log.noisy("a"), b: log.noisy("b"), c: stop() }))));

    assert!(result.is_err());
    assert_eq!(log.lines(), ["b", "a"]);
}

#[pin_data]
struct Outer<'a> {
    first: Noisy<'a>,
    #[pin]
    inner: Three<'a>,
}

#[test]
fn error_in_a_nested_initialiser_unwinds_both_levels() {
    let log = &Log::default();

    let outer = boxed(pin_init!(Outer {
        first: log.noisy("first"),
        inner <- pin_init!(Three {
            a: log.noisy("a"),
            b <- Err(Broken(4)),
            c: log.noisy("c"),
        }? Broken),
    }? Broken));

    assert_eq!(outer.err(), Some(Broken(4)));
    assert_eq!(log.lines(), ["a", "first"]);
}

#[test]
fn value_replaced_through_its_binding_is_dropped_once() {
    let log = &Log::default();

    let three = boxed(init!(Three {
        a: log.noisy("old"),
        _: { *a = log.noisy("new"); },
        b: log.noisy("b"),
        c: log.noisy("c"),
    }));
    drop(three);

    assert_eq!(log.lines(), ["old", "new", "b", "c"]);
}

#[test]
fn failing_chain_drops_the_value() {
    let log = &Log::default();
    let fail = |_: &mut Noisy<'_>| Err(Broken(5));

    let plain = boxed(Ok(log.noisy("plain")).chain(fail));
    let pinned = boxed(Ok(log.noisy("pinned")).pin_chain(|_| Err(Broken(6))));

    assert_eq!(plain.err(), Some(Broken(5)));
    assert_eq!(pinned.err(), Some(Broken(6)));
    assert_eq!(log.lines(), ["plain", "pinned"]);
}

#[test]
fn failing_array_element_drops_those_before_it() {
    const NAMES: [&str; 4] = ["0", "1", "2", "3"];
    let log = &Log::default();
    let element = |index: usize| match index {
        2 => Err(Broken(2)),
        _ => Ok(log.noisy(NAMES[index])),
    };

    let movable = boxed(init_array_from_fn::<_, 4, _, _>(element));
    let pinned = boxed(pin_init_array_from_fn::<_, 4, _, _>(element));

    assert_eq!(movable.err(), Some(Broken(2)));
    assert_eq!(pinned.err(), Some(Broken(2)));
    assert_eq!(log.lines(), ["0", "1", "0", "1"]);
}

#[test]
fn panicking_array_element_drops_those_before_it() {
    let log = &Log::default();

    let result = catch_unwind(AssertUnwindSafe(|| {
        boxed(init_array_from_fn::<_, 3, _, _>(|index| {
            assert!(index < 1, "planted");
            log.noisy("first")
        }))
    }));

    assert!(result.is_err());
    assert_eq!(log.lines(), ["first"]);
}

#[pin_data(PinnedDrop)]
struct Guarded<'a, T: Copy>
where
    T: Into<u32>,
{
    log: &'a Log,
    id: T,
    #[pin]
    field: Noisy<'a>,
}

#[pinned_drop]
impl<T: Copy> PinnedDrop for Guarded<'_, T>
where
    T: Into<u32>,
{
    fn drop(self: core::pin::Pin<&mut Self>) {
        assert_eq!(self.id.into(), 5);
        self.project().log.say("pinned drop");
    }
}

#[test]
fn pinned_drop_runs_once_and_before_the_fields() {
    let log = &Log::default();

    let guarded = boxed(pin_init!(Guarded { log, id: 5_u8, field: log.noisy("field") }));
    drop(guarded);

    assert_eq!(log.lines(), ["pinned drop", "field"]);
}

#[test]
fn pinned_drop_does_not_run_on_a_struct_that_never_stood() {
    let log = &Log::default();

    let guarded = boxed(pin_init!(Guarded {
        log,
        field: log.noisy("field"),
        id: Err::<u8, _>(Broken(7))?,
    }? Broken));

    assert!(guarded.is_err());
    assert_eq!(log.lines(), ["field"]);
}

#[test]
fn stack_slot_drops_its_value_at_the_end_of_the_scope() {
    let log = &Log::default();

    {
        stack_pin_init!(let noisy = log.noisy("stack"));
        assert_eq!(noisy.name, "stack");
        log.say("in scope");
    }

    assert_eq!(log.lines(), ["in scope", "stack"]);
}

#[test]
fn refilled_stack_slot_drops_the_old_value_first() {
    use pin_init::__internal::StackInit;
    let log = &Log::default();
    let mut slot = core::pin::pin!(StackInit::uninit());

    assert!(slot.as_mut().init(log.noisy("old")).is_ok());
    assert!(slot.as_mut().init(Err::<Noisy<'_>, _>(Broken(8))).is_err());
    assert_eq!(log.lines(), ["old"]);
    assert!(slot.as_mut().init(log.noisy("new")).is_ok());

    assert_eq!(log.lines(), ["old"]);
}
