//! The CPU's side: loads, stores, barriers, and what else makes it see.

use super::shadow::{Mark, device_stamp};
use super::suspects::{Lack, Suspect};
use super::waiting::{Posted, Store};
use super::{MOST_PUT_OFF, Order, Reach, Sighting};
use crate::choice::Point;
use crate::device::Access;
use crate::fabric::Fabric;
use crate::finding::Place;
use crate::monitor::Barrier;
use crate::trace::DeviceId;

impl Fabric {
    /// The CPU loads 1 to 8 bytes (`width`) at `physical`, where memory holds `newest`, little-endian. Gives what it gets.
    #[inline]
    pub fn cpu_load(&mut self, physical: u64, width: usize, newest: u64, place: Place) -> u64 {
        let Self { order, choices, .. } = self;
        let Some(stores) = order.regions.newest(physical, width) else { return newest };
        let (mut value, mut seen) = (newest, stores.device);
        order.last_load = None;
        if order.loose {
            (value, seen) =
                order.load_loosely(physical, width, newest, seen, place, |n| choices.choose(Point::Load, n));
        }
        if seen > order.view || !order.suspects.is_empty() {
            order.unordered_load(physical, width, seen, place);
        }
        value
    }

    /// The CPU stores 1 to 8 bytes (`width`) at `physical`. `true` if the caller is to put them into memory now; `false` if they are
    /// there already, or land later.
    #[inline]
    #[must_use]
    pub fn cpu_store(&mut self, physical: u64, width: usize, value: u64, place: Place) -> bool {
        let order = &mut self.order;
        let Some(region) = order.regions.at(physical) else { return true };
        if region.plain || !order.on {
            return true;
        }
        let Some(stamp) = order.stamp() else { return true };
        order.history.note(stamp, order.context, place);
        if !order.suspects.is_empty() {
            order.suspects.overwritten(physical, width as u64);
            self.file_suspects();
        }
        if !self.order.loose {
            self.order.landed(stamp, physical, width);
            return true;
        }
        self.store_loosely(stamp, physical, width, value, place)
    }

    fn store_loosely(&mut self, stamp: u32, at: u64, width: usize, value: u64, place: Place) -> bool {
        let Self { order, choices, ram, .. } = self;
        let answer = choices.choose(Point::Store, 3);
        let waits = answer != 0 && order.put_off < MOST_PUT_OFF;
        if !waits && order.waiting.stores.is_empty() {
            order.landed(stamp, at, width);
            return true;
        }
        if order.waiting.is_full() {
            let oldest = order.waiting.stores.first().map_or(0, |store| store.stamp);
            order.land_stores(ram, |store| store.stamp == oldest);
        }
        let context = order.context;
        let (len, bytes, held) = (width as u8, value.to_le_bytes(), answer == 2);
        order.waiting.stores.push(Store { stamp, at, len, bytes, context, place, held });
        if !waits {
            order.land_stores(ram, |store| store.stamp == stamp);
        }
        false
    }

    /// The CPU is about to copy `len` bytes from `physical` in accesses that nobody counts: it gets the newest of all of them, without a
    /// choice. For what is long.
    pub fn cpu_copies_from(&mut self, physical: u64, len: usize, place: Place) {
        let order = &mut self.order;
        let Some(stores) = order.regions.newest(physical, len) else { return };
        let seen = stores.device;
        if order.loose {
            order.land_stores(&self.ram, |store| store.overlaps(physical, len as u64));
            if !order.past.is_empty() {
                order.past.loaded(physical, len as u64, order.now);
            }
        }
        order.last_load = None;
        if seen > order.view || !order.suspects.is_empty() {
            order.unordered_load(physical, len, seen, place);
        }
    }

    /// The CPU is about to copy `len` bytes to `physical`; they land at once. As [`cpu_copies_from`](Self::cpu_copies_from).
    pub fn cpu_copies_to(&mut self, physical: u64, len: usize, place: Place) {
        let order = &mut self.order;
        if !order.follows(physical) {
            return;
        }
        let Some(stamp) = order.stamp() else { return };
        order.history.note(stamp, order.context, place);
        order.suspects.overwritten(physical, len as u64);
        if order.loose {
            let before = order.history.weak_before(stamp);
            order.land_stores(&self.ram, |store| store.stamp <= before || store.overlaps(physical, len as u64));
        }
        order.landed(stamp, physical, len);
        self.file_suspects();
    }

    /// The CPU executes a barrier.
    pub fn cpu_barrier(&mut self, kind: Barrier, reach: Reach) {
        let order = &mut self.order;
        if !order.on || reach == Reach::Cpus {
            return;
        }
        if kind == Barrier::Full {
            order.land_stores(&self.ram, |_| true);
            // Loads from here on are made when the stores have landed.
            let landed = order.landed_at;
            order.raise_view(landed);
        }
        if kind != Barrier::Write {
            let seen = order.seen.map_or(0, |seen| seen.stamp);
            let register = if reach == Reach::All { order.register.map_or(0, |seen| seen.stamp) } else { 0 };
            order.raise_view(seen.max(register));
            // A load right before a read barrier is a look at whether something is there: whoever finds nothing looks again.
            if let Some(look) = order.last_load.take().filter(|_| kind == Barrier::Read) {
                order.suspects.remove(look);
            }
        }
        if kind != Barrier::Read {
            let at = order.now;
            order.history.barrier(at, reach == Reach::All);
        }
    }

    /// All that devices stored is seen from now on: a register was read, a task was switched to, time passed.
    #[inline]
    pub fn cpu_catches_up(&mut self) {
        let now = self.order.now;
        self.order.raise_view(now);
    }

    /// A relaxed read of a BAR returned: what the device stored before is not bound to be seen yet.
    pub(crate) fn cpu_read_relaxed(&mut self, place: Place) {
        let Order { now, context, .. } = self.order;
        self.order.register = Some(Sighting { stamp: now, at: 0, len: 0, context, place });
    }

    /// The handler of a message is entered: what its device stored before it sent it (at this stamp) is seen.
    pub fn cpu_takes_message(&mut self, stamp: u32) {
        self.order.raise_view(stamp);
    }

    /// The CPU's own view of memory: `bytes` as it is, and what waits over it.
    #[inline]
    pub(crate) fn overlay(&self, physical: u64, bytes: &mut [u8]) {
        if !self.order.waiting.stores.is_empty() {
            self.order.waiting.overlay(physical, bytes);
        }
    }

    /// Lands all stores.
    pub fn land_stores(&mut self) {
        self.order.land_stores(&self.ram, |_| true);
    }

    /// Lands the stores that do not wait for as long as they can.
    pub(crate) fn land_ready_stores(&mut self) {
        self.order.land_stores(&self.ram, |store| !store.held);
    }

    /// A device that a write is under way to which does not stay so for as long as it can.
    pub(crate) fn posted_and_ready(&self) -> Option<DeviceId> {
        self.order.waiting.ready_target()
    }

    pub(crate) fn land_store(&mut self, stamp: u32) {
        self.order.land_stores(&self.ram, |store| store.stamp == stamp);
    }

    /// A write to a BAR is on its way; `true` if it stays so for now.
    pub(crate) fn post(
        &mut self,
        device: DeviceId,
        at: Access,
        value: u64,
        relaxed: bool,
        place: Option<Place>,
    ) -> bool {
        let Some(stamp) = self.order.stamp() else { return false };
        let Self { order, choices, .. } = self;
        if let Some(place) = place {
            order.history.note(stamp, order.context, place);
        }
        let after = if relaxed { order.history.strong_before(stamp) } else { stamp };
        let answer = if order.loose { choices.choose(Point::Posted, 3) } else { 0 };
        let posted = Posted { stamp, device, at, value, relaxed, place, after, held: answer == 2 };
        order.waiting.posted.push_back(posted);
        answer != 0 && order.put_off < MOST_PUT_OFF
    }

    /// Takes the oldest write that is under way to a device: it arrives now, after the stores that it comes after.
    pub(crate) fn take_posted(&mut self, device: DeviceId) -> Option<Posted> {
        let posted = self.order.waiting.take_posted(device)?;
        let order = &mut self.order;
        order.land_stores(&self.ram, |store| store.stamp <= posted.after);
        let guaranteed = match posted.relaxed {
            true => order.history.strong_before(posted.stamp),
            false => posted.stamp,
        };
        let observer = order.observer(device);
        observer.guaranteed = observer.guaranteed.max(guaranteed);
        if posted.relaxed {
            observer.relaxed = observer.relaxed.max(posted.stamp);
        }
        Some(posted)
    }

    /// A device that writes are under way to.
    pub(crate) fn posted_to(&self) -> Option<DeviceId> {
        self.order.waiting.posted.front().map(|posted| posted.device)
    }
}

impl Order {
    /// Whether devices made the last stores to all of these bytes of coherent memory.
    #[inline]
    #[must_use]
    pub fn device_wrote(&self, physical: u64, len: usize) -> bool {
        self.on && self.regions.newest(physical, len).is_some_and(|newest| newest.all & 1 == 1)
    }

    /// A load that returned a device's store which the CPU was not bound to see, or may settle a doubt.
    #[cold]
    fn unordered_load(&mut self, at: u64, width: usize, seen: u32, place: Place) {
        let (view, context, len) = (self.view, self.context, width as u64);
        self.suspects.loaded_again(at, len, view);
        let Some(region) = self.regions.at(at) else { return };
        let device = region.device;
        let marks = if self.seen.or(self.register).is_some() { self.regions.marks(at, width) } else { Vec::new() };
        for (earlier, lack) in [(self.seen, Lack::LoadAfterLoad), (self.register, Lack::LoadAfterRegister)] {
            let Some(earlier) = earlier.filter(|e| e.stamp > view && e.context == context) else { continue };
            if at < earlier.at + earlier.len && earlier.at < at + len {
                continue;
            }
            let doubtful = |mark: &Mark| Some(device_stamp(*mark)).filter(|s| *s > view && *s <= earlier.stamp);
            if let Some(stamp) = marks.iter().filter_map(doubtful).max() {
                let (first, second) = (earlier.place, place);
                let suspect = Suspect { id: 0, lack, device, at, len, stamp, first, second };
                self.last_load = Some(self.suspects.add(suspect));
            }
        }
        if seen > view && self.seen.is_none_or(|earlier| earlier.stamp < seen) {
            self.seen = Some(Sighting { stamp: seen, at, len, context, place });
        }
    }

    /// What a load gets in a machine where choices matter, and the newest of the device's stores in it.
    fn load_loosely(
        &mut self,
        at: u64,
        width: usize,
        newest: u64,
        mut seen: u32,
        place: Place,
        mut choose: impl FnMut(u32) -> u32,
    ) -> (u64, u32) {
        let mut value = newest;
        if !self.past.is_empty() && seen > self.view {
            let marks = self.regions.marks(at, width);
            let versions = self.past.versions(at, newest, &marks, self.view, self.now);
            let answer = if versions.len() > 1 { choose(versions.len() as u32) } else { 0 };
            let answer = if self.stale_in_row < MOST_PUT_OFF { answer } else { 0 };
            if let Some(version) = versions.get(answer as usize) {
                (value, seen) = (version.value, version.seen);
                self.past.loaded(at, width as u64, version.until);
            }
            self.stale_in_row = if answer == 0 { 0 } else { self.stale_in_row + 1 };
            if answer != 0 {
                self.stale = Some(place);
            }
        }
        if !self.waiting.stores.is_empty() {
            let mut bytes = value.to_le_bytes();
            if let Some(bytes) = bytes.get_mut(..width) {
                self.waiting.overlay(at, bytes);
            }
            value = u64::from_le_bytes(bytes);
            let context = self.context;
            let passed = |s: &&Store| s.context == context && !s.overlaps(at, width as u64);
            if let Some(store) = self.waiting.stores.iter().find(passed) {
                self.overtaken = Some((store.place, place));
            }
        }
        (value, seen)
    }
}
