//! Locks in statics: [`global_lock!`].
//!
//! Differs from Linux: a static is there once in the process, but several machines may run in it, on threads of their own
//! and one after another. The static holds the initial value, and each life of a machine has a copy, as each load of a
//! module has a copy of its data section.

use super::{Backend, Guard, Lock};
use crate::machine;
use crate::str::{CStr, CStrExt as _};
use crate::sync::LockClassKey;
use crate::types::Opaque;
use core::alloc::Layout;
use core::cell::{RefCell, UnsafeCell};
use core::marker::{PhantomData, PhantomPinned};
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use std::vec::Vec;

/// What belongs to one global lock; [`global_lock!`] makes the type.
pub trait GlobalLockBackend {
    /// The lock's name.
    const NAME: &'static CStr;
    /// What it guards.
    type Item: 'static;
    /// Its kind.
    type Backend: Backend + 'static;
    /// Returns its class.
    fn get_lock_class() -> Pin<&'static LockClassKey>;
}

/// A lock in a static, with its data; see [`global_lock!`].
pub struct GlobalLock<B: GlobalLockBackend> {
    /// Never changed and never dropped: the pattern for the copies.
    initial: MaybeUninit<B::Item>,
    /// The address names the lock, so it must have one of its own even around an empty item.
    _address: u8,
}

// SAFETY: the static's own data is only copied; the copies stay on the thread that made them, and what a value that may be
// sent to any thread consists of may be copied to any thread.
unsafe impl<B: GlobalLockBackend<Item: Send>> Sync for GlobalLock<B> {}

/// A life's copy of a lock.
struct Copy {
    /// The address of the static.
    of: usize,
    life: u64,
    memory: *mut u8,
    layout: Layout,
}

impl Drop for Copy {
    fn drop(&mut self) {
        // The content is forgotten, as that of any static is.
        // SAFETY: the memory was allocated with this layout, and the thread that uses it ends.
        unsafe { std::alloc::dealloc(self.memory, self.layout) };
    }
}

std::thread_local! {
    /// The copies of the thread's present life, and old ones whose memory is used again.
    static COPIES: RefCell<Vec<Copy>> = const { RefCell::new(Vec::new()) };
}

impl<B: GlobalLockBackend> GlobalLock<B> {
    /// Makes a lock.
    ///
    /// # Safety
    ///
    /// It must go into a static, be [initialised](Self::init) before it is used, and be the only one of type `B`.
    pub const unsafe fn new(data: B::Item) -> Self {
        Self { initial: MaybeUninit::new(data), _address: 0 }
    }

    /// Sets the lock up, with the value that the static was written with.
    ///
    /// # Safety
    ///
    /// A load of the module may do this once.
    pub unsafe fn init(&'static self) {
        let of = core::ptr::from_ref(self).addr();
        let life = machine::life_number();
        let memory = COPIES.with_borrow_mut(|copies| {
            if let Some(copy) = copies.iter_mut().find(|copy| copy.of == of) {
                copy.life = life;
                return copy.memory;
            }
            let layout = Layout::new::<Lock<B::Item, B::Backend>>();
            // SAFETY: no lock is empty: it has its state.
            let memory = unsafe { std::alloc::alloc(layout) };
            if memory.is_null() {
                std::alloc::handle_alloc_error(layout);
            }
            copies.push(Copy { of, life, memory, layout });
            memory
        });
        let lock = Lock::<B::Item, B::Backend> {
            state: Opaque::uninit(),
            _pin: PhantomPinned,
            // SAFETY: a value that was computed at build time consists of bytes that are copied whenever a module is
            // loaded; the one in the static is never used as a value itself.
            data: UnsafeCell::new(unsafe { self.initial.as_ptr().read() }),
        };
        let memory = memory.cast::<Lock<B::Item, B::Backend>>();
        // SAFETY: the memory has the layout of a lock. What an earlier load left there is forgotten, and nobody uses it:
        // its life, or its module, is gone. The name and the class are static.
        unsafe {
            memory.write(lock);
            B::Backend::init((*memory).state.get(), B::NAME.as_char_ptr(), B::get_lock_class().as_ptr());
        }
    }

    /// Returns this life's copy. One that is not there is a warning, and made.
    #[track_caller]
    fn copy(&'static self) -> &'static Lock<B::Item, B::Backend> {
        let of = core::ptr::from_ref(self).addr();
        let life = machine::life_number();
        let find = || {
            COPIES.with_borrow(|copies| {
                let copy = copies.iter().find(|copy| copy.of == of && copy.life == life);
                copy.map(|copy| copy.memory.cast_const().cast())
            })
        };
        let lock: *const Lock<B::Item, B::Backend> = find().unwrap_or_else(|| {
            let name = B::NAME.to_str().unwrap_or("?");
            machine::warn(format_args!("global lock {name} is used before it is initialised"));
            // SAFETY: this life has no copy yet.
            unsafe { self.init() };
            find().unwrap_or(core::ptr::null())
        });
        // SAFETY: the copy was just found or made, and its memory stays as long as the thread, which a guard does not leave.
        unsafe { &*lock }
    }

    /// Takes the lock.
    #[track_caller]
    pub fn lock(&'static self) -> GlobalGuard<B> {
        GlobalGuard { inner: self.copy().lock() }
    }

    /// Takes the lock unless it is held.
    #[must_use = "a guard that is not kept unlocks at once"]
    #[track_caller]
    pub fn try_lock(&'static self) -> Option<GlobalGuard<B>> {
        self.copy().try_lock().map(|inner| GlobalGuard { inner })
    }
}

/// The proof that a [`GlobalLock`] is held, and the way to its data.
#[must_use = "a guard that is not kept unlocks at once"]
pub struct GlobalGuard<B: GlobalLockBackend> {
    inner: Guard<'static, B::Item, B::Backend>,
}

impl<B: GlobalLockBackend> Deref for GlobalGuard<B> {
    type Target = B::Item;

    fn deref(&self) -> &B::Item {
        &self.inner
    }
}

impl<B: GlobalLockBackend<Item: Unpin>> DerefMut for GlobalGuard<B> {
    fn deref_mut(&mut self) -> &mut B::Item {
        &mut self.inner
    }
}

/// Data that a [`GlobalLock`] guards, though it stands elsewhere.
pub struct GlobalLockedBy<T: ?Sized, B: GlobalLockBackend> {
    _lock: PhantomData<B>,
    value: UnsafeCell<T>,
}

// SAFETY: the data goes along, and may.
unsafe impl<T: ?Sized + Send, B: GlobalLockBackend> Send for GlobalLockedBy<T, B> {}

// SAFETY: the lock hands the data from task to task, one at a time.
unsafe impl<T: ?Sized + Send, B: GlobalLockBackend> Sync for GlobalLockedBy<T, B> {}

impl<T, B: GlobalLockBackend> GlobalLockedBy<T, B> {
    /// Puts a value under the lock of `B`.
    pub fn new(val: T) -> Self {
        Self { _lock: PhantomData, value: UnsafeCell::new(val) }
    }
}

impl<T: ?Sized, B: GlobalLockBackend> GlobalLockedBy<T, B> {
    /// Returns the value for reading; the guard proves that the lock is held.
    pub fn as_ref<'a>(&'a self, _guard: &'a GlobalGuard<B>) -> &'a T {
        // SAFETY: there is one lock of type `B`, and it is held during `'a`.
        unsafe { &*self.value.get() }
    }

    /// Returns the value for changing; the guard proves that the lock is held, and is not used otherwise meanwhile.
    pub fn as_mut<'a>(&'a self, _guard: &'a mut GlobalGuard<B>) -> &'a mut T {
        // SAFETY: there is one lock of type `B`, and its only guard is borrowed alone during `'a`.
        unsafe { &mut *self.value.get() }
    }

    /// Returns the value without the lock, since nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        UnsafeCell::get_mut(&mut self.value)
    }
}

/// Defines a lock in a static: `unsafe(uninit) static NAME: Mutex<T> = value;`, or `SpinLock`, or `SpinLockIrq`.
///
/// `unsafe(uninit)` is the promise to call [`GlobalLock::init`] before the first use, as a module's `init` does. The name is
/// a type as well, for [`GlobalLockedBy`].
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
/// use kernel::sync::{global_lock, GlobalLockedBy};
///
/// global_lock! {
///     // SAFETY: `main` initialises it first of all.
///     unsafe(uninit) static USERS: Mutex<u32> = 0;
/// }
///
/// struct Port {
///     users: GlobalLockedBy<u32, USERS>,
/// }
///
/// // SAFETY: nothing else does.
/// unsafe { USERS.init() };
/// let port = Port { users: GlobalLockedBy::new(0) };
/// let mut total = USERS.lock();
/// *total += 1;
/// *port.users.as_mut(&mut total) += 1;
/// assert_eq!((*total, *port.users.as_ref(&total)), (1, 1));
/// ```
#[macro_export]
macro_rules! global_lock {
    (
        $(#[$attribute:meta])*
        $visibility:vis unsafe(uninit) static $NAME:ident: $Kind:ident<$Item:ty> = $value:expr;
    ) => {
        #[doc = ::core::concat!("What belongs to the lock `", ::core::stringify!($NAME), "`.")]
        #[allow(non_camel_case_types, unreachable_pub, reason = "it has the name of its static")]
        $visibility enum $NAME {}

        impl $crate::sync::GlobalLockBackend for $NAME {
            type Item = $Item;
            type Backend = $crate::sync::lock::kinds::$Kind;

            const NAME: &'static $crate::str::CStr = $crate::c_str!(::core::stringify!($NAME));

            fn get_lock_class() -> ::core::pin::Pin<&'static $crate::sync::LockClassKey> {
                $crate::static_lock_class!()
            }
        }

        $(#[$attribute])*
        $visibility static $NAME: $crate::sync::GlobalLock<$NAME> = {
            // Computed outside of the `unsafe` block.
            let initial: $Item = $value;
            // SAFETY: this is a static, its type was made for it above, and `unsafe(uninit)` promises the rest.
            unsafe { $crate::sync::GlobalLock::new(initial) }
        };
    };
}
pub use global_lock;
