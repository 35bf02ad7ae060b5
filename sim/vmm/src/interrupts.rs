//! From a function's interrupts to the guest's interrupt controllers: messages by irqfd, pins by the level of a line.

use std::collections::HashMap;

use bringup_core::{Bus, Finding, Message, Nanos, rules};
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1, kvm_irq_routing_irqchip,
    kvm_irq_routing_msi, kvm_irqchip, kvm_msi,
};
use kvm_ioctls::VmFd;

use crate::error::{Asked, Error};
use crate::layout::line;
use crate::signal::Signal;

/// How many different messages have a route of their own; further ones are injected one by one.
const MOST_ROUTES: usize = 512;

/// The interrupts of a machine.
#[derive(Debug)]
pub(crate) struct Interrupts {
    routes: Vec<kvm_irq_routing_entry>,
    /// By address and data: what to write to.
    messages: HashMap<(u64, u32), Signal>,
    /// The levels of [`line::PINS`], as they were last set.
    levels: [bool; 2],
    /// Functions whose pin is asserted, bit by number.
    asserted: u64,
    /// By device, since when its pin is asserted; `None` if it is not, or that was looked into.
    since: Vec<Option<Nanos>>,
    /// Functions whose line was masked when their pin was looked into last, bit by number.
    masked: u64,
    /// By device.
    pub(crate) counts: Vec<Interrupted>,
}

/// For how long a pin may stay asserted before it is looked into: a handler takes microseconds, on the slowest host milliseconds.
const PATIENCE: Nanos = 2_000_000_000;
/// How late it may be looked into.
const LATE: Nanos = 500_000_000;

/// How often a device interrupted the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// Messages that went to an interrupt controller.
    pub messages: u64,
    /// Messages to addresses at which none listens, or that KVM did not take.
    pub lost: u64,
    /// How often it asserted its pin.
    pub pins: u64,
}

impl Interrupts {
    /// With the lines wired to the controllers as on a PC.
    pub(crate) fn new(vm: &VmFd, bus: &Bus) -> Result<Self, Error> {
        let counts: Vec<_> = bus.devices().map(|_| Interrupted::default()).collect();
        let since = vec![None; counts.len()];
        let mut this = Self {
            routes: wiring(),
            messages: HashMap::new(),
            levels: [false; 2],
            asserted: 0,
            since,
            masked: 0,
            counts,
        };
        this.set_routes(vm)?;
        Ok(this)
    }

    fn set_routes(&mut self, vm: &VmFd) -> Result<(), Error> {
        let table =
            KvmIrqRouting::from_entries(&self.routes).map_err(|_| Error::Capability("room for interrupt routes"))?;
        vm.set_gsi_routing(&table).asked_to("route interrupts")
    }

    /// Has a message arrive.
    pub(crate) fn deliver(&mut self, vm: &VmFd, bus: &mut Bus, message: &Message) {
        let arrived = self.send(vm, (message.address, message.data));
        if let Some(count) = self.counts.get_mut(usize::from(message.device.0)) {
            count.messages += u64::from(arrived);
            count.lost += u64::from(!arrived);
        }
        if !is_interrupt(message.address) && !bus.fabric.is_faulted(message.device) {
            let name = bus.port(message.device).name().to_owned();
            let what = format!("{name} sent the message of vector {} to {:#x}", message.vector, message.address);
            bus.fabric.report(Finding::new(&rules::MSI_NOWHERE, what).on_device(name));
        }
    }

    fn send(&mut self, vm: &VmFd, key: (u64, u32)) -> bool {
        if !is_interrupt(key.0) {
            return false;
        }
        if !self.messages.contains_key(&key)
            && self.messages.len() < MOST_ROUTES
            && let Ok(event) = self.route(vm, key)
        {
            self.messages.insert(key, event);
        }
        match self.messages.get(&key) {
            Some(event) => {
                event.ring();
                true
            }
            None => vm.signal_msi(message_of(key)).is_ok(),
        }
    }

    fn route(&mut self, vm: &VmFd, (address, data): (u64, u32)) -> Result<Signal, Error> {
        let gsi = line::COUNT + self.messages.len() as u32;
        let event = Signal::new()?;
        let msi = kvm_irq_routing_msi {
            address_lo: address as u32,
            address_hi: (address >> 32) as u32,
            data,
            ..Default::default()
        };
        let u = kvm_irq_routing_entry__bindgen_ty_1 { msi };
        self.routes.push(kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, u, ..Default::default() });
        let routed =
            self.set_routes(vm).and_then(|()| vm.register_irqfd(event.file(), gsi).asked_to("listen to an interrupt"));
        if routed.is_err() {
            self.routes.pop();
        }
        routed.map(|()| event)
    }

    /// Sets the lines as the pins say: a line is high while one of its pins is asserted.
    pub(crate) fn drive_pins(&mut self, vm: &VmFd, bus: &Bus) {
        if !bus.has_pins() && self.levels == [false; 2] {
            return;
        }
        for ((id, count), since) in bus.devices().zip(&mut self.counts).zip(&mut self.since) {
            let (bit, asserted) = (1 << id.0, bus.intx(id));
            if asserted != (self.asserted & bit != 0) {
                count.pins += u64::from(asserted);
                *since = asserted.then(|| bus.fabric.now());
                self.masked &= !bit;
            }
            self.asserted = self.asserted & !bit | u64::from(asserted) << id.0;
        }
        for (index, gsi) in line::PINS.into_iter().enumerate() {
            let level = bus.devices().any(|id| u32::from(bus.pin_line(id)) == gsi && self.asserted >> id.0 & 1 != 0);
            if level != self.levels[index] && vm.set_irq_line(gsi, level).is_ok() {
                self.levels[index] = level;
            }
        }
    }

    /// When a pin is to be looked into next.
    pub(crate) fn next_look(&self) -> Option<Nanos> {
        self.since.iter().flatten().min().map(|since| since.saturating_add(PATIENCE))
    }

    /// Looks into pins that are asserted for too long: the guest is in a storm if the line is open.
    pub(crate) fn look(&mut self, vm: &VmFd, bus: &mut Bus) {
        let now = bus.fabric.now();
        if self.next_look().is_none_or(|at| at > now) {
            return;
        }
        for id in bus.devices() {
            let Some(since) = self.since.get_mut(usize::from(id.0)) else { continue };
            let Some(began) = since.filter(|began| now - began >= PATIENCE) else { continue };
            let (line, bit) = (bus.pin_line(id), 1 << id.0);
            let was_masked = self.masked & bit != 0;
            let open = is_open(vm, line);
            self.masked = self.masked & !bit | u64::from(!open) << id.0;
            // Nobody looked in time: the whole machine stood still, its handlers too. Or the line was opened only since the last look.
            let late = now - began > PATIENCE + LATE;
            if !open || was_masked || late {
                *since = Some(now);
                continue;
            }
            *since = None;
            if !bus.fabric.is_faulted(id) {
                let name = bus.port(id).name().to_owned();
                let what = format!("{name} has its pin asserted for 2 s, and interrupt line {line} is open");
                bus.fabric.report(Finding::new(&rules::IRQ_STUCK, what).on_device(name));
            }
        }
    }
}

/// Whether local interrupt controllers listen at an address (Intel SDM vol. 3, §11.11.1).
fn is_interrupt(address: u64) -> bool {
    address >> 20 == 0xfee
}

/// Whether the guest takes interrupts of a line at the I/O interrupt controller.
#[expect(unsafe_code, reason = "KVM gives an interrupt controller's state as a union")]
fn is_open(vm: &VmFd, line: u8) -> bool {
    const MASKED: u64 = 1 << 16;
    let mut state = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
    if vm.get_irqchip(&mut state).is_err() {
        return false;
    }
    // SAFETY: KVM filled the part of the union that was asked for, and all bit patterns are valid for its integers.
    let entry = unsafe { state.chip.ioapic.redirtbl.get(usize::from(line)).map(|entry| entry.bits) };
    entry.is_some_and(|entry| entry & MASKED == 0)
}

fn message_of((address, data): (u64, u32)) -> kvm_msi {
    kvm_msi { address_lo: address as u32, address_hi: (address >> 32) as u32, data, ..Default::default() }
}

/// The sixteen old lines go to both controllers, the others to the newer one. Line 0 is the timer, on pin 2 of the newer one.
fn wiring() -> Vec<kvm_irq_routing_entry> {
    let wire = |gsi: u32, irqchip: u32, pin: u32| {
        let u = kvm_irq_routing_entry__bindgen_ty_1 { irqchip: kvm_irq_routing_irqchip { irqchip, pin } };
        kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, u, ..Default::default() }
    };
    let mut wires = Vec::new();
    for gsi in 0..line::COUNT {
        match gsi {
            2 => {}
            0..8 => wires.push(wire(gsi, KVM_IRQCHIP_PIC_MASTER, gsi)),
            8..16 => wires.push(wire(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8)),
            _ => {}
        }
        match gsi {
            0 => wires.push(wire(0, KVM_IRQCHIP_IOAPIC, 2)),
            2 => {}
            _ => wires.push(wire(gsi, KVM_IRQCHIP_IOAPIC, gsi)),
        }
    }
    wires
}
