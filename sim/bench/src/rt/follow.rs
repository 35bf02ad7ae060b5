//! Shows the processor's accesses to memory to the history of a life, while a search wants to know states.

use std::cell::Cell;

use crate::machine::try_with;

thread_local! {
    /// Whether this thread's life has a history: asked at every access to memory.
    static FOLLOWED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a history is kept from now on.
pub(crate) fn follow(on: bool) {
    FOLLOWED.set(on);
}

/// The processor loaded a value.
#[inline]
pub(super) fn loaded(value: u64) {
    if FOLLOWED.get() {
        note_load(value);
    }
}

/// The processor stored a value, or that many bytes.
#[inline]
pub(super) fn stored(value: u64) {
    if FOLLOWED.get() {
        note_store(value);
    }
}

/// The processor copied out of memory.
#[inline]
pub(super) fn copied_from() {
    if FOLLOWED.get() {
        try_with(|m| m.bus.fabric.choices.history.cpu_sees_memory());
    }
}

/// The processor accesses shared memory in a way that cannot be seen, from now on: through a pointer.
pub fn mem_not_followed() {
    if FOLLOWED.get() {
        try_with(|m| m.bus.fabric.choices.history.lose());
    }
}

#[cold]
fn note_load(value: u64) {
    try_with(|m| m.bus.fabric.choices.history.cpu(value));
}

#[cold]
fn note_store(value: u64) {
    try_with(|m| m.bus.fabric.choices.history.cpu_stores(value));
}
