//! A device's side: what it reads of the CPU's stores, and what it stores.

use super::Order;
use super::shadow::{Mark, by_device, cpu_stamp};
use super::suspects::{Lack, Suspect};
use crate::dma::Ram;
use crate::fabric::Fabric;
use crate::trace::DeviceId;

impl Fabric {
    /// A device read these bytes of the machine's memory.
    #[inline]
    pub(crate) fn device_loaded(&mut self, device: DeviceId, at: u64, len: usize) {
        self.order.device_loaded(device, at, len);
    }

    /// A device is about to store to these bytes.
    #[inline]
    pub(crate) fn device_stores(&mut self, at: u64, len: usize) {
        let Self { order, ram, .. } = self;
        if order.on && order.regions.at(at).is_some() {
            let old = if order.loose { old_bytes(ram, at, len) } else { Vec::new() };
            order.device_stored(at, len, &old);
            self.file_suspects();
        }
    }

    /// A device stored to these bytes, which held `old` before.
    pub(crate) fn device_stored(&mut self, at: u64, len: usize, old: &[u8]) {
        if self.order.on {
            self.order.device_stored(at, len, old);
            self.file_suspects();
        }
    }

    /// The stamp of what was done last: a message that is sent now comes after it.
    #[must_use]
    pub fn order_stamp(&self) -> u32 {
        self.order.now
    }
}

fn old_bytes(ram: &Ram, at: u64, len: usize) -> Vec<u8> {
    let mut old = vec![0; len];
    ram.get(at, &mut old);
    old
}

impl Order {
    #[inline]
    fn device_loaded(&mut self, device: DeviceId, at: u64, len: usize) {
        if !self.on {
            return;
        }
        let Some(region) = self.regions.at(at) else { return };
        if region.plain {
            return;
        }
        let newest = Self::newest_of_cpu(region.marks(at, len));
        let observer = *self.observer(device);
        if newest > observer.guaranteed || !self.suspects.is_empty() || !self.waiting.stores.is_empty() {
            self.device_looked(device, at, len, newest);
        }
    }

    #[cold]
    fn device_looked(&mut self, device: DeviceId, at: u64, len: usize, newest: u32) {
        let observer = *self.observer(device);
        let Some(region) = self.regions.at(at) else { return };
        // It may miss a store although it saw a later one.
        let missable = |stamp: u32| stamp > observer.guaranteed && stamp < observer.memory.max(observer.relaxed);
        let missed = region.marks(at, len).iter().map(|mark: &Mark| cpu_stamp(*mark)).filter(|s| missable(*s)).max();
        // Or it misses one here and now.
        let waits = self.waiting.stores.iter().filter(|store| store.overlaps(at, len as u64));
        let missed = waits.map(|store| store.stamp).filter(|s| missable(*s)).max().or(missed);
        match missed {
            None => self.suspects.observed_again(device, at, len as u64, observer.guaranteed),
            Some(stamp) => self.suspect_store(device, at, len as u64, stamp),
        }
        if newest > observer.memory {
            let guaranteed = self.history.weak_before(newest);
            let observer = self.observer(device);
            observer.memory = newest;
            observer.guaranteed = observer.guaranteed.max(guaranteed);
        }
    }

    /// A device saw a store, or a write to a BAR, and read bytes that were stored before it in no order with it.
    fn suspect_store(&mut self, device: DeviceId, at: u64, len: u64, stamp: u32) {
        let observer = *self.observer(device);
        let by_doorbell = stamp < observer.relaxed;
        let later = if by_doorbell { observer.relaxed } else { observer.memory };
        let (Some(store), Some(shown)) = (self.history.author(stamp), self.history.author(later)) else { return };
        // What an interrupt handler stored in between has nothing to do with what it interrupted.
        if store.context != shown.context {
            return;
        }
        let lack = match by_doorbell {
            true => Lack::StoreBeforeDoorbell { weak: self.history.weak_before(later) >= stamp },
            false => Lack::StoreBeforeStore,
        };
        let (first, second) = (store.place, shown.place);
        self.suspects.add(Suspect { id: 0, lack, device, at, len, stamp, first, second });
    }

    fn device_stored(&mut self, at: u64, len: usize, old: &[u8]) {
        let Some(region) = self.regions.at(at) else { return };
        if region.plain {
            return;
        }
        let Some(stamp) = self.stamp() else { return };
        if !self.suspects.is_empty() {
            self.suspects.overwritten(at, len as u64);
        }
        let Self { regions, past, loose, .. } = self;
        let Some(region) = regions.at_mut(at) else { return };
        let marks = region.marks_mut(at, len);
        if *loose {
            past.device_stored(stamp, at, old, marks);
        }
        marks.fill(by_device(stamp));
    }
}
