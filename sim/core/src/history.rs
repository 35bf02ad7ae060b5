//! What each part of a machine has seen so far, as numbers: enough to tell that two lives have come to the same state.
//!
//! A driver, and a device model, is a function of what it is given. So the state of a whole machine follows from what its
//! processor was given, what each device was given, the order of stores to shared memory among each other, and what is going to
//! happen by itself. Each of these is folded into a digest of its own, and *only what can matter to a part goes into its digest*: whether a device worked
//! before or after a step of the processor that it has nothing to do with makes no difference to either, and the digests come
//! out the same. A search that meets a state again need not go on from there: this does for the order of independent steps what
//! sleep sets do, and for what comes to the same by accident, too.
//!
//! Of time only the order counts: which wake-ups and timers are due, and in which order the others will be. How many
//! nanoseconds off they are is left out, or no two orders would ever come to the same, as every step takes its time. That is the
//! one thing that a search with these states takes for granted: that a driver and its devices care for what happens in which
//! order, and not for the nanoseconds between. Choices put everything off and bring everything forward, so the orders are all
//! there; what only a sum of many delays leads to, a time-out, may be missed.
//!
//! What is shared is followed in one direction at a time, and coarsely where it is not known better: a device that reads memory
//! is taken to depend on all that the processor stored so far, wherever; the processor on the values that it loads. Where memory
//! is accessed in ways that nobody sees (a raw pointer), the states of that life are taken to be all different.

use std::cell::Cell;

use crate::trace::{DeviceId, Digest, Event};

/// The digests of a life. Nothing is kept while it is off.
#[derive(Debug, Default)]
pub struct History {
    on: bool,
    /// See [`lose`](Self::lose).
    lost: bool,
    /// What is going to happen by itself, in its order.
    ahead: u64,
    cpu: Digest,
    /// A device looks at the clock and at memory through shared references.
    devices: Vec<Cell<Digest>>,
    /// All that devices stored.
    written: Cell<Digest>,
    /// The processor's digest when it last stored to shared memory.
    stored: u64,
}

impl History {
    /// Turns it on or off; at the beginning of a life.
    pub(crate) fn enable(&mut self, on: bool) {
        self.on = on;
    }

    /// Whether anything is kept.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// The processor did something, or was given something, that decides what it does next.
    #[inline]
    pub fn cpu(&mut self, value: u64) {
        if self.on {
            self.cpu.fold(value);
        }
    }

    /// Says what is going to happen by itself: a digest of what is due and of the order of the rest.
    pub fn ahead(&mut self, digest: u64) {
        self.ahead = digest;
    }

    /// The processor stored something to memory that devices may read.
    #[inline]
    pub fn cpu_stores(&mut self, value: u64) {
        if self.on {
            self.cpu.fold(value);
            self.stored = self.cpu.value();
        }
    }

    /// The processor may see from now on all that devices stored so far.
    pub fn cpu_sees_memory(&mut self) {
        self.cpu(self.written.get().value());
    }

    /// A device did something, or was given something, that decides what it does next.
    #[inline]
    pub fn device(&self, id: DeviceId, value: u64) {
        if self.on {
            self.fold_device(id, value);
        }
    }

    /// A device reads memory.
    #[inline]
    pub(crate) fn device_loads(&self, id: DeviceId) {
        if self.on {
            self.fold_device(id, self.stored);
            self.fold_device(id, self.written.get().value());
        }
    }

    /// A device writes memory.
    #[inline]
    pub(crate) fn device_stores(&self, id: DeviceId) {
        if self.on {
            self.fold_device(id, self.stored);
            let mut written = self.written.get();
            written.fold(u64::from(id.0));
            written.fold(self.devices.get(usize::from(id.0)).map_or(0, |device| device.get().value()));
            self.written.set(written);
        }
    }

    /// A device was plugged in.
    pub(crate) fn add_device(&mut self) {
        self.devices.push(Cell::default());
    }

    /// Memory is accessed where nobody sees it: the states of this life are all different from now on.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// A waist operation happened.
    #[inline]
    pub(crate) fn operation(&mut self, event: &Event) {
        if self.on {
            self.fold(event);
        }
    }

    #[cold]
    fn fold(&mut self, event: &Event) {
        let Some(id) = event.device() else { return };
        self.update_device(id, |digest| event.fold_into(digest));
        match event {
            Event::DmaRead { .. } => self.device_loads(id),
            Event::DmaWrite { .. } => self.device_stores(id),
            Event::Work { .. } | Event::Message { .. } | Event::Pended { .. } | Event::Level { .. } => {}
            // The processor's own doing.
            _ => event.fold_into(&mut self.cpu),
        }
    }

    /// The state of the machine at a choice of this kind, as one number.
    pub(crate) fn state(&mut self, kind: usize) -> u64 {
        let mut state = Digest::default();
        state.fold(kind as u64);
        state.fold(self.ahead);
        state.fold(self.cpu.value());
        state.fold(self.written.get().value());
        state.fold(self.stored);
        self.devices.iter().for_each(|device| state.fold(device.get().value()));
        if self.lost {
            // Whatever comes next does not come again.
            self.cpu.fold(state.value());
        }
        state.value()
    }

    fn update_device(&self, id: DeviceId, update: impl FnOnce(&mut Digest)) {
        if let Some(device) = self.devices.get(usize::from(id.0)) {
            let mut digest = device.get();
            update(&mut digest);
            device.set(digest);
        }
    }

    #[cold]
    fn fold_device(&self, id: DeviceId, value: u64) {
        self.update_device(id, |digest| digest.fold(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId(0);

    fn state(steps: &[fn(&mut History)]) -> u64 {
        let mut history = History::default();
        history.enable(true);
        history.add_device();
        steps.iter().for_each(|step| step(&mut history));
        history.state(0)
    }

    #[test]
    fn independent_steps_come_to_the_same_in_either_order() {
        let cpu: fn(&mut History) = |history| history.cpu(7);
        let device: fn(&mut History) = |history| history.device(DEVICE, 9);
        assert_eq!(state(&[cpu, device]), state(&[device, cpu]));
        assert_ne!(state(&[cpu, device]), state(&[cpu, device, device]));
    }

    #[test]
    fn stores_do_not_pass_loads_and_stores_of_the_other_side() {
        let store: fn(&mut History) = |history| history.cpu_stores(1);
        let loads: fn(&mut History) = |history| history.device_loads(DEVICE);
        let stores: fn(&mut History) = |history| history.device_stores(DEVICE);
        let sees: fn(&mut History) = |history| history.cpu_sees_memory();
        for (one, other) in [(store, loads), (store, stores), (sees, stores)] {
            assert_ne!(state(&[one, other]), state(&[other, one]));
        }
        assert_eq!(state(&[sees, loads]), state(&[loads, sees]));
    }

    #[test]
    fn nothing_comes_to_the_same_where_memory_is_not_followed() {
        let mut history = History::default();
        history.enable(true);
        history.lose();
        assert_ne!(history.state(0), history.state(0));
    }
}
