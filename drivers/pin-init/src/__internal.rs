//! What the macros expand to. Nothing here is an interface: it may change with the macros.

use core::{marker::PhantomData, mem, mem::MaybeUninit, pin::Pin, ptr};

use crate::{init_from_closure, pin_init_from_closure, Init, PinInit, Zeroable};

/// Marks a slot or guard whose field is pinned with its struct.
pub struct Pinned;

/// Marks a slot or guard whose field is not pinned.
pub struct Unpinned;

/// A field that is not initialised yet.
///
/// # Invariants
///
/// `place` is valid for writes, aligned, and nobody else uses it. With `P = Pinned`, what is
/// written there stays there.
pub struct Slot<P, T: ?Sized> {
    place: *mut T,
    pinning: PhantomData<P>,
}

impl<P, T: ?Sized> Slot<P, T> {
    /// Takes charge of a field.
    ///
    /// # Safety
    ///
    /// The invariants must hold.
    #[inline(always)]
    pub unsafe fn new(place: *mut T) -> Self {
        // INVARIANT: the caller says so.
        Self { place, pinning: PhantomData }
    }

    /// The guard for a field that stands by now.
    #[inline(always)]
    fn filled(self) -> Guard<P, T> {
        Guard { place: self.place, pinning: PhantomData }
    }
}

impl<P, T> Slot<P, T> {
    /// Initialises the field by a value.
    #[inline(always)]
    pub fn write(self, value: T) -> Guard<P, T> {
        // SAFETY: see the invariants of `Slot`.
        unsafe { self.place.write(value) };
        self.filled()
    }
}

impl<T: ?Sized> Slot<Pinned, T> {
    /// Initialises the field by an initialiser.
    #[inline(always)]
    pub fn init<E>(self, init: impl PinInit<T, E>) -> Result<Guard<Pinned, T>, E> {
        // SAFETY: see the invariants of `Slot`; the guard lends the field pinned only.
        unsafe { init.__init(self.place)? };
        Ok(self.filled())
    }
}

impl<T: ?Sized> Slot<Unpinned, T> {
    /// Initialises the field by an initialiser.
    #[inline(always)]
    pub fn init<E>(self, init: impl Init<T, E>) -> Result<Guard<Unpinned, T>, E> {
        // SAFETY: see the invariants of `Slot`; an `Init` does not ask for pinning.
        unsafe { init.__init(self.place)? };
        Ok(self.filled())
    }
}

/// A field that stands in a struct that does not yet. Dropping the guard drops the field.
///
/// # Invariants
///
/// As for [`Slot`], and the field is initialised.
pub struct Guard<P, T: ?Sized> {
    place: *mut T,
    pinning: PhantomData<P>,
}

impl<P, T: ?Sized> Guard<P, T> {
    /// Leaves the field to the struct, which is complete.
    #[inline(always)]
    pub fn release(self) {
        mem::forget(self);
    }
}

impl<T: ?Sized> Guard<Pinned, T> {
    /// The field, for the steps after its own.
    #[inline(always)]
    pub fn lend(&mut self) -> Pin<&mut T> {
        // SAFETY: see the invariants of `Guard`.
        unsafe { Pin::new_unchecked(&mut *self.place) }
    }
}

impl<T: ?Sized> Guard<Unpinned, T> {
    /// The field, for the steps after its own.
    #[inline(always)]
    pub fn lend(&mut self) -> &mut T {
        // SAFETY: see the invariants of `Guard`.
        unsafe { &mut *self.place }
    }
}

impl<P, T: ?Sized> Drop for Guard<P, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the field is initialised, and the struct that it belongs to will never be.
        unsafe { ptr::drop_in_place(self.place) };
    }
}

/// Proof that a slot has been initialised. It is what the closure of an initialiser returns, so
/// that a `return Ok(())` of the user's does not compile.
pub struct InitOk(());

impl InitOk {
    /// Vouches for a slot.
    ///
    /// # Safety
    ///
    /// Only the closure that `pin_init!` and `init!` write may call this, at its end, when the slot
    /// that it was given is initialised.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        InitOk(())
    }
}

/// The methods, named like the fields of a struct, that lead to the slots of these fields.
pub trait FieldTable: Sized {
    /// The struct.
    type Struct: ?Sized;

    /// The table, which has no content.
    const TABLE: Self;
}

/// A struct that has `#[pin_data]`.
///
/// # Safety
///
/// Only `#[pin_data]` may implement this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not marked `#[pin_data]`",
    label = "needs `#[pin_data]`",
    note = "`pin_init!` and `PinnedDrop` need a `#[pin_data]` struct; `init!` takes any struct"
)]
pub unsafe trait HasPinData {
    /// The table that knows which fields are pinned.
    type PinData: FieldTable<Struct = Self>;
}

/// The table for `init!`: no field is pinned, so the macro needs only the struct's type.
pub struct AllUnpinned<T>(PhantomData<fn(*mut T)>);

impl<T> FieldTable for AllUnpinned<T> {
    type Struct = T;
    const TABLE: Self = Self(PhantomData);
}

/// Gets a struct's table by the struct's path alone: `Path::__pin_fields()` infers the generic
/// arguments that the user left out, which `<Path as Trait>` could not.
pub trait FieldsOf {
    /// The table for `pin_init!`.
    #[inline(always)]
    fn __pin_fields() -> Self::PinData
    where
        Self: HasPinData,
    {
        FieldTable::TABLE
    }

    /// The table for `init!`.
    #[inline(always)]
    fn __all_fields() -> AllUnpinned<Self>
    where
        Self: Sized,
    {
        FieldTable::TABLE
    }
}

impl<T: ?Sized> FieldsOf for T {}

/// The table of a type that is fully written out.
#[inline(always)]
pub const fn table_of<T: HasPinData + ?Sized>() -> T::PinData {
    T::PinData::TABLE
}

/// Makes the initialiser of `pin_init!`. It is the [`InitOk`] that makes this safe: no closure
/// without `unsafe` can return one.
#[inline(always)]
pub fn pin_initializer<T: ?Sized, E, P: FieldTable<Struct = T>>(
    table: P,
    fill: impl FnOnce(P, *mut T) -> Result<InitOk, E>,
) -> impl PinInit<T, E> {
    // SAFETY: the closure initialises the slot and proves it, or its guards have emptied the slot.
    unsafe { pin_init_from_closure(move |slot| fill(table, slot).map(|InitOk(())| ())) }
}

/// Makes the initialiser of `init!`; see [`pin_initializer`].
#[inline(always)]
pub fn initializer<T, E>(
    table: AllUnpinned<T>,
    fill: impl FnOnce(AllUnpinned<T>, *mut T) -> Result<InitOk, E>,
) -> impl Init<T, E> {
    // SAFETY: as in `pin_initializer`; and a table without pinned fields asks each for an `Init`.
    unsafe { init_from_closure(move |slot| fill(table, slot).map(|InitOk(())| ())) }
}

/// Zeroes a struct before its fields are initialised.
///
/// # Safety
///
/// The slot must be valid for writes and aligned.
#[inline(always)]
pub unsafe fn zero_slot<T: Zeroable>(slot: *mut T) {
    // SAFETY: the caller vouches for the slot.
    unsafe { slot.write_bytes(0, 1) };
}

/// Takes code that is to be type-checked and not run: a struct expression of the slot's type.
#[inline(always)]
pub fn never_run<T>(_slot: *mut T, _check: impl FnOnce() -> T) {}

/// The token of [`PinnedDrop::drop`](crate::PinnedDrop::drop).
pub struct OnlyCallFromDrop(());

impl OnlyCallFromDrop {
    /// Makes the token.
    ///
    /// # Safety
    ///
    /// Only a `Drop::drop` may call this, to pass it on to the `PinnedDrop` of the same value.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        OnlyCallFromDrop(())
    }
}

/// The memory behind `stack_pin_init!`. The slot can be filled again; what it held is dropped.
///
/// # Invariants
///
/// `value` is initialised if `is_init`.
pub struct StackInit<T> {
    value: MaybeUninit<T>,
    is_init: bool,
}

impl<T> StackInit<T> {
    /// An empty slot.
    #[inline]
    pub fn uninit() -> Self {
        Self { value: MaybeUninit::uninit(), is_init: false }
    }

    /// Fills the slot and lends its value.
    ///
    /// # Errors
    ///
    /// Whatever `init` fails with; the slot is empty then.
    #[inline]
    pub fn init<E>(self: Pin<&mut Self>, init: impl PinInit<T, E>) -> Result<Pin<&mut T>, E> {
        // SAFETY: the value is not moved.
        let this = unsafe { self.get_unchecked_mut() };
        this.clear();
        // SAFETY: the slot is empty, and `self` being pinned keeps the value in its place.
        unsafe { init.__init(this.value.as_mut_ptr())? };
        this.is_init = true;
        // SAFETY: the slot is filled, and stays in its place.
        Ok(unsafe { Pin::new_unchecked(this.value.assume_init_mut()) })
    }

    /// Drops the value, if there is one.
    #[inline]
    fn clear(&mut self) {
        // The flag goes first, so that a panic in the destructor does not lead to a second one.
        if mem::take(&mut self.is_init) {
            // SAFETY: the flag said so.
            unsafe { self.value.assume_init_drop() };
        }
    }
}

impl<T> Drop for StackInit<T> {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}
