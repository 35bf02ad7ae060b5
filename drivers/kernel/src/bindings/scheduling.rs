//! What locks, tasks, timers and work items consist of. The code that gives the fields their meaning stands in the modules
//! of the same names.

use crate::ffi::{c_char, c_int, c_uint};
use crate::machine::Place;
use core::cell::Cell;

/// A process number.
pub type pid_t = c_int;
/// A user's number.
pub type uid_t = c_uint;
/// The number of a clock.
pub type clockid_t = c_int;
/// A moment or a span in nanoseconds.
pub type ktime_t = i64;

/// A user's number, whatever the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct kuid_t {
    /// The number.
    pub val: uid_t,
}

/// A task. The structure is empty: its address is the process number, and no memory stands behind it.
#[repr(C)]
pub struct task_struct {
    _private: [u8; 0],
}

/// A mutex.
pub struct mutex {
    pub(crate) held: Cell<bool>,
    /// The process that holds it; meaningless while nobody does.
    pub(crate) holder: Cell<pid_t>,
    /// How many tasks wait for it.
    pub(crate) waiters: Cell<usize>,
    pub(crate) name: *const c_char,
    pub(crate) class: *mut super::lock_class_key,
}

/// A spinlock.
pub struct spinlock_t {
    pub(crate) held: Cell<bool>,
    pub(crate) name: *const c_char,
    pub(crate) class: *mut super::lock_class_key,
}

/// The clock that can be set, in nanoseconds since 1970.
pub const CLOCK_REALTIME: clockid_t = 0;
/// The clock that starts with the machine.
pub const CLOCK_MONOTONIC: clockid_t = 1;
/// As [`CLOCK_MONOTONIC`], time asleep included.
pub const CLOCK_BOOTTIME: clockid_t = 7;
/// As [`CLOCK_REALTIME`], leap seconds included.
pub const CLOCK_TAI: clockid_t = 11;

/// What a timer's callback answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct hrtimer_restart(pub c_uint);

impl hrtimer_restart {
    /// It is done.
    pub const HRTIMER_NORESTART: Self = Self(0);
    /// It is started again, for the moment that is in it.
    pub const HRTIMER_RESTART: Self = Self(1);
}

/// How a timer's expiry is meant, and where its callback runs: a set of bits.
pub type hrtimer_mode = c_uint;
/// The expiry is relative to now; without this bit it is a moment.
pub const HRTIMER_MODE_REL: hrtimer_mode = 1;
/// The timer stays on its processor.
pub const HRTIMER_MODE_PINNED: hrtimer_mode = 2;
/// The callback runs in soft interrupt context.
pub const HRTIMER_MODE_SOFT: hrtimer_mode = 4;
/// The callback runs in hard interrupt context, also with `PREEMPT_RT`.
pub const HRTIMER_MODE_HARD: hrtimer_mode = 8;

/// A high-resolution timer.
pub struct hrtimer {
    /// When it expires, by its own clock.
    pub(crate) expires: Cell<ktime_t>,
    pub(crate) clock: clockid_t,
    pub(crate) function: unsafe extern "C-unwind" fn(*mut hrtimer) -> hrtimer_restart,
    /// It is started and has not expired.
    pub(crate) queued: Cell<bool>,
    /// Its callback runs.
    pub(crate) running: Cell<bool>,
    /// Where it was started last, or else made.
    pub(crate) place: Cell<Place>,
}

/// A work item.
pub struct work_struct {
    pub(crate) function: unsafe extern "C-unwind" fn(*mut work_struct),
    /// The queue it was put into last runs its items where they may not sleep.
    pub(crate) atomic: Cell<bool>,
}

/// A work item that can be queued for later.
pub struct delayed_work {
    /// The item.
    pub work: work_struct,
}

/// A queue of work items.
pub struct workqueue_struct {
    pub(crate) name: &'static str,
    /// Its items may not sleep.
    pub(crate) atomic: bool,
}
