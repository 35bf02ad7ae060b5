//! Doorbells that do not stop the CPU that rings them: an ioeventfd wherever a function's data says that a write only means "look".

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::OwnedFd;

use bringup_core::pci::{BarKind, Doorbell, command, offset};
use bringup_core::{Bus, DeviceId};
use kvm_ioctls::{IoEventAddress, VmFd};
use rustix::event::{Timespec, epoll};

use crate::error::{Asked, Error};
use crate::signal::Signal;

/// The doorbells of a machine.
#[derive(Default)]
pub(crate) struct Doorbells {
    bells: Vec<Bell>,
    /// For each device that has some: which of them rang.
    rang: BTreeMap<DeviceId, OwnedFd>,
    /// Rings that came without stopping a CPU.
    pub(crate) rung: u64,
}

#[derive(Debug)]
struct Bell {
    device: DeviceId,
    what: Doorbell,
    event: Signal,
    /// Where it is wired now.
    address: Option<u64>,
}

/// The most of them: what is more rings by stopping the CPU.
const MOST: usize = 256;

impl Doorbells {
    /// Those of all devices on the bus, not wired yet.
    pub(crate) fn new(bus: &Bus) -> Result<Self, Error> {
        let all = bus.devices().flat_map(|id| bus.port(id).function().doorbells().iter().map(move |what| (id, *what)));
        let mut this = Self::default();
        for (index, (device, what)) in all.take(MOST).enumerate() {
            let event = Signal::new()?;
            let rang = match this.rang.entry(device) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    new.insert(epoll::create(epoll::CreateFlags::CLOEXEC).asked_to("wait for doorbells")?)
                }
            };
            let number = epoll::EventData::new_u64(index as u64);
            epoll::add(rang, &event, number, epoll::EventFlags::IN).asked_to("wait for a doorbell")?;
            this.bells.push(Bell { device, what, event, address: None });
        }
        Ok(this)
    }

    /// What to wait for: a number for [`ring`](Self::ring), and a file that becomes readable.
    pub(crate) fn files(&self) -> impl Iterator<Item = (usize, &Signal)> {
        self.bells.iter().enumerate().map(|(index, bell)| (index, &bell.event))
    }

    /// Wires a device's doorbells to where its BARs are now.
    pub(crate) fn follow(&mut self, vm: &VmFd, bus: &Bus, device: DeviceId) {
        for bell in self.bells.iter_mut().filter(|bell| bell.device == device) {
            let wanted = address(bus, device, bell.what);
            if wanted == bell.address {
                continue;
            }
            if let Some(old) = bell.address.take() {
                // It was wired there, so this does not fail; and if it did, a write there would ring this bell.
                let _ = wire(vm, bell, old, false);
            }
            // Where it cannot be wired (the guest put two BARs onto each other, say) the CPU stops as for any other write.
            bell.address = wanted.filter(|at| wire(vm, bell, *at, true).is_ok());
        }
    }

    /// Carries a ring to its device, if there was one.
    pub(crate) fn ring(&mut self, bus: &mut Bus, index: usize) {
        let Some(bell) = self.bells.get(index) else { return };
        if bell.event.take() {
            let Doorbell { bar, offset, width, value } = bell.what;
            self.rung += 1;
            bus.bar_write(bell.device, bar, offset, width, value, None);
        }
    }

    /// Carries all that rang of a device before another access to it: what a CPU writes arrives in order.
    pub(crate) fn settle(&mut self, bus: &mut Bus, device: DeviceId) {
        let mut ready = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 16];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // As often as there may be more of them; a bell that rings all the time is another CPU's, and does not hold this one up.
        for _ in 0..=self.bells.len() / ready.len() {
            let Some(rang) = self.rang.get(&device) else { return };
            let count = epoll::wait(rang, &mut ready[..], Some(&now)).unwrap_or(0);
            for event in ready.iter().take(count) {
                self.ring(bus, event.data.u64() as usize);
            }
            if count < ready.len() {
                return;
            }
        }
    }
}

/// Where the guest finds a doorbell; nowhere while the BAR is off.
fn address(bus: &Bus, device: DeviceId, what: Doorbell) -> Option<u64> {
    let (start, bar) = bus.bar(device, what.bar)?;
    let on = bus.port(device).config().read16(offset::COMMAND) & command::MEMORY != 0;
    (on && start != 0 && bar.kind != BarKind::Io).then(|| start.checked_add(what.offset)).flatten()
}

fn wire(vm: &VmFd, bell: &Bell, at: u64, on: bool) -> Result<(), kvm_ioctls::Error> {
    let at = IoEventAddress::Mmio(at);
    macro_rules! with {
        ($value:expr) => {
            if on {
                vm.register_ioevent(bell.event.file(), &at, $value)
            } else {
                vm.unregister_ioevent(bell.event.file(), &at, $value)
            }
        };
    }
    let value = bell.what.value;
    match bell.what.width {
        1 => with!(value as u8),
        2 => with!(value as u16),
        4 => with!(value as u32),
        _ => with!(value),
    }
}
