//! Tasks: who runs.
//!
//! Differs from Linux: every process has one thread, and belongs to root. Only the current task can be asked whether signals
//! are pending.

use crate::bindings;
use crate::ffi::{c_int, c_long, c_uint};
use crate::machine;
use crate::sync::aref::AlwaysRefCounted;
use crate::types::{NotThreadSafe, Opaque};
use core::ops::Deref;
use core::panic::Location;
use core::ptr::NonNull;

/// The timeout that never comes.
pub const MAX_SCHEDULE_TIMEOUT: c_long = c_long::MAX;

/// The state of a task that sleeps until it is woken or gets a signal.
pub const TASK_INTERRUPTIBLE: c_int = 1;
/// The state of a task that sleeps until it is woken.
pub const TASK_UNINTERRUPTIBLE: c_int = 2;
/// Together with another state: the task may be frozen meanwhile.
pub const TASK_FREEZABLE: c_int = 0x2000;
/// The states that ordinary wake-ups end.
pub const TASK_NORMAL: c_uint = 3;

/// Returns the running task, a [`&CurrentTask`](crate::task::CurrentTask).
#[macro_export]
macro_rules! current {
    () => {
        // SAFETY: the reference does not leave the expression, and so not the task.
        unsafe { &*$crate::task::Task::current() }
    };
}

/// A task. References to it are counted, as an [`ARef`](crate::sync::aref::ARef) does.
///
/// Differs from Linux: nothing of the task's memory can be reached; a task that ended keeps its number.
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
/// use kernel::{current, sync::aref::ARef, task::Task};
///
/// struct Lease {
///     holder: ARef<Task>,
/// }
///
/// let lease = Lease { holder: ARef::from(&**current!()) };
/// assert!(*lease.holder == **current!());
/// assert_eq!(lease.holder.pid(), current!().group_leader().pid());
/// ```
// The structure behind it is empty, and its address is the process number: see `address_of`.
#[repr(transparent)]
pub struct Task(pub(crate) Opaque<bindings::task_struct>);

// SAFETY: a task is a number that never changes.
unsafe impl Send for Task {}

// SAFETY: as above.
unsafe impl Sync for Task {}

/// The running task, which knows more about itself than about others. It must not leave the task.
#[repr(transparent)]
pub struct CurrentTask(Task, NotThreadSafe);

impl Deref for CurrentTask {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.0
    }
}

/// A process number.
pub type Pid = bindings::pid_t;

/// A user's number.
#[derive(Copy, Clone)]
pub struct Kuid {
    raw: bindings::kuid_t,
}

/// Stands for the process number 0 in an address, since no reference is null.
const NOBODY: usize = usize::MAX;

impl Task {
    /// Turns a process number into an address.
    fn address_of(pid: Pid) -> *mut bindings::task_struct {
        let address = if pid == 0 { NOBODY } else { pid as usize };
        core::ptr::without_provenance_mut(address)
    }

    /// Returns the pointer to the running task. Outside of all tasks it is that of process 0.
    pub fn current_raw() -> *mut bindings::task_struct {
        Self::address_of(machine::current_pid())
    }

    /// Returns the running task; [`current!`] does it without the `unsafe`.
    ///
    /// # Safety
    ///
    /// The reference must not be used by another task.
    pub unsafe fn current() -> impl Deref<Target = CurrentTask> {
        struct Current(*const CurrentTask);

        impl Deref for Current {
            type Target = CurrentTask;

            fn deref(&self) -> &CurrentTask {
                // SAFETY: the type has no bytes, so any address that is not null is good for a reference to it.
                unsafe { &*self.0 }
            }
        }

        Current(Self::current_raw().cast())
    }

    /// Returns the pointer that names the task.
    pub fn as_ptr(&self) -> *mut bindings::task_struct {
        self.0.get()
    }

    /// Returns the number of the task.
    pub fn pid(&self) -> Pid {
        match self.as_ptr().addr() {
            NOBODY => 0,
            pid => pid as Pid,
        }
    }

    /// Returns the number of the task's process, which is that of its first thread.
    pub fn tgid(&self) -> Pid {
        self.pid()
    }

    /// Returns the user that the task runs for: root.
    pub fn uid(&self) -> Kuid {
        Kuid::ROOT
    }
}

impl CurrentTask {
    /// Says whether a signal is pending.
    ///
    /// Differs from Linux: there any [`Task`] can be asked.
    pub fn signal_pending(&self) -> bool {
        machine::signal_pending()
    }

    /// Returns the first thread of the process, which is the task itself.
    pub fn group_leader(&self) -> &Task {
        self
    }
}

// SAFETY: no memory stands behind a task, so it stays for ever.
unsafe impl AlwaysRefCounted for Task {
    fn inc_ref(&self) {}

    unsafe fn dec_ref(_obj: NonNull<Self>) {}
}

impl PartialEq for Task {
    /// Says whether both are the same task.
    fn eq(&self, other: &Self) -> bool {
        self.as_ptr().addr() == other.as_ptr().addr()
    }
}

// A number is equal to itself.
impl Eq for Task {}

impl Kuid {
    const ROOT: Self = Self { raw: bindings::kuid_t { val: 0 } };

    /// Returns the effective user of the running task: root.
    pub fn current_euid() -> Kuid {
        Self::ROOT
    }

    /// Makes one from C's type.
    pub fn from_raw(kuid: bindings::kuid_t) -> Self {
        Self { raw: kuid }
    }

    /// Turns it into C's type.
    pub fn into_raw(self) -> bindings::kuid_t {
        self.raw
    }

    /// Returns the number as the running task's namespace has it.
    ///
    /// Differs from Linux: there is one namespace.
    pub fn into_uid_in_current_ns(self) -> bindings::uid_t {
        self.raw.val
    }
}

impl PartialEq for Kuid {
    fn eq(&self, other: &Kuid) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Kuid {}

/// Says that the caller may sleep here: a finding in atomic context, and otherwise a point.
#[track_caller]
pub fn might_sleep() {
    machine::sched::might_sleep_at("might_sleep", Location::caller());
    crate::sync::point();
}
