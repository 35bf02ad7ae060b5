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
    /// The CPU wrote to memory that a device owned.
    DMA_CPU_WROTE = "dma-cpu-wrote", Error, "memory written while it was lent to a device",
        "Documentation/core-api/dma-api-howto.rst", "leave the memory alone between mapping and unmapping it";
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
    /// Memory was written to after it was freed.
    USE_AFTER_FREE = "use-after-free", Error, "memory written to after it was freed",
        "Documentation/mm/slab.rst", "find the raw pointer that outlived the allocation: as_ptr(), into_raw(), a device or a timer";
    /// Memory was written to beyond a block.
    HEAP_OVERRUN = "heap-overrun", Error, "memory written to beyond an allocation",
        "Documentation/mm/slab.rst", "check the length against the allocation before unsafe code writes through a raw pointer";
    /// Nobody handled an interrupt.
    IRQ_UNHANDLED = "irq-unhandled", Error, "an interrupt that nobody handled",
        "Documentation/core-api/genericirq.rst", "register the handler before the device may interrupt, and acknowledge what the device shows";
    /// An interrupt that was there before its handler.
    IRQ_BEFORE_READY = "irq-before-ready", Error, "an interrupt that was raised before its handler was ready for it",
        "Documentation/PCI/pci.rst", "reset the device, or turn its interrupts off, before request_irq; set up what the handler uses first";
    /// An interrupt whose handler is gone.
    IRQ_AFTER_FREE = "irq-after-free", Error, "an interrupt after its handler was taken back",
        "Documentation/PCI/pci.rst", "turn the device's interrupts off before the registration is dropped";
    /// A device that goes on after unbind.
    DEVICE_STILL_RUNNING = "device-still-running", Error, "a device that goes on after its driver let go of it",
        "Documentation/PCI/pci.rst (Stop IRQs on the device)", "reset or stop the device in unbind, and wait until it has stopped";
    /// The DMA mask is changed too late.
    DMA_MASK_IN_USE = "dma-mask-in-use", Error, "the DMA mask set while memory is mapped",
        "Documentation/core-api/dma-api-howto.rst", "set the mask in probe, before anything is allocated or mapped for the device";
    /// Sleeping where it is forbidden.
    SLEEP_IN_ATOMIC = "sleep-in-atomic", Error, "sleeping call in atomic context",
        "Documentation/kernel-hacking/hacking.rst", "allocate with GFP_ATOMIC, or move the call out of the handler or the spinlock";
    /// A lock taken twice.
    LOCK_RECURSION = "lock-recursion", Fatal, "a lock taken again by its holder",
        "Documentation/locking/lockdep-design.rst", "do not take a lock that is held; take it with interrupts off if a handler takes it too";
    /// Locks that are taken in a circle.
    LOCK_ORDER = "lock-order", Error, "locks taken in a circle",
        "Documentation/locking/lockdep-design.rst", "take the locks in one order everywhere, or give one back first";
    /// A lock of a handler, taken with interrupts on.
    LOCK_IRQ_UNSAFE = "lock-irq-unsafe", Error, "a handler's lock taken with interrupts on",
        "Documentation/kernel-hacking/locking.rst", "make it a SpinLockIrq, or take it with interrupts off";
    /// A lock of a handler is held while one is taken that is held elsewhere with interrupts on.
    LOCK_IRQ_ORDER = "lock-irq-order", Error, "a handler's lock held while one is taken that handlers can be kept waiting by",
        "Documentation/locking/lockdep-design.rst", "make the inner lock a SpinLockIrq too, or take it outside of the other";
    /// A lock is still held at the end.
    LOCK_LEFT_HELD = "lock-left-held", Error, "a lock still held at the end",
        "Documentation/locking/lockdep-design.rst", "drop the guard; look for forget() and for guards that are kept";
    /// A driver panicked.
    DRIVER_PANIC = "driver-panic", Fatal, "the driver panicked (BUG)",
        "Documentation/process/deprecated.rst (BUG() and BUG_ON())", "return an error instead; check what the device says before it is used";
    /// A number from the device was used as it came.
    UNCHECKED_DEVICE_VALUE = "unchecked-device-value", Fatal, "a number from the device used without a check",
        "Documentation/process/deprecated.rst (BUG() and BUG_ON())", "compare it with what there is before it is used as an index or a length; get() and checked_sub() do";
    /// The same bytes of a device's, loaded twice.
    DOUBLE_FETCH = "double-fetch", Advice, "what a device wrote loaded twice",
        "Documentation/memory-barriers.txt (COMPILER BARRIER); XSA-155", "load it once into a variable, check that and use that";
    /// The kernel warned.
    KERNEL_WARNING = "kernel-warning", Error, "the driver ran into a kernel warning",
        "Documentation/process/coding-style.rst §22", "the line of the log says what the kernel objects to";
    /// User space got a wrong answer.
    WRONG_ANSWER = "wrong-answer", Error, "the driver gave user space something else than it should",
        "the driver's own documentation", "follow the answer back: which memory it was copied from, and what said that it was complete";
    /// A call failed for no reason.
    CALL_FAILED = "call-failed", Error, "a call failed, and nothing in the machine did",
        "the driver's own documentation", "look for an interrupt that was lost, or a notification that was not sent";
    /// A task that never sleeps.
    WATCHDOG_LOCKUP = "watchdog-lockup", Fatal, "a task that spins without end",
        "Documentation/admin-guide/lockup-watchdogs.rst", "bound every wait on the device, and sleep in it (read_poll_timeout)";
    /// A loop over one register.
    SPIN_WITHOUT_BOUND = "spin-without-bound", Fatal, "a loop that waits for the device without a bound",
        "Documentation/process/volatile-considered-harmful.rst; include/linux/iopoll.h", "poll with read_poll_timeout, and give up when the time is over";
    /// A notification that nobody heard.
    LOST_WAKEUP = "lost-wakeup", Error, "a notification between the check and the wait",
        "Documentation/memory-barriers.txt (SLEEP AND WAKE-UP FUNCTIONS)", "change and check what is waited for under the lock that is given to wait()";
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
