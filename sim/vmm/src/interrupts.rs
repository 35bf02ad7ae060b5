//! From a function's interrupts to the guest's interrupt controllers: messages by irqfd, pins by the level of a line.

use std::collections::HashMap;

use bringup_core::{Bus, Message};
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1, kvm_irq_routing_irqchip,
    kvm_irq_routing_msi, kvm_msi,
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
    /// By device.
    pub(crate) counts: Vec<Interrupted>,
}

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
        let counts = bus.devices().map(|_| Interrupted::default()).collect();
        let mut this = Self { routes: wiring(), messages: HashMap::new(), levels: [false; 2], asserted: 0, counts };
        this.set_routes(vm)?;
        Ok(this)
    }

    fn set_routes(&mut self, vm: &VmFd) -> Result<(), Error> {
        let table =
            KvmIrqRouting::from_entries(&self.routes).map_err(|_| Error::Capability("room for interrupt routes"))?;
        vm.set_gsi_routing(&table).asked_to("route interrupts")
    }

    /// Has a message arrive.
    pub(crate) fn deliver(&mut self, vm: &VmFd, message: &Message) {
        let arrived = self.send(vm, (message.address, message.data));
        if let Some(count) = self.counts.get_mut(usize::from(message.device.0)) {
            count.messages += u64::from(arrived);
            count.lost += u64::from(!arrived);
        }
    }

    fn send(&mut self, vm: &VmFd, key: (u64, u32)) -> bool {
        // Local interrupt controllers listen here (Intel SDM vol. 3, §11.11.1).
        if key.0 & 0xfff0_0000 != 0xfee0_0000 {
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
        for (id, count) in bus.devices().zip(&mut self.counts) {
            let (bit, asserted) = (1 << id.0, bus.intx(id));
            count.pins += u64::from(asserted && self.asserted & bit == 0);
            self.asserted = self.asserted & !bit | u64::from(asserted) << id.0;
        }
        for (index, gsi) in line::PINS.into_iter().enumerate() {
            let level = bus.devices().any(|id| u32::from(bus.pin_line(id)) == gsi && self.asserted >> id.0 & 1 != 0);
            if level != self.levels[index] && vm.set_irq_line(gsi, level).is_ok() {
                self.levels[index] = level;
            }
        }
    }
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
