//! Turning interrupts off on the running processor.

use crate::machine;
use crate::types::NotThreadSafe;

/// The proof that interrupts are off on the running processor; they stay so until it is dropped.
///
/// These nest: interrupts are on again when the last one is gone.
pub struct LocalInterruptDisabled(NotThreadSafe);

/// Turns interrupts off on the running processor. Locks do this themselves: see
/// [`SpinLockIrq`](crate::sync::SpinLockIrq).
///
/// # Examples
///
/// ```
/// use kernel::interrupt::local_interrupt_disable;
///
/// let quiet = local_interrupt_disable();
/// // No handler runs here.
/// drop(quiet);
/// ```
pub fn local_interrupt_disable() -> LocalInterruptDisabled {
    disable();
    LocalInterruptDisabled(NotThreadSafe)
}

impl Drop for LocalInterruptDisabled {
    #[track_caller]
    fn drop(&mut self) {
        enable();
    }
}

impl LocalInterruptDisabled {
    /// Returns the proof where interrupts are known to be off, as in a handler. Warns where they are on.
    ///
    /// # Safety
    ///
    /// Interrupts must be off during `'a`.
    #[track_caller]
    pub unsafe fn assume_disabled<'a>() -> &'a LocalInterruptDisabled {
        const PROOF: &LocalInterruptDisabled = &LocalInterruptDisabled(NotThreadSafe);
        // Without a task there are no interrupts.
        if crate::sync::in_task() && !machine::irqs_disabled() {
            machine::warn(format_args!("interrupts are assumed to be off, and are on"));
        }
        PROOF
    }
}

/// Turns interrupts off; nests.
pub(crate) fn disable() {
    machine::local_irq_disable();
}

/// Takes back one [`disable`]. A point.
#[track_caller]
pub(crate) fn enable() {
    machine::local_irq_enable();
}
