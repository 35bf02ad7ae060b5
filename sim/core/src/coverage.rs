//! State coverage: the named states that a machine can be in and that bugs like, and which of them lives have seen.
//!
//! Whoever knows that such a state is there says so with [`Fabric::cover`](crate::Fabric::cover), a single `or` on a word. What
//! a machine could get into at all is said with [`Fabric::reachable`](crate::Fabric::reachable), so that a campaign can tell
//! what it did not reach.

use std::fmt;

macro_rules! states {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $what:literal;)*) => {
        /// A state worth seeing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Coverage {
            $($(#[doc = $doc])* #[doc = $what] $variant,)*
        }

        impl Coverage {
            /// All of them, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// A short, stable name: `ring-full`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What it is, in one line.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what),* }
            }
        }
    };
}

states! {
    RingEmpty = "ring-empty", "the device had given back all that was in a virtqueue";
    RingFull = "ring-full", "all descriptors of a virtqueue were with the device";
    RingWrapped = "ring-wrapped", "a virtqueue's position passed the end of the ring";
    EventEdge = "event-edge", "a kick was, or was not, wanted just as chains were made available";
    SeveralUsed = "several-used", "the device gave back several chains before the driver looked";
    MaskedPended = "masked-pended", "an interrupt was raised while its vector was masked";
    InterruptInProbe = "interrupt-in-probe", "an interrupt arrived before the probe was done";
    InterruptInUnbind = "interrupt-in-unbind", "an interrupt arrived while the driver let go of its device";
    InterruptInTask = "interrupt-in-task", "an interrupt handler ran on the stack of a task that was at work";
    InterruptLate = "interrupt-late", "an interrupt was put off";
    InterruptSpurious = "interrupt-spurious", "a handler was called and had nothing to do";
    InterruptMerged = "interrupt-merged", "an interrupt was raised again before it was handled";
    DeviceLate = "device-late", "a device that could have worked was put off";
    DeviceInHandler = "device-in-handler", "a device worked while an interrupt handler ran";
    Stalled = "stalled", "the processor stood still until a device or a timer was due";
    Preempted = "preempted", "a task was pre-empted";
    TaskOvertook = "task-overtook", "a task ran before one that had waited longer";
    TaskBlocked = "task-blocked", "a task slept until it was woken";
    TimedOut = "timed-out", "a wait ended because its time was over";
    Signalled = "signalled", "a wait ended because of a signal";
    AllocationFailed = "allocation-failed", "an allocation failed";
    ProbeFailed = "probe-failed", "a probe failed";
    StoreWaited = "store-waited", "a store waited in the store buffer";
    StoresReordered = "stores-reordered", "a store landed before an earlier one";
    LoadStale = "load-stale", "a load returned a value that was no longer the newest";
    WritePosted = "write-posted", "a write to a BAR was under way while the driver went on";
    HostileAnswer = "hostile-answer", "a device answered something that it should not";
    FaultMet = "fault-met", "a fault of the plan was applied";
    DeviceReset = "device-reset", "a device was reset";
    DeviceRemoved = "device-removed", "a device was pulled out";
}

/// A set of states.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct States(u64);

impl States {
    /// The states that any machine with a device and a driver can get into. Those that choices lead to are added when such a
    /// choice comes up.
    pub const USUAL: Self = Self::of(&[
        Coverage::InterruptInProbe,
        Coverage::InterruptInUnbind,
        Coverage::InterruptInTask,
        Coverage::TaskBlocked,
        Coverage::ProbeFailed,
    ]);

    /// These.
    #[must_use]
    pub const fn of(states: &[Coverage]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < states.len() {
            bits |= 1 << states[index] as u32;
            index += 1;
        }
        Self(bits)
    }

    /// Adds one.
    #[inline]
    pub const fn add(&mut self, state: Coverage) {
        self.0 |= 1 << state as u32;
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in this one that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is there.
    #[must_use]
    pub const fn has(self, state: Coverage) -> bool {
        self.0 >> state as u32 & 1 != 0
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// They, in the order of [`Coverage::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Coverage> {
        Coverage::ALL.iter().copied().filter(move |state| self.has(*state))
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Coverage::name)).finish()
    }
}

const _: () = assert!(Coverage::ALL.len() <= 64, "a set is one word");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sets_keep_them_apart() {
        for (index, state) in Coverage::ALL.iter().enumerate() {
            assert_eq!(*state as usize, index);
            assert!(Coverage::ALL[..index].iter().all(|other| other.name() != state.name()));
        }
        let mut seen = States::of(&[Coverage::RingFull]);
        seen.add(Coverage::DeviceRemoved);
        assert_eq!(seen.iter().collect::<Vec<_>>(), [Coverage::RingFull, Coverage::DeviceRemoved]);
        assert_eq!(States::USUAL.union(seen).without(States::USUAL), seen);
    }
}
