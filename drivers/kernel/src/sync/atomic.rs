//! Atomic variables with the orderings of the Linux kernel memory model (LKMM).
//!
//! Differs from Linux: one task of a machine runs at a time, so they never race; the orderings are passed on to Rust's
//! atomics, with `Full` as sequentially consistent. Each operation that a loop can wait with takes a nanosecond, and what
//! is due happens after it.

mod flag;
pub mod ordering;
mod predefined;
mod repr;

pub use flag::AtomicFlag;
pub use ordering::{Acquire, Full, Relaxed, Release};
pub use repr::AtomicImpl;

pub(crate) use repr::{AtomicArithmeticOps, AtomicBasicOps, AtomicExchangeOps};

use ordering::{AcquireOrRelaxed, Ordering, ReleaseOrRelaxed};
use repr::AtomicRepr;

/// Types that an [`Atomic`] can hold.
///
/// # Safety
///
/// - The type must have the size and alignment of [`Repr`](Self::Repr).
/// - Each of its values must be one of `Repr`'s, and going there and back must give the same value.
/// - It must be fine to hand it to another task, as `Send` says; raw pointers are, though not `Send`.
pub unsafe trait AtomicType: Sized + Copy {
    /// What the machine's atomic instructions work on.
    type Repr: AtomicImpl;
}

/// Types that an `Rhs` can be added to atomically.
///
/// # Safety
///
/// Adding the delta to the representation of any value, with wrapping, must give one of some value.
pub unsafe trait AtomicAdd<Rhs = Self>: AtomicType {
    /// Turns what is to be added into what is added to the representation.
    fn rhs_into_delta(rhs: Rhs) -> <Self::Repr as AtomicImpl>::Delta;
}

/// A variable that is read and written as a whole, also from an interrupt handler or another task.
///
/// # Examples
///
/// ```
/// use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed};
///
/// let pending = Atomic::new(1u32);
/// assert_eq!(pending.fetch_add(2, Full), 1);
/// assert_eq!(pending.cmpxchg(3, 0, Acquire), Ok(3));
/// assert_eq!(pending.load(Relaxed), 0);
/// ```
// The representation is always that of a valid `T`.
#[repr(transparent)]
pub struct Atomic<T: AtomicType>(AtomicRepr<T::Repr>);

// SAFETY: the types it can hold may go to other tasks.
unsafe impl<T: AtomicType> Send for Atomic<T> {}

// SAFETY: as above, and all shared access is atomic.
unsafe impl<T: AtomicType> Sync for Atomic<T> {}

/// Turns a value into its representation.
#[inline(always)]
const fn repr_of<T: AtomicType>(value: T) -> T::Repr {
    // SAFETY: the implementor of `AtomicType` says that each value is one of the representation's.
    unsafe { core::mem::transmute_copy(&value) }
}

/// Turns a representation into its value.
///
/// # Safety
///
/// It must be that of a value.
#[inline(always)]
unsafe fn value_of<T: AtomicType>(repr: T::Repr) -> T {
    // SAFETY: the caller's contract.
    unsafe { core::mem::transmute_copy(&repr) }
}

impl<T: AtomicType> Atomic<T> {
    /// Makes a variable.
    pub const fn new(v: T) -> Self {
        Self(AtomicRepr::new(repr_of(v)))
    }

    /// Looks at a plain variable as an atomic one.
    ///
    /// # Safety
    ///
    /// The pointer must be aligned and valid for reads and writes during `'a`, and all other access to the variable must
    /// be atomic meanwhile.
    pub unsafe fn from_ptr<'a>(ptr: *mut T) -> &'a Self {
        // SAFETY: the type has the layout of its representation, and the caller's contract covers the rest.
        unsafe { &*ptr.cast() }
    }

    /// Returns a pointer to the variable. Access through it must be atomic while others may access it.
    pub const fn as_ptr(&self) -> *mut T {
        self.0.as_ptr().cast()
    }

    /// Returns the variable for plain access, since nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: the pointer is that of a valid value that is borrowed alone.
        unsafe { &mut *self.as_ptr() }
    }
}

/// Lets a moment pass after an operation that a loop can wait with. What the operation returned may be out of date then, as
/// it may be on any processor.
#[inline]
fn moment() {
    // Destructors that run because the life ends must not let anything else happen.
    if !std::thread::panicking() {
        crate::machine::spin();
    }
}

impl<T: AtomicType<Repr: AtomicBasicOps>> Atomic<T> {
    /// Reads the variable, for this crate's own counts and flags: no time passes.
    #[inline(always)]
    pub(crate) fn peek<O: AcquireOrRelaxed>(&self, _: O) -> T {
        let repr = T::Repr::load(&self.0, ordering::of::<O>());
        // SAFETY: the variable always holds the representation of a value.
        unsafe { value_of(repr) }
    }

    /// Reads the variable. Reads and writes that follow stay behind an [`Acquire`] one.
    #[inline(always)]
    #[doc(alias("atomic_read", "atomic64_read"))]
    pub fn load<O: AcquireOrRelaxed>(&self, o: O) -> T {
        let value = self.peek(o);
        moment();
        value
    }

    /// Writes the variable. Reads and writes that precede stay before a [`Release`] one.
    #[inline(always)]
    #[doc(alias("atomic_set", "atomic64_set"))]
    pub fn store<O: ReleaseOrRelaxed>(&self, v: T, _: O) {
        T::Repr::store(&self.0, repr_of(v), ordering::of::<O>());
    }
}

impl<T: AtomicType<Repr: AtomicBasicOps> + core::fmt::Debug> core::fmt::Debug for Atomic<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.peek(Relaxed).fmt(f)
    }
}

impl<T: AtomicType<Repr: AtomicExchangeOps>> Atomic<T> {
    /// As [`xchg`](Self::xchg), for this crate's own flags: no time passes.
    #[inline(always)]
    pub(crate) fn swap<O: Ordering>(&self, v: T, _: O) -> T {
        let repr = T::Repr::swap(&self.0, repr_of(v), ordering::of::<O>());
        // SAFETY: the variable always holds the representation of a value.
        unsafe { value_of(repr) }
    }

    /// Writes the variable and returns what was there.
    #[inline(always)]
    #[doc(alias("atomic_xchg", "atomic64_xchg", "swap"))]
    pub fn xchg<O: Ordering>(&self, v: T, o: O) -> T {
        let old = self.swap(v, o);
        moment();
        old
    }

    /// As [`cmpxchg`](Self::cmpxchg), for this crate's own states: no time passes.
    #[inline(always)]
    pub(crate) fn compare_swap<O: Ordering>(&self, old: T, new: T, _: O) -> Result<T, T> {
        match T::Repr::compare_swap(&self.0, repr_of(old), repr_of(new), ordering::of::<O>()) {
            // SAFETY: the variable always holds the representation of a value.
            Ok(repr) => Ok(unsafe { value_of(repr) }),
            // SAFETY: as above.
            Err(repr) => Err(unsafe { value_of(repr) }),
        }
    }

    /// Writes `new` if `old` is there. Returns what was there, as `Ok` when it wrote; otherwise nothing is ordered.
    ///
    /// What is compared is the representation: two values with unequal bytes are unequal.
    #[inline(always)]
    #[doc(alias("atomic_cmpxchg", "atomic64_cmpxchg", "atomic_try_cmpxchg", "compare_exchange"))]
    pub fn cmpxchg<O: Ordering>(&self, old: T, new: T, o: O) -> Result<T, T> {
        let result = self.compare_swap(old, new, o);
        moment();
        result
    }
}

impl<T: AtomicType<Repr: AtomicArithmeticOps>> Atomic<T> {
    /// Adds to the variable, wrapping around.
    #[inline(always)]
    pub fn add<Rhs>(&self, v: Rhs, _: Relaxed)
    where
        T: AtomicAdd<Rhs>,
    {
        self.fetch_add(v, Relaxed);
    }

    /// Adds to the variable, wrapping around, and returns what was there.
    #[inline(always)]
    pub fn fetch_add<Rhs, O: Ordering>(&self, v: Rhs, _: O) -> T
    where
        T: AtomicAdd<Rhs>,
    {
        let repr = T::Repr::add(&self.0, T::rhs_into_delta(v), ordering::of::<O>());
        // SAFETY: the variable always holds the representation of a value, and the implementor of `AtomicAdd` says that
        // it does so now.
        unsafe { value_of(repr) }
    }

    /// Subtracts from the variable, wrapping around, and returns what was there.
    #[inline(always)]
    pub fn fetch_sub<Rhs, O: Ordering>(&self, v: Rhs, _: O) -> T
    where
        T: AtomicAdd<Rhs>,
    {
        let repr = T::Repr::sub(&self.0, T::rhs_into_delta(v), ordering::of::<O>());
        // SAFETY: as for `fetch_add`; subtracting is adding something else.
        unsafe { value_of(repr) }
    }
}

/// Reads a plain variable atomically: C's `READ_ONCE()` and `smp_load_acquire()`.
///
/// # Safety
///
/// The pointer must be aligned and valid for reads, and writes to the variable meanwhile must be atomic.
#[inline(always)]
#[doc(alias("READ_ONCE", "smp_load_acquire"))]
pub unsafe fn atomic_load<T: AtomicType<Repr: AtomicBasicOps>, O: AcquireOrRelaxed>(ptr: *mut T, o: O) -> T {
    // SAFETY: the caller's contract.
    let variable = unsafe { Atomic::from_ptr(ptr) };
    variable.load(o)
}

/// Writes a plain variable atomically: C's `WRITE_ONCE()` and `smp_store_release()`.
///
/// # Safety
///
/// The pointer must be aligned and valid for writes, and all access to the variable meanwhile must be atomic.
#[inline(always)]
#[doc(alias("WRITE_ONCE", "smp_store_release"))]
pub unsafe fn atomic_store<T: AtomicType<Repr: AtomicBasicOps>, O: ReleaseOrRelaxed>(ptr: *mut T, v: T, o: O) {
    // SAFETY: the caller's contract.
    let variable = unsafe { Atomic::from_ptr(ptr) };
    variable.store(v, o);
}

/// Does [`Atomic::xchg`] on a plain variable.
///
/// # Safety
///
/// As for [`Atomic::from_ptr`], during the call.
#[inline(always)]
pub unsafe fn xchg<T: AtomicType<Repr: AtomicExchangeOps>, O: Ordering>(ptr: *mut T, new: T, o: O) -> T {
    // SAFETY: the caller's contract.
    let variable = unsafe { Atomic::from_ptr(ptr) };
    variable.xchg(new, o)
}

/// Does [`Atomic::cmpxchg`] on a plain variable.
///
/// # Safety
///
/// As for [`Atomic::from_ptr`], during the call.
#[inline(always)]
#[doc(alias("try_cmpxchg"))]
pub unsafe fn cmpxchg<T, O: Ordering>(ptr: *mut T, old: T, new: T, o: O) -> Result<T, T>
where
    T: AtomicType<Repr: AtomicExchangeOps>,
{
    // SAFETY: the caller's contract.
    let variable = unsafe { Atomic::from_ptr(ptr) };
    variable.cmpxchg(old, new, o)
}
