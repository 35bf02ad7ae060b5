//! What the tests share: a log of drops, values that write into it, and a heap place.

#![allow(unsafe_code, reason = "a place for an initialiser is raw memory")]

use std::{cell::RefCell, mem::MaybeUninit, pin::Pin};

use pin_init::{raw_try_init, PinInit};

/// The names of what has been dropped or said, in order.
#[derive(Default)]
pub(crate) struct Log(RefCell<Vec<&'static str>>);

impl Log {
    pub(crate) fn say(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }

    pub(crate) fn lines(&self) -> Vec<&'static str> {
        self.0.borrow().clone()
    }

    /// A value that says its name when it is dropped.
    pub(crate) fn noisy(&self, name: &'static str) -> Noisy<'_> {
        Noisy { log: self, name }
    }
}

pub(crate) struct Noisy<'a> {
    log: &'a Log,
    pub(crate) name: &'static str,
}

impl Drop for Noisy<'_> {
    fn drop(&mut self) {
        self.log.say(self.name);
    }
}

/// What the tests fail with.
#[derive(Debug, PartialEq)]
pub(crate) struct Broken(pub(crate) u32);

impl From<std::convert::Infallible> for Broken {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// Runs an initialiser in dirty memory on the heap.
pub(crate) fn boxed<T, E>(init: impl PinInit<T, E>) -> Result<Pin<Box<T>>, E> {
    let mut place: Box<MaybeUninit<T>> = Box::new_uninit();
    // SAFETY: the memory is ours and is freed without a drop if the initialiser fails; dirtying
    // it first is a plain write.
    unsafe {
        place.as_mut_ptr().write_bytes(0xa5, 1);
        raw_try_init(place.as_mut_ptr(), init)?;
    }
    // SAFETY: it has just been initialised.
    Ok(Box::into_pin(unsafe { place.assume_init() }))
}
