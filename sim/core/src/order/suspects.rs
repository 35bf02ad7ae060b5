//! Pairs of accesses that nothing orders, kept back until it is clear that the second one's value was relied upon.

use crate::finding::{Finding, Place, Rule};
use crate::rules;
use crate::trace::DeviceId;

/// How many are kept at a time. A driver that has so many has findings enough.
const MOST: usize = 64;

/// What is wrong with a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Two loads of what a device stored.
    LoadAfterLoad,
    /// A load of what a device stored, after a relaxed read of a BAR.
    LoadAfterRegister,
    /// Two stores that a device saw the second of.
    StoreBeforeStore,
    /// A store and a relaxed write to a BAR.
    StoreBeforeDoorbell {
        /// A barrier stands between them that does not order writes to BARs.
        weak: bool,
    },
}

/// Two accesses in program order, which the other side may see, or make, in the other order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect {
    pub(super) id: u32,
    pub(super) lack: Lack,
    /// Whose stores are loaded, or who loads.
    pub(super) device: DeviceId,
    /// Where the bytes lie that may be read too old.
    pub(super) at: u64,
    pub(super) len: u64,
    /// The store that may be missed.
    pub(super) stamp: u32,
    /// The first of the two accesses in program order.
    pub(super) first: Place,
    /// The second.
    pub(super) second: Place,
}

impl Suspect {
    fn overlaps(&self, at: u64, len: u64) -> bool {
        at < self.at + self.len && self.at < at + len
    }

    fn is_loaded_by_device(&self) -> bool {
        matches!(self.lack, Lack::StoreBeforeStore | Lack::StoreBeforeDoorbell { .. })
    }

    fn rule(&self) -> &'static Rule {
        match self.lack {
            Lack::LoadAfterLoad | Lack::LoadAfterRegister => &rules::MISSING_READ_BARRIER,
            Lack::StoreBeforeStore => &rules::MISSING_WRITE_BARRIER,
            Lack::StoreBeforeDoorbell { .. } => &rules::DOORBELL_BEFORE_DATA,
        }
    }

    /// The finding, for the device of this name.
    pub(super) fn finding(&self, name: &str) -> Finding {
        let line = |place: Place| format!("{}:{}:{}", place.file(), place.line(), place.column());
        let (first, second, bytes) = (line(self.first), line(self.second), self.len);
        let (what, note, between) = match self.lack {
            Lack::LoadAfterLoad => (
                format!("{bytes} bytes that {name} wrote may be loaded before what showed that they are there"),
                format!(
                    "nothing orders the load at {first}, which saw what {name} stored, before the load at {second}"
                ),
                "dma_mb(Read)",
            ),
            Lack::LoadAfterRegister => (
                format!("{bytes} bytes that {name} wrote may be loaded before the register that was read first"),
                format!("the relaxed read of a register at {first} is not ordered before the load at {second}"),
                "mb(Read), or a read that is not relaxed,",
            ),
            Lack::StoreBeforeStore => (
                format!("{name} may see a store before {bytes} bytes that were stored earlier"),
                format!("nothing orders the store at {first} before the store at {second}, which {name} saw"),
                "dma_mb(Write)",
            ),
            Lack::StoreBeforeDoorbell { weak } => (
                format!("a relaxed write to a register may reach {name} before {bytes} bytes that were stored earlier"),
                if weak {
                    format!(
                        "dma_mb(Write) does not order the store at {first} before the write to a register at {second}"
                    )
                } else {
                    format!("nothing orders the store at {first} before the relaxed write to a register at {second}")
                },
                "mb(Write), or a write that is not relaxed,",
            ),
        };
        Finding::new(self.rule(), what)
            .at_place(Some(self.second))
            .on_device(name)
            .note(note)
            .note(format!("{between} between the two orders them"))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    list: Vec<Suspect>,
    next: u32,
    /// Those that turned out to matter, until they are filed.
    pub(super) confirmed: Vec<Suspect>,
}

impl Suspects {
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.confirmed.clear();
        self.next = 0;
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds one; its number.
    #[cold]
    pub(super) fn add(&mut self, mut suspect: Suspect) -> u32 {
        self.next += 1;
        suspect.id = self.next;
        if self.list.len() < MOST {
            self.list.push(suspect);
        }
        self.next
    }

    pub(super) fn remove(&mut self, id: u32) {
        self.list.retain(|suspect| suspect.id != id);
    }

    /// The CPU loaded the bytes again, in order with all stores up to `view`: what came before was a look that did not count.
    pub(super) fn loaded_again(&mut self, at: u64, len: u64, view: u32) {
        self.list.retain(|s| s.is_loaded_by_device() || s.stamp > view || !s.overlaps(at, len));
    }

    /// A device loaded the bytes again, and is bound to see all stores up to `guaranteed`.
    pub(super) fn observed_again(&mut self, device: DeviceId, at: u64, len: u64, guaranteed: u32) {
        self.list
            .retain(|s| !s.is_loaded_by_device() || s.device != device || s.stamp > guaranteed || !s.overlaps(at, len));
    }

    /// The bytes are gone: what was read of them is what counted.
    pub(super) fn overwritten(&mut self, at: u64, len: u64) {
        if self.list.iter().any(|suspect| suspect.overlaps(at, len)) {
            let (gone, kept) = std::mem::take(&mut self.list).into_iter().partition(|s| s.overlaps(at, len));
            self.list = kept;
            self.confirm(gone);
        }
    }

    /// The life is over.
    pub(super) fn end(&mut self) {
        let all = std::mem::take(&mut self.list);
        self.confirm(all);
    }

    fn confirm(&mut self, all: Vec<Suspect>) {
        self.confirmed.extend(all);
    }
}
