//! What the CPU did and nobody has seen yet: stores in its buffer, and writes to BARs that are under way.

use std::collections::VecDeque;

use super::history::History;
use crate::device::Access;
use crate::finding::Place;
use crate::trace::DeviceId;

/// The most stores in the buffer: the oldest lands when one more comes.
const MOST_STORES: usize = 32;

/// A store in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Store {
    pub(super) stamp: u32,
    pub(super) at: u64,
    /// 1 to 8.
    pub(super) len: u8,
    pub(super) bytes: [u8; 8],
    pub(super) context: u32,
    pub(super) place: Place,
    /// It waits for as long as it can.
    pub(super) held: bool,
}

impl Store {
    pub(super) fn overlaps(&self, at: u64, len: u64) -> bool {
        at < self.at + u64::from(self.len) && self.at < at + len
    }

    pub(super) fn data(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// A write to a BAR that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posted {
    pub(super) stamp: u32,
    pub(crate) device: DeviceId,
    pub(crate) at: Access,
    pub(crate) value: u64,
    pub(crate) relaxed: bool,
    pub(crate) place: Option<Place>,
    /// Stores up to this one land before it arrives.
    pub(super) after: u32,
    /// It stays under way for as long as it can.
    pub(super) held: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// In program order.
    pub(super) stores: Vec<Store>,
    /// In program order; those of one device arrive in it.
    pub(super) posted: VecDeque<Posted>,
}

impl Waiting {
    pub(super) fn clear(&mut self) {
        self.stores.clear();
        self.posted.clear();
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.stores.is_empty() && self.posted.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.stores.len() >= MOST_STORES
    }

    /// Takes out the stores that are wanted and all that must land before them, in program order.
    pub(super) fn take_stores(&mut self, history: &History, wanted: impl Fn(&Store) -> bool) -> Vec<Store> {
        let mut taken: Vec<Store> = Vec::new();
        let mut kept: Vec<Store> = Vec::new();
        for store in self.stores.drain(..).rev() {
            let precedes = |later: &Store| {
                store.overlaps(later.at, u64::from(later.len)) || store.stamp <= history.weak_before(later.stamp)
            };
            if wanted(&store) || taken.iter().any(precedes) { taken.push(store) } else { kept.push(store) }
        }
        kept.reverse();
        taken.reverse();
        self.stores = kept;
        taken
    }

    /// Puts what waits for these bytes over what memory holds; a load of the CPU's own sees it.
    pub(super) fn overlay(&self, at: u64, bytes: &mut [u8]) {
        let len = bytes.len() as u64;
        for store in self.stores.iter().filter(|store| store.overlaps(at, len)) {
            for (lane, byte) in store.data().iter().enumerate() {
                let index = (store.at + lane as u64).wrapping_sub(at) as usize;
                if let Some(slot) = bytes.get_mut(index) {
                    *slot = *byte;
                }
            }
        }
    }

    /// The devices that writes are under way to, each once, those waiting longest first.
    pub(super) fn targets(&self) -> Vec<DeviceId> {
        let mut targets = Vec::new();
        for posted in &self.posted {
            if !targets.contains(&posted.device) {
                targets.push(posted.device);
            }
        }
        targets
    }

    /// The oldest write that is under way to a device.
    pub(super) fn take_posted(&mut self, device: DeviceId) -> Option<Posted> {
        let index = self.posted.iter().position(|posted| posted.device == device)?;
        self.posted.remove(index)
    }

    /// A device that a write is under way to which need not be.
    pub(super) fn ready_target(&self) -> Option<DeviceId> {
        self.posted.iter().find(|posted| !posted.held).map(|posted| posted.device)
    }

    /// The youngest write that is under way to a device.
    pub(super) fn last_posted(&self, device: DeviceId) -> Option<&Posted> {
        self.posted.iter().rev().find(|posted| posted.device == device)
    }
}
