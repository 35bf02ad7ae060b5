//! What the monitor follows of one virtqueue, whichever its layout.

mod chain;
mod kick;
mod ledger;
mod memory;
#[cfg(test)]
mod tests;

use bringup_core::{Barrier, Coverage, Sight};

use super::packed::Packed;
use super::split::Split;

pub(super) use chain::Chain;
pub(super) use kick::{Credit, Fences, Pending};
pub(super) use ledger::Ledger;
pub(super) use memory::{Area, Raw};

/// A queue as its driver set it up, latched when it was enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    /// Its number.
    pub(super) index: u16,
    /// In elements.
    pub(super) size: u16,
    /// Descriptor area: descriptor table, or packed ring.
    pub(super) descriptors: u64,
    /// Driver area: available ring, or driver event suppression.
    pub(super) driver: u64,
    /// Device area: used ring, or device event suppression.
    pub(super) device: u64,
    /// The features that were negotiated.
    pub(super) features: u128,
}

impl Setup {
    /// Whether a feature was negotiated, by its bit number.
    pub(super) fn has(&self, bit: u32) -> bool {
        bit < 128 && self.features >> bit & 1 != 0
    }
}

/// The states that a machine with a queue can get into.
pub(super) const RING_STATES: &[Coverage] =
    &[Coverage::RingEmpty, Coverage::RingFull, Coverage::RingWrapped, Coverage::EventEdge, Coverage::SeveralUsed];

/// One element of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) address: u64,
    pub(super) len: u32,
    /// For the device to write; else to read.
    pub(super) writable: bool,
}

/// A chain that the driver made available and that was seen for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exposed {
    /// Split: the index of its first descriptor. Packed: its buffer id.
    pub(super) id: u16,
    /// Its elements, those of an indirect table included, in order. Empty if the ring could not be followed.
    pub(super) elements: Vec<Element>,
}

/// A chain that the device gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Returned {
    pub(super) id: u16,
    pub(super) elements: Vec<Element>,
    /// What the device says that it wrote.
    pub(super) written: u32,
}

/// How a driver kicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kick {
    /// The value that was written.
    pub(super) value: u32,
    /// 2 or 4 bytes.
    pub(super) width: u8,
}

/// What following a ring brought to light, for the checks of the device's type. The follower reports violations of the ring's own
/// rules by itself, through the sight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) exposed: Vec<Exposed>,
    pub(super) returned: Vec<Returned>,
    /// Chains came and went unseen, or cannot be told from others: what they carried is not known.
    pub(super) missed: bool,
}

impl News {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.exposed.is_empty() && self.returned.is_empty() && !self.missed
    }
}

/// The state of the whole device that a ring's rules depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Phase {
    /// DRIVER_OK is set.
    pub(super) driver_ok: bool,
    /// SUSPEND was set by the driver.
    pub(super) suspended: bool,
    /// The device asked for a reset, or the driver gave up: the device is not expected to work any more.
    pub(super) broken: bool,
}

/// The follower of one live queue.
#[derive(Debug)]
pub(super) enum Ring {
    Split(Split),
    Packed(Packed),
}

macro_rules! forward {
    ($self:ident, $($call:tt)*) => {
        match $self {
            Self::Split(ring) => ring.$($call)*,
            Self::Packed(ring) => ring.$($call)*,
        }
    };
}

impl Ring {
    /// The queue was enabled (`queue_enable` written 1). Checks what must hold of fresh memory and asks to watch it.
    pub(super) fn enabled(setup: Setup, sight: &mut Sight<'_>) -> Self {
        if setup.has(bringup_spec::virtio::feature::RING_PACKED) {
            Self::Packed(Packed::enabled(setup, sight))
        } else {
            Self::Split(Split::enabled(setup, sight))
        }
    }

    /// The driver kicked this queue; the device has not seen it yet.
    pub(super) fn kicked(&mut self, sight: &mut Sight<'_>, phase: Phase, kick: Kick) -> News {
        forward!(self, kicked(sight, phase, kick))
    }

    /// The device is about to look at its queues.
    pub(super) fn working(&mut self, sight: &mut Sight<'_>, phase: Phase) -> News {
        forward!(self, working(sight, phase))
    }

    /// The device has worked.
    pub(super) fn worked(&mut self, sight: &mut Sight<'_>, phase: Phase) -> News {
        forward!(self, worked(sight, phase))
    }

    /// The CPU loaded from or stored to the queue's memory or near it.
    pub(super) fn accessed(&mut self, sight: &mut Sight<'_>, phase: Phase, iova: u64, len: u64, store: bool) -> News {
        forward!(self, accessed(sight, phase, iova, len, store))
    }

    /// The CPU executed a barrier.
    pub(super) fn barrier(&mut self, barrier: Barrier) {
        forward!(self, barrier(barrier));
    }

    /// Nothing goes on before time passes: what should have been kicked will not be.
    pub(super) fn idle(&mut self, sight: &mut Sight<'_>, phase: Phase) -> News {
        forward!(self, idle(sight, phase))
    }

    /// Memory was unmapped while the queue is live.
    pub(super) fn unmapped(&mut self, sight: &mut Sight<'_>, iova: u64, len: u64) {
        forward!(self, unmapped(sight, iova, len));
    }

    /// Takes news back once they are read, so that their vectors serve again: without it each chain costs allocations.
    pub(super) fn recycle(&mut self, news: News) {
        forward!(self, ledger().recycle(news));
    }

    /// Says how many elements the device takes in one chain at most, where its type has such a limit (packed queues: virtio 1.4
    /// §2.8.17, §2.8.19).
    pub(super) fn limit(&mut self, elements: u32) {
        forward!(self, ledger().limit(elements));
    }
}
