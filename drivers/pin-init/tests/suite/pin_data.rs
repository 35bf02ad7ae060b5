//! What `#[pin_data]` and the `Zeroable` derives make of structs of all shapes.

#![allow(unsafe_code, reason = "one test implements a trait that only exists unsafe")]
#![deny(warnings, clippy::all)]

use core::{
    cell::UnsafeCell,
    marker::{PhantomData, PhantomPinned},
    mem::MaybeUninit,
    pin::Pin,
    ptr::NonNull,
};

use crate::support::{boxed, Broken};
use pin_init::{
    assert_pinned, init_zeroed, pin_data, pin_init, zeroed, InPlaceWrite, Init, MaybeZeroable, PinInit, Wrapper,
    Zeroable, ZeroableOption,
};

/// A default for a parameter, and `Self` in a field.
#[pin_data]
pub(crate) struct Queue<T, const N: usize = 4>
where
    T: Default + 'static,
{
    /// Pinned with the queue.
    #[pin]
    pub(crate) head: T,
    /// Not pinned.
    pub(crate) tail: [Option<NonNull<Self>>; N],
}

assert_pinned!(Queue<u8>, head, u8);

impl<T: Default> Queue<T> {
    fn head_by_hand(self: Pin<&mut Self>) -> Pin<&mut T> {
        assert_pinned!(Queue<T>, head, T, inline);
        // SAFETY: the field is pinned with the struct.
        unsafe { self.map_unchecked_mut(|queue| &mut queue.head) }
    }
}

fn queue() -> impl PinInit<Queue<u16>> {
    pin_init!(Queue { head: 7, tail: [None; 4] })
}

#[test]
fn projection_gives_each_field_its_kind_of_reference() {
    let mut queue = boxed(queue()).unwrap();

    let parts: QueueProjection<'_, u16> = queue.as_mut().project();
    let head: Pin<&mut u16> = parts.head;
    let tail: &mut [Option<NonNull<Queue<u16>>>; 4] = parts.tail;

    assert_eq!((*head, tail.len()), (7, 4));
    assert_eq!(*queue.as_mut().head_by_hand(), 7);
}

#[pin_data]
struct Lock<T: ?Sized, B: Backend> {
    state: B::State,
    #[pin]
    _pin: PhantomPinned,
    #[pin]
    data: UnsafeCell<T>,
}

trait Backend {
    type State: Default;
}

struct Spin;

impl Backend for Spin {
    type State = bool;
}

impl<T, B: Backend> Lock<T, B> {
    fn new(data: impl PinInit<T, Broken>) -> impl PinInit<Self, Broken> {
        pin_init!(Self {
            data <- UnsafeCell::pin_init(data),
            state: B::State::default(),
            _pin: PhantomPinned,
        }? Broken)
    }
}

#[test]
fn unsized_tail_is_supported() {
    let lock: Pin<Box<Lock<[u8; 2], Spin>>> = boxed(Lock::new(Ok([1, 2]))).unwrap();
    // SAFETY: only the type changes, the value stays.
    let mut lock: Pin<Box<Lock<[u8], Spin>>> = unsafe { Pin::new_unchecked(Pin::into_inner_unchecked(lock) as _) };

    let parts = lock.as_mut().project();

    assert!(!*parts.state);
    // SAFETY: the lock is borrowed mutably.
    assert_eq!(unsafe { &*parts.data.get() }, [1, 2]);
}

/// Answers whether a type is `Unpin`: the inherent constant exists only then and is preferred.
struct Probe<T>(PhantomData<T>);

trait NotUnpin {
    const IS_UNPIN: bool = false;
}

impl<T> NotUnpin for Probe<T> {}

impl<T: Unpin> Probe<T> {
    const IS_UNPIN: bool = true;
}

#[pin_data]
struct Transparent<T> {
    #[pin]
    pinned: T,
    loose: PhantomData<PhantomPinned>,
}

#[test]
fn only_pinned_fields_decide_about_unpin() {
    #[pin_data]
    struct Loose {
        #[pin]
        number: u8,
        elsewhere: [PhantomPinned; 1],
    }

    let answers = [
        Probe::<Loose>::IS_UNPIN,
        Probe::<Transparent<u8>>::IS_UNPIN,
        Probe::<Transparent<PhantomPinned>>::IS_UNPIN,
        Probe::<Lock<u8, Spin>>::IS_UNPIN,
    ];

    assert_eq!(answers, [true, true, false, false]);
}

#[test]
fn projection_of_a_type_parameter_is_pinned() {
    let mut value = boxed(pin_init!(Transparent { pinned: 3, loose: PhantomData })).unwrap();

    value.as_mut().project().pinned.set(4);

    assert_eq!(value.pinned, 4);
    let PhantomData = value.loose;
}

#[test]
fn self_in_field_types_means_the_struct() {
    trait Node {
        type Link;
    }
    #[pin_data]
    struct Item {
        #[pin]
        link: <Self as Node>::Link,
        bytes: [u8; Self::LEN],
        callback: fn(&Self) -> usize,
    }
    impl Node for Item {
        type Link = Option<NonNull<Self>>;
    }
    impl Item {
        const LEN: usize = 3;
    }

    let item = boxed(pin_init!(Item { link: None, bytes: [0; 3], callback: |item| item.bytes.len() })).unwrap();

    assert!(item.link.is_none());
    assert_eq!((item.callback)(&item), 3);
}

#[test]
fn lifetimes_and_higher_ranked_bounds_are_kept() {
    #[pin_data]
    #[allow(explicit_outlives_requirements, reason = "bounds are what is tested")]
    struct Handler<'a, 'b: 'a, F>
    where
        F: for<'x> Fn(&'x [u8]) -> &'x [u8],
    {
        #[pin]
        callback: F,
        input: &'a &'b [u8],
    }
    fn first(bytes: &[u8]) -> &[u8] {
        &bytes[..1]
    }
    let bytes: &&[u8] = &&[9, 8][..];

    let handler = boxed(pin_init!(Handler { callback: first, input: bytes })).unwrap();

    assert_eq!((handler.callback)(handler.input), [9]);
}

/// Two words.
#[derive(Zeroable)]
#[repr(C)]
struct Header {
    kind: u8,
    flag: bool,
    size: u64,
    next: Option<NonNull<Header>>,
    call: Option<unsafe extern "C" fn(*mut u8, usize) -> i32>,
    array: [(u8, char); 3],
}

#[derive(Zeroable)]
union Either {
    word: u64,
    bytes: [u8; 8],
}

#[derive(Zeroable)]
struct Wrap<'a, T, const N: usize>(T, [T; N], *const &'a ());

#[test]
fn derived_zeroable_makes_zeroes() {
    static HEADER: MaybeUninit<u8> = zeroed();
    let header = Header::zeroed();
    let wrap: Wrap<'_, u32, 2> = zeroed();
    let either = boxed(Either::init_zeroed()).unwrap();

    assert_eq!((header.kind, header.flag, header.size), (0, false, 0));
    assert!(header.next.is_none() && header.call.is_none());
    assert_eq!(header.array, [(0, '\0'); 3]);
    assert_eq!((wrap.0, wrap.1, wrap.2.is_null()), (0, [0, 0], true));
    // SAFETY: each field of the union is valid for any bytes.
    assert_eq!(unsafe { (either.word, either.bytes) }, (0, [0; 8]));
    // SAFETY: it has been zeroed.
    assert_eq!(unsafe { HEADER.assume_init() }, 0);
}

#[derive(MaybeZeroable)]
struct Plain<T> {
    value: T,
    flag: bool,
}

#[derive(MaybeZeroable)]
struct NeverZero {
    text: &'static str,
}

#[test]
fn maybe_zeroable_applies_where_it_can() {
    let plain: Plain<u8> = zeroed();
    let text = NeverZero { text: "kept" };

    assert_eq!((plain.value, plain.flag), (0, false));
    assert_eq!(text.text, "kept");
}

#[test]
fn zeroable_option_makes_options_zeroable() {
    #[repr(transparent)]
    struct Handle(core::num::NonZero<u32>);
    // SAFETY: a transparent `NonZero` leaves zero to `None`.
    unsafe impl ZeroableOption for Handle {}

    let none: [Option<Handle>; 2] = zeroed();

    assert!(none.iter().all(Option::is_none));
}

#[test]
fn static_memory_can_be_filled() {
    let pinned: &'static mut MaybeUninit<u32> = Box::leak(Box::new_uninit());
    let failing: &'static mut MaybeUninit<u32> = Box::leak(Box::new_uninit());

    let value = pinned.write_pin_init(init_zeroed::<u32>().chain(|value| {
        *value += 2;
        Ok(())
    }));

    assert_eq!(value.map(|value| *value), Ok(2));
    assert_eq!(failing.write_init(Err(Broken(1))), Err(Broken(1)));
}

#[test]
fn cast_keeps_the_value() {
    #[repr(transparent)]
    struct Newtype(u32);

    // SAFETY: `Newtype` is a transparent wrapper.
    let value = boxed(unsafe { pin_init::cast_init::<u32, Newtype, Broken>(Ok(6)) });

    assert_eq!(value.map(|value| value.0), Ok(6));
}

#[test]
fn scopes_run_when_the_initialiser_does() {
    let ran = core::cell::Cell::new(false);
    let scope = pin_init::init_scope(|| {
        ran.set(true);
        Ok::<_, Broken>(pin_init::init_scope(|| Ok(Ok(3_u8))))
    });

    assert!(!ran.get());
    let value = boxed(scope);

    assert_eq!(value.map(|value| *value), Ok(3));
    assert!(ran.get());
}

#[test]
fn uninit_leaves_the_bytes_alone() {
    let value = boxed(pin_init::uninit::<u8, Broken>()).unwrap();

    // SAFETY: `boxed` writes this byte before it runs the initialiser.
    assert_eq!(unsafe { value.assume_init() }, 0xa5);
}
