//! The queues that the system has.

use super::Queue;
use crate::bindings;
use crate::types::Opaque;

/// Defines a queue and the function that returns it.
macro_rules! queues {
    ($($(#[$doc:meta])* $queue:ident = $name:literal $(, $atomic:ident)?;)*) => {$(
        $(#[$doc])*
        pub fn $queue() -> &'static Queue {
            static QUEUE: Queue = Queue(Opaque::new(bindings::workqueue_struct {
                name: $name,
                atomic: is_atomic!($($atomic)?),
            }));
            &QUEUE
        }
    )*};
}

/// Whether a queue was marked as one whose items may not sleep.
macro_rules! is_atomic {
    () => {
        false
    };
    (atomic) => {
        true
    };
}

queues! {
    /// Returns the usual queue (`system_wq`), for items that do not take long.
    system = "events";
    /// Returns the queue for items that are urgent (`system_highpri_wq`).
    ///
    /// Differs from Linux: they go no faster.
    system_highpri = "events_highpri";
    /// Returns the queue for items that take long (`system_long_wq`).
    system_long = "events_long";
    /// Returns the queue for items that may run on any processor, and at once (`system_unbound_wq`).
    system_unbound = "events_unbound";
    /// Returns the queue whose items wait while the system is suspended (`system_freezable_wq`).
    system_freezable = "events_freezable";
    /// Returns the queue for items that may wait for a processor that is awake (`system_power_efficient_wq`).
    system_power_efficient = "events_power_efficient";
    /// Returns the queue that is both freezable and power-efficient (`system_freezable_power_efficient_wq`).
    system_freezable_power_efficient = "events_freezable_pwr_efficient";
    /// Returns the queue whose items run in soft interrupt context (`system_bh_wq`): they may not sleep.
    ///
    /// Differs from Linux: they run in tasks that may not sleep.
    system_bh = "events_bh", atomic;
    /// Returns the queue for items that are urgent and run in soft interrupt context (`system_bh_highpri_wq`).
    ///
    /// Differs from Linux: they run in tasks that may not sleep, and go no faster.
    system_bh_highpri = "events_bh_highpri", atomic;
}
