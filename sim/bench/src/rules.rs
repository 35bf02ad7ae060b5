//! The rules that the bench checks, beyond those of the waist.

use bringup_core::{Rule, Severity};

macro_rules! rules {
    ($( $(#[$doc:meta])* $name:ident = $id:literal, $severity:ident, $title:literal, $reference:literal, $fix:literal; )*) => {
        $(
            $(#[$doc])*
            pub static $name: Rule = Rule {
                id: $id,
                title: $title,
                severity: Severity::$severity,
                reference: $reference,
                fix: $fix,
                page: include_str!(concat!("../rules/", $id, ".md")),
            };
        )*
        /// All of them.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    /// A mapped BAR was used after it was unmapped.
    BAR_AFTER_UNMAP = "bar-after-unmap", Error, "BAR access after it was unmapped",
        "Documentation/driver-api/device-io.rst", "stop everything that uses the BAR before it is dropped";
    /// DMA memory is left.
    LEAK_MAPPING = "leak-mapping", Error, "DMA mapping left at unbind",
        "Documentation/core-api/dma-api.rst", "keep the allocation in the driver's data, so that it is dropped with it";
    /// A region or mapped BAR is left.
    LEAK_REGION = "leak-region", Error, "PCI region or mapped BAR left at unbind",
        "Documentation/PCI/pci.rst", "keep the Bar in the driver's data, so that it is dropped with it";
    /// Interrupt vectors are left.
    LEAK_VECTORS = "leak-vectors", Error, "interrupt vectors left at unbind",
        "Documentation/PCI/msi-howto.rst", "keep the vectors in the driver's data, to be dropped after the handlers";
    /// An interrupt handler is left.
    LEAK_HANDLER = "leak-handler", Error, "interrupt handler left at unbind",
        "Documentation/core-api/genericirq.rst", "drop the Registration before the vectors, the BAR and the data it uses";
    /// A timer is left.
    LEAK_TIMER = "leak-timer", Error, "timer left running at unload",
        "Documentation/timers/hrtimers.rst", "keep the timer's handle and drop it before what the callback uses";
    /// Work is left.
    LEAK_WORK = "leak-work", Error, "work item left at unload",
        "Documentation/core-api/workqueue.rst", "wait for queued work before the module goes";
    /// A registration is left.
    LEAK_REGISTRATION = "leak-registration", Error, "registration left at unload",
        "Documentation/driver-api/driver-model/driver.rst", "keep the registration in the module's data, so that it is dropped with it";
    /// Memory is left.
    LEAK_MEMORY = "leak-memory", Error, "memory left at unload",
        "Documentation/dev-tools/kmemleak.rst", "give every allocation an owner that is dropped; look for leak(), into_raw() and forget()";
    /// Nobody handled an interrupt.
    IRQ_UNHANDLED = "irq-unhandled", Error, "an interrupt that nobody handled",
        "Documentation/core-api/genericirq.rst", "register the handler before the device may interrupt, and acknowledge what the device shows";
    /// Sleeping where it is forbidden.
    SLEEP_IN_ATOMIC = "sleep-in-atomic", Error, "sleeping call in atomic context",
        "Documentation/kernel-hacking/hacking.rst", "allocate with GFP_ATOMIC, or move the call out of the handler or the spinlock";
    /// A lock taken twice.
    LOCK_RECURSION = "lock-recursion", Fatal, "a lock taken again by its holder",
        "Documentation/locking/lockdep-design.rst", "do not take a lock that is held; take it with interrupts off if a handler takes it too";
    /// A driver panicked.
    DRIVER_PANIC = "driver-panic", Fatal, "the driver panicked (BUG)",
        "Documentation/process/deprecated.rst (BUG() and BUG_ON())", "return an error instead; check what the device says before it is used";
    /// The kernel warned.
    KERNEL_WARNING = "kernel-warning", Error, "the driver ran into a kernel warning",
        "Documentation/process/coding-style.rst §22", "the line of the log says what the kernel objects to";
    /// A user was told something wrong, or was refused without a reason.
    WRONG_ANSWER = "wrong-answer", Error, "a wrong answer to the user, or a refusal without a reason",
        "what the device's specification and the driver's interface promise", "replay the life and look at the rows that say FAILED";
    /// A task that never sleeps.
    WATCHDOG_LOCKUP = "watchdog-lockup", Fatal, "a task that spins without end",
        "Documentation/admin-guide/lockup-watchdogs.rst", "bound every wait on the device, and sleep in it (read_poll_timeout)";
    /// A task that waits for ever.
    WATCHDOG_HUNG = "watchdog-hung", Fatal, "a task that waits for ever",
        "Documentation/admin-guide/sysctl/kernel.rst (hung_task_timeout_secs)", "wait with a timeout, and reset the device when it passes";
}

/// All rules: those of the waist, of the bench, and of the protocol monitors.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    bringup_core::rules::ALL.iter().chain(ALL).copied().chain(bringup_monitor::rules())
}

/// The rule called `id`, in upper or lower case.
#[must_use]
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id.eq_ignore_ascii_case(id))
}
